//! People: listed, found, and gone.

use folio::ids::UserId;
use serde_json::json;

use crate::support::accounts::{crowd, set_state};
use crate::support::eventually;
use crate::support::http::Server;
use crate::support::people::{PASSWORD, Somebody, sign_in};
use crate::support::raw::{Heard, get};

async fn serving() -> Server {
    Server::start(folio::http::routes(), |_| ()).await
}

fn names(heard: &Heard) -> Vec<String> {
    assert_eq!(heard.status, 200, "{}", heard.json());
    heard.json()["items"].as_array().unwrap().iter().map(|it| it["username"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn people_are_listed_by_name_page_by_page_and_found_by_its_beginning() {
    let server = serving().await;
    let ada = server.with_user("Ada").await;
    crowd(&server.app.storage.db, &["adam", "bob", "Adele", "carl"].map(str::to_owned)).await;
    let (mut seen, mut path) = (Vec::new(), "/api/v1/users?size=2".to_owned());
    loop {
        let heard = ada.gets(&path).await;
        seen.extend(names(&heard));
        let Some(next) = heard.json()["next"].as_str().map(str::to_owned) else { break };
        path = format!("/api/v1/users?size=2&cursor={next}");
    }
    assert_eq!(seen, ["Ada", "adam", "Adele", "bob", "carl"]);
    assert_eq!(names(&ada.gets("/api/users?prefix=AD").await), ["Ada", "adam", "Adele"]);
    assert_eq!(names(&ada.gets("/api/v1/users?prefix=ad%25").await), [""; 0]);
    let one = ada.gets(&format!("/api/v1/users/{}", ada.id)).await.json();
    assert_eq!(
        (&one["user_id"], &one["username"], &one["display_name"]),
        (&ada.id.as_str().into(), &"Ada".into(), &"Ada".into())
    );
    let listed = ada.gets("/api/v1/users?size=1").await.json();
    assert_eq!(listed["items"][0], one, "one form for one and for many");
    server.end().await;
}

#[tokio::test]
async fn only_those_who_have_signed_in_see_people() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    for path in ["/api/v1/users", &format!("/api/v1/users/{}", ada.id), &format!("/api/v1/profile/user/{}", ada.id)] {
        assert_eq!(get(server.address, path, "").await.status, 401, "{path}");
    }
    assert_eq!(ada.gets("/api/v1/users?before=2020").await.status, 422);
    assert_eq!(ada.gets("/api/v1/users?prefix=a&prefix=b").await.status, 422);
    assert_eq!(ada.gets("/api/v1/users/7").await.status, 404);
    server.end().await;
}

#[tokio::test]
async fn whoever_leaves_is_gone_at_once_and_whoever_returns_is_back() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let path = format!("/api/v1/profile/user/{}", bob.id);
    assert_eq!(ada.gets(&path).await.status, 200);
    let left = bob.sends("POST", "/api/v1/auth/deactivate", &json!({ "password": PASSWORD })).await;
    assert_eq!(left.status, 204, "{:?}", left.head);
    eventually("bob is gone", async || ada.gets(&path).await.status == 404).await;
    assert_eq!(sign_in(server.address, "bob", PASSWORD).await.status, 200);
    assert_eq!(ada.gets(&path).await.status, 200);
    server.end().await;
}

/// What somebody hears where another ought to be, without what differs from request to request.
async fn heard_of(ada: &Somebody, id: &str, name: &str) -> Vec<(u16, serde_json::Value)> {
    let mut all = Vec::new();
    for path in [
        format!("users/{id}"),
        format!("profile/user/{id}"),
        format!("profile/public/{name}"),
        format!("users?prefix={name}"),
    ] {
        let heard = ada.gets(&format!("/api/v1/{path}")).await;
        let mut body = heard.json();
        body.as_object_mut().unwrap().remove("request_id");
        all.push((heard.status, body));
    }
    all
}

#[tokio::test]
async fn whoever_is_not_active_looks_like_nobody() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let bob: UserId = server.with_user("bob").await.id.parse().unwrap();
    let nobody = heard_of(&ada, &UserId::new(&server.clock).to_string(), "nobody").await;
    assert_eq!(nobody.iter().map(|it| it.0).collect::<Vec<_>>(), [404, 404, 404, 200]);
    for state in ["deactivated", "banned", "deleting"] {
        set_state(&server.app.storage.db, bob, "active").await;
        assert!(heard_of(&ada, &bob.to_string(), "bob").await.iter().all(|it| it.0 == 200), "{state}");
        set_state(&server.app.storage.db, bob, state).await;
        server.app.actors.profiles.forget(bob).await;
        assert_eq!(heard_of(&ada, &bob.to_string(), "bob").await, nobody, "{state}");
        let change = folio::actors::profiles::rules::Change::default();
        let changed = server.app.actors.users.change_profile(bob, 1, change).await;
        assert_eq!(changed.unwrap_err().code(), "not_found", "{state}");
    }
    server.end().await;
}
