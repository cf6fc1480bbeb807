//! What people set for themselves: name, blocks, preferences; and who is told.

use std::time::Duration;

use folio::storage::broker::Subscription;
use serde_json::{Value, json};

use crate::support::brokers::sweep;
use crate::support::http::Server;
use crate::support::people::{PASSWORD, Somebody, post, sign_in};
use crate::support::raw::{Heard, get};
use crate::support::{soon, unique};

const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn serving() -> Server {
    Server::start(folio::http::routes(), |_| ()).await
}

async fn renames(ada: &Somebody, name: &str) -> Heard {
    ada.sends("PUT", "/api/v1/me/username", &json!({ "username": name, "password": PASSWORD })).await
}

/// The same person after their token has ended.
async fn again(ada: &Somebody, name: &str) -> Somebody {
    Somebody::of(ada.address, name, &sign_in(ada.address, name, PASSWORD).await.json())
}

#[tokio::test]
async fn a_former_name_leads_to_the_present_one_for_a_month_and_is_nobody_elses() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let public = |name: &str| format!("/api/v1/profile/public/{name}");
    assert_eq!(get(server.address, &public("ada"), "").await.status, 200);
    let renamed = renames(&ada, "Countess").await;
    assert_eq!((renamed.status, renamed.json()["username"].as_str()), (200, Some("Countess")), "{}", renamed.json());
    let led = get(server.address, &public("ADA"), "").await;
    assert_eq!((led.status, led.header("location")), (308, public("Countess").as_str()));
    assert_eq!(get(server.address, &public("countess"), "").await.json()["username"], "Countess");
    assert_eq!(ada.gets("/api/v1/profile/me").await.json()["username"], "Countess");
    assert_eq!(ada.gets("/api/v1/users?prefix=count").await.json()["items"][0]["user_id"], ada.id.as_str());
    assert_eq!(sign_in(server.address, "countess", PASSWORD).await.status, 200);

    let taken = renames(&bob, "Ada").await;
    assert_eq!((taken.status, taken.json()["error"].as_str()), (409, Some("username_taken")));
    let body = json!({ "username": "ada", "email": "eve@example.org", "password": PASSWORD });
    assert_eq!(post(server.address, "/api/v1/auth/register", "", &body).await.status, 409);

    server.clock.advance(30 * DAY + Duration::from_secs(1));
    assert_eq!(get(server.address, &public("ada"), "").await.status, 404);
    let bob = again(&bob, "bob").await;
    assert_eq!(renames(&bob, "Ada").await.status, 200, "a month is over");
    assert_eq!(get(server.address, &public("ada"), "").await.json()["user_id"], bob.id.as_str());
    server.end().await;
}

#[tokio::test]
async fn whoever_left_a_name_may_return_to_it_and_write_it_otherwise() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    assert_eq!(renames(&ada, "countess").await.status, 200);
    assert_eq!(renames(&ada, "Ada").await.status, 200);
    assert_eq!(renames(&ada, "ADA").await.json()["username"], "ADA");
    assert_eq!(renames(&ada, "ADA").await.status, 200, "what is so already is no change");
    let led = get(server.address, "/api/v1/profile/public/countess", "").await;
    assert_eq!((led.status, led.header("location")), (308, "/api/v1/profile/public/ADA"));
    let often = renames(&ada, "fourth").await;
    assert_eq!(often.status, 429, "three times a day");
    assert!(!often.header("retry-after").is_empty());
    server.clock.advance(DAY + Duration::from_secs(1));
    let ada = again(&ada, "ada").await;
    assert_eq!(renames(&ada, "fourth").await.status, 200, "and then again");
    server.end().await;
}

#[tokio::test]
async fn a_name_that_looks_like_anothers_is_taken_and_what_is_no_name_is_refused() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    server.with_user("paul").await;
    for name in ["paul", "PAUL", "ｐａｕｌ", "pau1"] {
        let heard = renames(&ada, name).await;
        assert_eq!((heard.status, heard.json()["error"].as_str()), (409, Some("username_taken")), "{name}");
    }
    for name in ["", "a", &"n".repeat(65), "a\u{0}b", "pаypal", " ada", "a/b", "a\u{202e}b", "Admin"] {
        let heard = renames(&ada, name).await;
        assert_eq!(heard.status, 422, "{name:?}");
        assert!(heard.json()["fields"]["username"].is_string(), "{}", heard.json());
    }
    let body = json!({ "username": "eve", "password": "not the password" });
    let wrong = ada.sends("PUT", "/api/v1/me/username", &body).await;
    assert_eq!(wrong.status, 403, "{}", wrong.json());
    let unsaid = ada.sends("PUT", "/api/v1/me/username", &json!({ "username": "eve" })).await;
    assert_eq!(unsaid.status, 422);
    assert_eq!(ada.gets("/api/v1/profile/me").await.json()["username"], "ada");
    server.end().await;
}

