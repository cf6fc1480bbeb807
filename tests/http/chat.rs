//! People talk over HTTP: what is said is there once, in one order, and can be changed, taken back and marked.

use serde_json::{Value, json};

use crate::on_both_engines;
use crate::support::engines::Fresh;
use crate::support::http::Server;
use crate::support::people::Somebody;
use crate::support::talks::{CONVERSATIONS, at, texts};

on_both_engines! {
    two_people_have_one_conversation_whoever_begins_it
    what_is_unread_is_what_others_said_behind_the_cursor
    a_message_that_is_sent_again_is_the_same_message
    a_message_is_the_same_though_it_was_changed_before_it_came_again
    what_was_said_can_be_changed_taken_back_and_marked
    what_cannot_be_said_is_refused_and_changes_nothing
    history_is_read_both_ways_and_ends
    a_list_is_in_order_and_finds_by_title_and_by_name
    what_one_keeps_for_oneself_is_on_every_device
}

async fn three(fresh: &Fresh) -> (Server, [Somebody; 3]) {
    let server = Server::on(fresh).await;
    let people = [server.with_user("ada").await, server.with_user("bob").await, server.with_user("eve").await];
    (server, people)
}

async fn status(who: &Somebody, method: &str, path: &str) -> u16 {
    who.asks(method, path).await.status
}

async fn two_people_have_one_conversation_whoever_begins_it(fresh: &Fresh) {
    let (server, [ada, bob, _]) = three(fresh).await;
    let (one, other) = tokio::join!(ada.talks_with(&bob), bob.talks_with(&ada));
    assert_eq!(one, other);
    ada.says(&one, "hello").await;
    ada.says(&one, "are you there?").await;
    let listed = bob.talks().await;
    assert_eq!((listed.len(), &listed[0]["kind"], &listed[0]["unread"]), (1, &"direct".into(), &2.into()));
    assert_eq!(listed[0]["last_message"]["text"], "are you there?");
    let names = listed[0]["participants"].as_array().unwrap().iter().map(|it| it["username"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["ada", "bob"]);
    assert_eq!(texts(&bob.reads(&one, "").await), ["are you there?", "hello"], "the newest first");
    assert_eq!(bob.talk(&one).await, listed[0]);
    let again = ada.sends("POST", "/chat/conversations", &json!({ "participant_id": bob.id })).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &one.into()), "by the older path as well");
    server.end().await;
}

async fn what_is_unread_is_what_others_said_behind_the_cursor(fresh: &Fresh) {
    let (server, [ada, bob, eve]) = three(fresh).await;
    let id = ada.gathers("Boats", &[&bob, &eve]).await;
    let unread = async |who: &Somebody| who.talk(&id).await["unread"].as_i64().unwrap();
    let first = ada.says(&id, "one").await;
    bob.says(&id, "two").await;
    let third = ada.says(&id, "three").await;
    assert_eq!((unread(&ada).await, unread(&bob).await, unread(&eve).await), (1, 2, 3));
    assert_eq!(bob.has_read(&id, first).await, json!({ "delivered_seq": first, "read_seq": first }));
    assert_eq!(unread(&bob).await, 1);
    // What is no message counts for nothing: an edit, a sign, a pin, a title, a cursor.
    ada.sends("PATCH", &at(&id, &format!("/messages/{third}")), &json!({ "text": "3" })).await;
    assert_eq!(status(&eve, "PUT", &at(&id, &format!("/messages/{third}/reactions/ok"))).await, 204);
    assert_eq!(status(&eve, "PUT", &at(&id, &format!("/pins/{third}"))).await, 204);
    ada.sends("PATCH", &at(&id, ""), &json!({ "title": "Ships" })).await;
    assert_eq!((unread(&ada).await, unread(&bob).await, unread(&eve).await), (1, 1, 3));
    // What was taken back is not unread either.
    assert_eq!(status(&ada, "DELETE", &at(&id, &format!("/messages/{third}"))).await, 204);
    assert_eq!((unread(&bob).await, unread(&eve).await), (0, 2));
    let end = bob.talk(&id).await["head"].as_i64().unwrap();
    let raised = async |form: Value| bob.sends("PUT", &at(&id, "/receipt"), &form).await;
    let back = raised(json!({ "read_seq": 1, "delivered_seq": end })).await.json();
    assert_eq!(back, json!({ "delivered_seq": end, "read_seq": first }), "cursors only rise");
    for ahead in [json!({ "read_seq": end + 1 }), json!({ "delivered_seq": i64::MAX }), json!({ "read_seq": -1 })] {
        assert_eq!(raised(ahead.clone()).await.status, 422, "{ahead}: nothing is there");
    }
    assert_eq!(bob.talk(&id).await["delivered_seq"], end, "and nothing was moved");
    server.end().await;
}

