//! Who takes part in a conversation, what they may, and what others see of them.

use std::time::Duration;

use folio::actors::auth::{Hand, NewKey, Scope};
use folio::ids::{ConversationId, UserId};
use folio::storage::conversations::neighbours;
use serde_json::{Value, json};

use crate::on_both_engines;
use crate::support::engines::Fresh;
use crate::support::http::Server;
use crate::support::people::{PASSWORD, Somebody, post};
use crate::support::talks::{CONVERSATIONS, at, items, texts};

on_both_engines! {
    people_come_and_go_and_see_what_was_said_while_they_were_there
    a_group_has_an_owner_for_as_long_as_it_has_members
    whoever_is_blocked_hears_no_more_than_that_it_is_closed
    read_receipts_are_mutual
    whoever_leaves_for_good_is_gone_and_what_they_said_stays
    what_is_known_about_somebody_has_their_messages
    a_service_tells_of_people_and_nobody_else_does
    so_many_people_come_at_once_and_no_more
    who_is_near_is_told_of_small_conversations_alone
}

async fn three(fresh: &Fresh) -> (Server, [Somebody; 3]) {
    let server = Server::on(fresh).await;
    let people = [server.with_user("ada").await, server.with_user("bob").await, server.with_user("eve").await];
    (server, people)
}

/// What is remembered of members is a second old at most.
fn a_second_later(server: &Server) {
    server.clock.advance(Duration::from_secs(1));
}

async fn people_come_and_go_and_see_what_was_said_while_they_were_there(fresh: &Fresh) {
    let (server, [ada, bob, eve]) = three(fresh).await;
    let id = ada.gathers("Boats", &[&bob]).await;
    ada.says(&id, "before eve").await;
    let told = |it: &Value| (it["error"].clone(), it["detail"].clone());
    let nowhere = eve.gets(&at("0199c1de-7c1a-7a30-8a60-0123456789ab", "")).await;
    for rest in ["", "/messages", "/members", "/pins"] {
        let foreign = eve.gets(&at(&id, rest)).await;
        assert_eq!((foreign.status, told(&foreign.json())), (404, told(&nowhere.json())), "{rest}");
    }
    let said = eve.sends("POST", &at(&id, "/messages"), &json!({ "text": "let me in" })).await;
    assert_eq!((said.status, told(&said.json())), (404, told(&nowhere.json())));
    assert_eq!(eve.asks("POST", &at(&id, "/typing")).await.status, 404);
    assert_eq!(eve.sends("PUT", &at(&id, "/receipt"), &json!({ "read_seq": 1 })).await.status, 404);
    assert_eq!(eve.sends("PUT", &at(&id, "/draft"), &json!({ "text": "x" })).await.status, 404);
    let newcomers = json!({ "user_ids": [eve.id, eve.id] });
    assert_eq!(bob.sends("POST", &at(&id, "/members"), &newcomers).await.status, 403);
    for _ in 0..2 {
        assert_eq!(ada.sends("POST", &at(&id, "/members"), &newcomers).await.json()["member_count"], 3);
    }
    ada.says(&id, "hello eve").await;
    assert_eq!(texts(&eve.reads(&id, "").await), ["hello eve"]);
    assert_eq!(eve.talk(&id).await["unread"], 1);
    assert_eq!(eve.asks("POST", &at(&id, "/typing")).await.status, 204);
    let members = items(&eve.gets(&at(&id, "/members")).await);
    assert_eq!(members.iter().map(|it| it["username"].as_str().unwrap()).collect::<Vec<_>>(), ["ada", "bob", "eve"]);
    assert_eq!(ada.asks("DELETE", &at(&id, &format!("/members/{}", eve.id))).await.status, 204);
    assert_eq!(eve.gets(&at(&id, "/messages")).await.status, 404);
    let said = eve.sends("POST", &at(&id, "/messages"), &json!({ "text": "still here" })).await;
    assert_eq!((said.status, eve.talks().await.len()), (404, 0));
    ada.says(&id, "without eve").await;
    ada.sends("POST", &at(&id, "/members"), &newcomers).await;
    assert!(eve.reads(&id, "").await.is_empty(), "who comes back begins anew");
    server.end().await;
}