#[tokio::test]
async fn a_block_is_made_once_however_often_and_lifted_the_same_way() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let path = format!("/api/v1/me/blocks/{}", bob.id);
    for _ in 0..2 {
        assert_eq!(ada.asks("PUT", &path).await.status, 204);
    }
    let listed = ada.gets("/api/v1/me/blocks").await.json();
    let items = listed["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["user_id"], &items[0]["username"]), (1, &bob.id.as_str().into(), &"bob".into()));
    assert_eq!(bob.gets("/api/v1/me/blocks").await.json()["items"], json!([]), "nobody sees who blocks them");
    for _ in 0..2 {
        assert_eq!(ada.asks("DELETE", &path).await.status, 204);
    }
    assert_eq!(ada.gets("/api/v1/me/blocks").await.json()["items"], json!([]));
    assert_eq!(ada.asks("PUT", &format!("/api/v1/me/blocks/{}", ada.id)).await.status, 422, "not oneself");
    let nobody = folio::ids::UserId::new(&server.clock);
    assert_eq!(ada.asks("PUT", &format!("/api/v1/me/blocks/{nobody}")).await.status, 404);
    assert_eq!(get(server.address, "/api/v1/me/blocks", "").await.status, 401);
    server.end().await;
}

#[tokio::test]
async fn preferences_are_set_by_whoever_saw_them_last() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let path = "/api/v1/me/preferences";
    let mut set = ada.gets(path).await.json();
    assert_eq!((&set["version"], &set["read_receipts"], &set["theme"]), (&1.into(), &true.into(), &"system".into()));
    let late = set.clone();
    set["read_receipts"] = false.into();
    set["notifications"]["likes"] = "nothing".into();
    set["language"] = "cs".into();
    let heard = ada.sends("PUT", path, &set).await;
    assert_eq!((heard.status, &heard.json()["version"]), (200, &2.into()), "{}", heard.json());
    assert_eq!(ada.sends("PUT", path, &set).await.json()["version"], 2, "the answer was lost");
    assert_eq!(ada.gets(path).await.json(), heard.json());
    let conflict = ada.sends("PUT", path, &late).await;
    assert_eq!((conflict.status, conflict.json()["error"].as_str()), (409, Some("version_conflict")));
    let changed = |field: &str, value: Value| {
        let mut body = heard.json();
        body[field] = value;
        body
    };
    for bad in [
        changed("theme", "pink".into()),
        changed("language", "en_GB".into()),
        changed("read_receipts", 1.into()),
        changed("notifications", json!({ "messages": "all", "pings": "all" })),
        changed("volume", 11.into()),
        json!({ "version": 2 }),
    ] {
        assert_eq!(ada.sends("PUT", path, &bad).await.status, 422, "{bad}");
    }
    server.end().await;
}

#[tokio::test]
async fn whoever_listens_to_the_broker_hears_who_came_and_what_they_changed() {
    let server = serving().await;
    let name = unique("test");
    let subscription = Subscription::new(format!("{name}.mail"), &["user.registered", "profile.updated"]);
    server.app.storage.broker.declare(&subscription).await.unwrap();
    let mut consumer = server.app.storage.broker.subscribe(subscription);
    let ada = server.with_user("ada").await;
    let said = json!({ "version": 1, "display_name": "Ada L.", "bio": "Sea.", "expertise": ["engines"] });
    assert_eq!(ada.sends("PUT", "/api/v1/profile/me", &said).await.status, 200);
    assert_eq!(renames(&ada, "countess").await.status, 200);
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let delivery = soon("an event", consumer.next()).await;
        // The exchange of a server carries the events of other tests too.
        if delivery.event.key.to_string() == ada.id {
            let payload: Value = serde_json::from_str(&delivery.event.payload).unwrap();
            assert_eq!(payload["user_id"], ada.id.as_str());
            heard.push((delivery.event.topic.clone(), payload));
        }
        delivery.done().await.unwrap();
    }
    let told = |at: usize| (heard[at].0.as_str(), heard[at].1["username"].as_str().unwrap());
    assert_eq!(
        [told(0), told(1), told(2)],
        [("user.registered", "ada"), ("profile.updated", "ada"), ("profile.updated", "countess")]
    );
    let changed = &heard[1].1;
    assert_eq!(
        (&changed["name"], &changed["bio"], &changed["expertise"]),
        (&"Ada L.".into(), &"Sea.".into(), &json!(["engines"]))
    );
    drop(consumer);
    if std::env::var("TEST_BACKENDS").is_ok_and(|it| it == "real") {
        sweep(&crate::support::server_url("TEST_AMQP_URL"), &name).await;
    }
    server.end().await;
}