async fn a_message_that_is_sent_again_is_the_same_message(fresh: &Fresh) {
    let (server, [ada, bob, _]) = three(fresh).await;
    let id = ada.talks_with(&bob).await;
    let (path, body) = (at(&id, "/messages"), json!({ "text": "once", "client_id": "0199c1de-7c1a" }));
    let (first, second) = tokio::join!(ada.sends("POST", &path, &body), ada.sends("POST", &path, &body));
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.json(), second.json());
    let other = ada.sends("POST", &path, &json!({ "text": "twice", "client_id": "0199c1de-7c1a" })).await;
    assert_eq!((other.status, other.json()["error"].as_str().unwrap()), (422, "idempotency_mismatch"));
    let bobs = bob.sends("POST", &path, &body).await;
    assert_ne!(bobs.json()["id"], first.json()["id"], "a client id is its sender's own");
    assert_eq!(ada.reads(&id, "").await.len(), 2);
    let group = json!({ "title": "Boats", "user_ids": [bob.id], "client_id": "boats-01" });
    let begun = ada.sends("POST", CONVERSATIONS, &group).await;
    let again = ada.sends("POST", CONVERSATIONS, &group).await;
    assert_eq!((begun.status, again.status), (201, 200));
    assert_eq!(begun.json()["id"], again.json()["id"]);
    let other = json!({ "title": "Ships", "user_ids": [bob.id], "client_id": "boats-01" });
    assert_eq!(ada.sends("POST", CONVERSATIONS, &other).await.json()["error"], "idempotency_mismatch");
    server.end().await;
}

async fn a_message_is_the_same_though_it_was_changed_before_it_came_again(fresh: &Fresh) {
    let (server, [ada, bob, _]) = three(fresh).await;
    let id = ada.talks_with(&bob).await;
    let (path, body) = (at(&id, "/messages"), json!({ "text": "teh sea", "client_id": "0199c1de-7c1a" }));
    let first = ada.sends("POST", &path, &body).await.json();
    let message = at(&id, &format!("/messages/{}", first["seq"]));
    for text in ["the sea", "the sea!"] {
        assert_eq!(ada.sends("PATCH", &message, &json!({ "text": text })).await.json()["text"], text);
        let again = ada.sends("POST", &path, &body).await;
        assert_eq!((again.status, &again.json()["id"], &again.json()["text"]), (201, &first["id"], &text.into()));
    }
    assert_eq!(status(&ada, "DELETE", &message).await, 204);
    let again = ada.sends("POST", &path, &body).await.json();
    assert_eq!((&again["seq"], &again["deleted"], &again["text"]), (&first["seq"], &true.into(), &"".into()));
    let other = ada.sends("POST", &path, &json!({ "text": "the sea", "client_id": "0199c1de-7c1a" })).await;
    assert_eq!(other.json()["error"], "idempotency_mismatch", "what it became is not what was sent");
    let (kept,): (i64,) = server
        .app
        .storage
        .db
        .sql("SELECT COUNT(*) FROM entries WHERE body <> REPLACE(body, 'sea', '')")
        .one()
        .await
        .unwrap();
    assert_eq!(kept, 0, "what was taken back is nowhere any more");
    server.end().await;
}