async fn a_group_has_an_owner_for_as_long_as_it_has_members(fresh: &Fresh) {
    let (server, [ada, bob, eve]) = three(fresh).await;
    let id = ada.gathers("Boats", &[&bob, &eve]).await;
    let member = |who: &Somebody| at(&id, &format!("/members/{}", who.id));
    let role = async |who: &Somebody| who.talk(&id).await["role"].as_str().unwrap().to_owned();
    let member_only = json!({ "role": "member" });
    let refused = ada.sends("PUT", &member(&ada), &member_only).await;
    assert_eq!((refused.status, refused.json()["error"].as_str().unwrap()), (409, "last_owner"));
    assert_eq!(ada.sends("PUT", &member(&bob), &json!({ "role": "owner" })).await.status, 204);
    assert_eq!(bob.sends("PUT", &member(&ada), &member_only).await.status, 204);
    assert_eq!((role(&ada).await, role(&bob).await), ("member".into(), "owner".into()));
    assert_eq!(ada.sends("PUT", &member(&ada), &json!({ "role": "owner" })).await.status, 403);
    assert_eq!(bob.asks("DELETE", &member(&bob)).await.status, 204, "the owner goes");
    assert_eq!(role(&ada).await, "owner", "and whoever is there longest follows");
    assert_eq!(ada.asks("DELETE", &member(&bob)).await.status, 404);
    let direct = ada.talks_with(&eve).await;
    let left = ada.asks("DELETE", &at(&direct, &format!("/members/{}", ada.id))).await;
    assert_eq!((left.status, left.json()["error"].as_str().unwrap()), (409, "direct_conversation"));
    server.end().await;
}

async fn whoever_is_blocked_hears_no_more_than_that_it_is_closed(fresh: &Fresh) {
    let (server, [ada, bob, eve]) = three(fresh).await;
    let id = ada.talks_with(&bob).await;
    let said = ada.says(&id, "hello").await;
    assert_eq!(bob.asks("PUT", &format!("/api/v1/me/blocks/{}", ada.id)).await.status, 204);
    a_second_later(&server);
    let closed = (403, "this person cannot be written to".to_owned());
    let told = |it: crate::support::raw::Heard| (it.status, it.json()["detail"].as_str().unwrap().to_owned());
    for who in [&ada, &bob] {
        let text = json!({ "text": "hello?" });
        assert_eq!(told(who.sends("POST", &at(&id, "/messages"), &text).await), closed);
        assert_eq!(told(who.asks("PUT", &at(&id, &format!("/messages/{said}/reactions/x"))).await), closed);
        assert_eq!(
            who.talks_with(if who.id == ada.id { &bob } else { &ada }).await,
            id,
            "what was said is still there"
        );
        assert_eq!(who.reads(&id, "").await.len(), 1);
    }
    assert_eq!(eve.asks("PUT", &format!("/api/v1/me/blocks/{}", ada.id)).await.status, 204);
    assert_eq!(told(ada.sends("POST", CONVERSATIONS, &json!({ "user_id": eve.id })).await), closed);
    let group = json!({ "title": "all", "user_ids": [eve.id] });
    assert_eq!(told(ada.sends("POST", CONVERSATIONS, &group).await), closed, "nobody is drawn into a group either");
    assert_eq!(bob.asks("DELETE", &format!("/api/v1/me/blocks/{}", ada.id)).await.status, 204);
    a_second_later(&server);
    ada.says(&id, "friends again").await;
    server.end().await;
}

async fn read_receipts_are_mutual(fresh: &Fresh) {
    let (server, [ada, bob, eve]) = three(fresh).await;
    let id = ada.gathers("Boats", &[&bob, &eve]).await;
    let said = ada.says(&id, "hello").await;
    bob.has_read(&id, said).await;
    eve.has_read(&id, said).await;
    let sees = async |viewer: &Somebody, other: &Somebody| {
        let members = items(&viewer.gets(&at(&id, "/members")).await);
        let found = members.into_iter().find(|it| it["user_id"] == other.id.as_str()).unwrap();
        assert!(other.id == ada.id || found["delivered_seq"] == said, "that it arrived is no secret");
        found["read_seq"].clone()
    };
    assert_eq!((sees(&ada, &bob).await, sees(&bob, &eve).await), (said.into(), said.into()));
    let mut wishes = bob.gets("/api/v1/me/preferences").await.json();
    wishes["read_receipts"] = false.into();
    assert_eq!(bob.sends("PUT", "/api/v1/me/preferences", &wishes).await.status, 200);
    assert_eq!(sees(&ada, &bob).await, Value::Null, "who does not tell is not seen");
    assert_eq!(sees(&bob, &eve).await, Value::Null, "and does not see");
    assert_eq!((sees(&bob, &bob).await, sees(&ada, &eve).await), (said.into(), said.into()));
    server.end().await;
}