async fn what_was_said_can_be_changed_taken_back_and_marked(fresh: &Fresh) {
    let (server, [ada, bob, eve]) = three(fresh).await;
    let id = ada.gathers("  Lighthouses ", &[&bob]).await;
    assert_eq!(ada.talk(&id).await["title"], "Lighthouses");
    let (first, second) = (ada.says(&id, "teh sea").await, bob.says(&id, "a secret").await);
    let message = |seq: i64| at(&id, &format!("/messages/{seq}"));
    let heart = |seq: i64| at(&id, &format!("/messages/{seq}/reactions/%E2%9D%A4"));
    let edited = ada.sends("PATCH", &message(first), &json!({ "text": "the sea" })).await;
    assert_eq!((edited.status, &edited.json()["text"]), (200, &"the sea".into()));
    assert_eq!(bob.sends("PATCH", &message(first), &json!({ "text": "mine" })).await.status, 403, "not one's own");
    for _ in 0..2 {
        assert_eq!(status(&bob, "PUT", &heart(first)).await, 204);
    }
    assert_eq!(status(&ada, "PUT", &heart(first)).await, 204);
    assert_eq!(status(&ada, "DELETE", &heart(first)).await, 204);
    assert_eq!(status(&bob, "PUT", &at(&id, &format!("/pins/{first}"))).await, 204);
    assert_eq!(status(&bob, "PUT", &at(&id, &format!("/pins/{second}"))).await, 204);
    assert_eq!(status(&bob, "DELETE", &message(first)).await, 403, "a member keeps no order");
    assert_eq!(status(&ada, "DELETE", &message(second)).await, 204, "an owner does");
    assert_eq!(status(&bob, "PUT", &heart(second)).await, 404, "it is gone");
    assert_eq!(status(&eve, "PUT", &heart(first)).await, 404, "she takes no part");
    let read = bob.reads(&id, "?after=0").await;
    assert_eq!(texts(&read), ["the sea", ""]);
    assert_eq!(read[0]["reactions"], json!({ "\u{2764}": [bob.id] }));
    assert!(read[0]["edited_at"].is_string() && read[1]["deleted"] == true);
    assert_eq!(bob.gets(&at(&id, "/pins")).await.json(), json!([read[0]]));
    let reply = json!({ "text": "indeed", "reply_to": first });
    assert_eq!(bob.sends("POST", &at(&id, "/messages"), &reply).await.json()["reply_to"], first);
    server.end().await;
}

async fn what_cannot_be_said_is_refused_and_changes_nothing(fresh: &Fresh) {
    let (server, [ada, bob, _]) = three(fresh).await;
    let id = ada.talks_with(&bob).await;
    let path = at(&id, "/messages");
    for (body, status) in [
        (json!({}), 422),
        (json!({ "text": "" }), 422),
        (json!({ "text": " \u{200b}\n" }), 422),
        (json!({ "text": "x".repeat(4_001) }), 422),
        (json!({ "text": "nul \u{0}" }), 422),
        (json!({ "text": 7 }), 422),
        (json!({ "text": { "$ne": null } }), 422),
        (json!({ "text": "hi", "sender_id": bob.id }), 422),
        (json!({ "text": "hi", "client_id": "short" }), 422),
        (json!({ "text": "hi", "reply_to": 1 }), 422),
        (json!({ "text": "hi", "reply_to": -1 }), 422),
        (json!({ "text": "hi", "reply_to": 1.0 }), 422),
        (json!({ "text": "hi", "attachments": ["not an id"] }), 422),
        (json!({ "text": "hi", "attachments": ["00000000-0000-0000-0000-000000000000"] }), 422),
        (json!([]), 422),
    ] {
        assert_eq!(ada.sends("POST", &path, &body).await.status, status, "{body:.80}");
    }
    let nobody = "0199c1de-7c1a-7a30-8a60-0123456789ab";
    for (body, status) in [
        (json!({}), 422),
        (json!({ "user_id": ada.id }), 422),
        (json!({ "user_id": nobody }), 404),
        (json!({ "user_id": bob.id, "title": "both" }), 422),
        (json!({ "title": " ", "user_ids": [bob.id] }), 422),
        (json!({ "title": "x".repeat(101), "user_ids": [] }), 422),
        (json!({ "title": "x", "user_ids": [nobody] }), 404),
        (json!({ "title": "x", "user_ids": vec![nobody; 101] }), 404),
        (json!({ "title": "x", "user_ids": [], "client_id": "a b c d e f" }), 422),
    ] {
        assert_eq!(ada.sends("POST", CONVERSATIONS, &body).await.status, status, "{body:.80}");
    }
    for query in ["?size=0", "?size=101", "?size=x", "?before=1&after=2", "?colour=red"] {
        assert_eq!(ada.gets(&(path.clone() + query)).await.status, 422, "{query}");
    }
    for (method, rest, status) in [
        ("GET", "/messages/1", 404),
        ("GET", "/messages/x", 404),
        ("GET", "/messages/9223372036854775807", 404),
        ("GET", "/messages/9223372036854775808", 404),
        ("PUT", "/messages/1/reactions/x", 404),
        ("PUT", "/messages/1/reactions/%20", 422),
        ("PUT", "/pins/-1", 404),
        ("DELETE", "/pins/1", 404),
    ] {
        assert_eq!(ada.asks(method, &at(&id, rest)).await.status, status, "{method} {rest}");
    }
    let muted = json!({ "notify": "all", "muted_until": "+20000-01-01T00:00:00Z" });
    assert_eq!(ada.sends("PUT", &at(&id, "/settings"), &muted).await.status, 422);
    assert!(ada.reads(&id, "").await.is_empty());
    assert_eq!(ada.talks().await.len(), 1);
    server.end().await;
}

async fn history_is_read_both_ways_and_ends(fresh: &Fresh) {
    let (server, [ada, bob, _]) = three(fresh).await;
    let id = ada.talks_with(&bob).await;
    let mut seqs = Vec::new();
    for it in 0..7 {
        seqs.push(ada.says(&id, &format!("message {it}")).await);
        ada.asks("PUT", &at(&id, &format!("/pins/{}", seqs[it]))).await;
    }
    for (way, start) in [("before", "1000000"), ("after", "0")] {
        let (mut heard, mut place) = (Vec::new(), start.to_owned());
        loop {
            let page = bob.gets(&at(&id, &format!("/messages?size=3&{way}={place}"))).await.json();
            heard.extend(page["items"].as_array().unwrap().iter().map(|it| it["seq"].as_i64().unwrap()));
            match page["next"].as_i64() {
                Some(next) => place = next.to_string(),
                None => break,
            }
        }
        if way == "before" {
            heard.reverse();
        }
        assert_eq!(heard, seqs, "{way}");
    }
    server.end().await;
}

async fn a_list_is_in_order_and_finds_by_title_and_by_name(fresh: &Fresh) {
    let (server, [ada, bob, eve]) = three(fresh).await;
    let (boats, ships) = (ada.gathers("Böats", &[&bob]).await, ada.gathers("Ships", &[&eve]).await);
    let direct = ada.talks_with(&eve).await;
    for id in [&boats, &direct, &ships, &boats] {
        ada.says(id, "hi").await;
        server.clock.advance(std::time::Duration::from_secs(1));
    }
    let ids = |listed: &Value| -> Vec<String> {
        listed["items"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = ada.gets(&format!("{CONVERSATIONS}?size=2")).await.json();
    assert_eq!(ids(&first), [boats.clone(), ships.clone()]);
    let next = first["next"].as_str().unwrap();
    let second = ada.gets(&format!("{CONVERSATIONS}?size=2&cursor={next}")).await.json();
    assert_eq!((ids(&second), &second["next"]), (vec![direct.clone()], &Value::Null));
    for (query, found) in [("b%C3%96a", vec![&boats]), ("ev", vec![&ships, &direct]), ("zzz", vec![]), ("%25", vec![])]
    {
        let listed = ada.gets(&format!("{CONVERSATIONS}?query={query}")).await.json();
        assert_eq!(ids(&listed).iter().collect::<Vec<_>>(), found, "{query}");
    }
    let found = ada.gets("/api/chat/users/search?query=B").await.json();
    assert_eq!(found["items"][0]["username"], "bob");
    server.end().await;
}

async fn what_one_keeps_for_oneself_is_on_every_device(fresh: &Fresh) {
    let (server, [ada, bob, _]) = three(fresh).await;
    let id = ada.talks_with(&bob).await;
    let until = "2999-01-01T00:00:00Z";
    let hearing = json!({ "notify": "mentions", "muted_until": until });
    assert_eq!(ada.sends("PUT", &at(&id, "/settings"), &hearing).await.status, 204);
    assert_eq!(ada.sends("PUT", &at(&id, "/draft"), &json!({ "text": "dear bob" })).await.status, 204);
    let phone = ada.again().await.talk(&id).await;
    assert_eq!((&phone["notify"], &phone["draft"]), (&"mentions".into(), &"dear bob".into()));
    assert_eq!(phone["muted_until"], until);
    let bobs = bob.talk(&id).await;
    assert_eq!((&bobs["notify"], &bobs["draft"], &bobs["muted_until"]), (&"all".into(), &Value::Null, &Value::Null));
    assert_eq!(ada.sends("PUT", &at(&id, "/draft"), &json!({ "text": "" })).await.status, 204);
    assert_eq!(ada.talk(&id).await["draft"], Value::Null);
    server.end().await;
}