async fn whoever_leaves_for_good_is_gone_and_what_they_said_stays(fresh: &Fresh) {
    let (server, [ada, bob, eve]) = three(fresh).await;
    let (direct, group) = (ada.talks_with(&bob).await, bob.gathers("Boats", &[&ada, &eve]).await);
    bob.says(&direct, "farewell").await;
    bob.says(&group, "farewell all").await;
    bob.sends("PUT", &at(&group, "/draft"), &json!({ "text": "a thought" })).await;
    let end = json!({ "password": PASSWORD });
    let heard = bob.sends("DELETE", "/api/v1/me", &end).await;
    assert!(heard.status < 300, "{}", heard.json());
    server.clock.advance(Duration::from_secs(8 * 24 * 3_600));
    let (ada, eve) = (ada.again().await, eve.again().await);
    crate::support::eventually("bob is gone", async || {
        ada.talk(&direct).await["participants"][1]["username"] == "deleted user"
            && eve.talk(&group).await["member_count"] == 2
    })
    .await;
    assert_eq!(texts(&ada.reads(&direct, "").await), ["farewell"]);
    assert_eq!(texts(&eve.reads(&group, "").await), ["farewell all"]);
    assert_eq!(ada.talk(&group).await["role"], "owner", "the group goes on");
    let said = ada.sends("POST", &at(&direct, "/messages"), &json!({ "text": "bob?" })).await;
    assert_eq!((said.status, said.json()["detail"].as_str().unwrap()), (403, "this person cannot be written to"));
    server.end().await;
}

async fn what_is_known_about_somebody_has_their_messages(fresh: &Fresh) {
    let (server, [ada, bob, _]) = three(fresh).await;
    let id = ada.talks_with(&bob).await;
    let said = ada.says(&id, "mine").await;
    bob.says(&id, "not mine").await;
    assert_eq!(ada.asks("PUT", &at(&id, &format!("/messages/{said}/reactions/ok"))).await.status, 204);
    let export = ada.gets("/api/v1/me/export").await.json();
    assert_eq!(export["conversations"][0]["conversation_id"], id.as_str());
    let messages = export["messages"].as_array().unwrap();
    assert_eq!((messages.len(), messages[0]["said"].as_str().unwrap()), (1, "{\"text\":\"mine\"}"));
    assert_eq!(export["reactions"][0]["emoji"], "ok");
    server.end().await;
}

async fn a_service_tells_of_people_and_nobody_else_does(fresh: &Fresh) {
    let (server, [ada, ..]) = three(fresh).await;
    let path = "/api/chat/register-user";
    let body = json!({ "user_id": ada.id, "username": "whatever" });
    assert_eq!(ada.sends("POST", path, &body).await.status, 403);
    let asked = NewKey { name: "auth".to_owned(), scopes: vec![Scope::UsersWrite], ends_at: None };
    let key = server.app.actors.keys.make(asked, &Hand::command_line()).await.unwrap().key;
    let headers = format!("X-API-Key: {key}\r\n");
    let heard = post(server.address, path, &headers, &body).await;
    assert_eq!((heard.status, &heard.json()["username"]), (200, &"ada".into()));
    let nobody = json!({ "user_id": "0199c1de-7c1a-7a30-8a60-0123456789ab" });
    assert_eq!(post(server.address, path, &headers, &nobody).await.status, 404);
    server.end().await;
}

async fn so_many_people_come_at_once_and_no_more(fresh: &Fresh) {
    let server = Server::on_with(fresh, |config| config.chat.members_max = 5_000).await;
    let ada = server.with_user("ada").await;
    let id = ada.gathers("Boats", &[]).await;
    let strangers = |count: usize| -> Vec<UserId> { (0..count).map(|_| UserId::new(&server.clock)).collect() };
    for (count, status) in [(1_001, 422), (5_000, 422), (1_000, 404)] {
        let newcomers = json!({ "user_ids": strangers(count) });
        let group = json!({ "title": "all", "user_ids": strangers(count) });
        let refused =
            [ada.sends("POST", &at(&id, "/members"), &newcomers).await, ada.sends("POST", CONVERSATIONS, &group).await];
        for heard in refused {
            assert_eq!(heard.status, status, "{count}: {}", heard.json());
        }
    }
    assert_eq!((ada.talk(&id).await["member_count"].as_i64(), ada.talks().await.len()), (Some(1), 1));
    server.end().await;
}

async fn who_is_near_is_told_of_small_conversations_alone(fresh: &Fresh) {
    let (server, [ada, bob, eve]) = three(fresh).await;
    let (large, small) = (ada.gathers("Ships", &[&bob, &eve]).await, ada.talks_with(&bob).await);
    let ids = [&large, &small].map(|it| it.parse::<ConversationId>().unwrap());
    let near = async |members_max: usize| {
        let found = neighbours(&server.app.storage.db, &ids, members_max).await.unwrap();
        ids.map(|id| found.iter().filter(|it| it.conversation_id == id).count())
    };
    assert_eq!((near(3).await, near(2).await, near(1).await), ([3, 2], [0, 2], [0, 0]));
    assert_eq!(ada.asks("DELETE", &at(&large, &format!("/members/{}", eve.id))).await.status, 204);
    assert_eq!(near(2).await, [2, 2], "who has left does not count");
    server.end().await;
}
