//! Conversations over two nodes: what is said on one is heard on the other.

use std::time::Duration;

use folio::config::{BusConfig, Secret};
use folio::storage::db::Engine;
use serde_json::{Value, json};

use super::chat::{asks, events, is_silent, next, tab};
use crate::support::engines::Fresh;
use crate::support::http::Server;
use crate::support::people::Somebody;
use crate::support::proxy::{Mode, Proxy};
use crate::support::talks::at;
use crate::support::{server_url, unique};

/// Two nodes on one PostgreSQL and one Redis.
async fn two() -> (Server, Server) {
    let fresh = Fresh::new(Engine::Postgres).await;
    let redis = BusConfig::Redis { url: Secret::new(server_url("TEST_REDIS_URL")), prefix: unique("chat") + ":" };
    let here = Server::start_on(fresh, folio::http::routes(), |it| it.bus = redis).await;
    let there = here.beside(folio::http::routes()).await;
    (here, there)
}

/// The same person, asking another node.
fn at_node(somebody: &Somebody, server: &Server) -> Somebody {
    Somebody { address: server.address, ..somebody.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_on_one_node_is_heard_on_the_other_in_one_order() {
    let (here, there) = two().await;
    let (ada, bob) = (here.with_user("ada").await, here.with_user("bob").await);
    let far = at_node(&bob, &there);
    let (one, other) = tokio::join!(ada.talks_with(&bob), far.talks_with(&ada));
    assert_eq!(one, other, "two who begin at once, on two nodes, begin one");
    let id = one;
    let (mut adas, mut bobs) = (tab(&here, &ada, &[(&id, 0)]).await, tab(&there, &far, &[(&id, 0)]).await);
    let says = async |who: &Somebody| {
        for turn in 0..20 {
            who.says(&id, &format!("{} {turn}", who.name)).await;
        }
    };
    tokio::join!(says(&ada), says(&far));
    let (here_heard, there_heard) = (events(&mut adas, &id, 0, 40).await, events(&mut bobs, &id, 0, 40).await);
    let ids = |heard: &[Value]| heard.iter().map(|it| it["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&here_heard), ids(&there_heard));
    asks(&mut bobs, "typing", json!(id)).await;
    let told = next(&mut adas, "volatile").await;
    assert_eq!((&told["kind"], &told["body"]["user_id"]), (&"typing".into(), &bob.id.as_str().into()));
    asks(&mut bobs, "receipt", json!({ "conversation_id": id, "read_seq": 40 })).await;
    assert_eq!((far.talk(&id).await["unread"].clone(), ada.talk(&id).await["unread"].clone()), (0.into(), 20.into()));
    there.end().await;
    here.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_taken_out_on_one_node_is_cut_off_on_the_other() {
    let (here, there) = two().await;
    let [ada, bob, eve] = [here.with_user("ada").await, here.with_user("bob").await, here.with_user("eve").await];
    let id = ada.gathers("Boats", &[&bob, &eve]).await;
    let far = at_node(&eve, &there);
    let mut eves = tab(&there, &far, &[(&id, 0)]).await;
    let first = far.says(&id, "hello from there").await;
    events(&mut eves, &id, 0, first).await;
    assert_eq!(ada.asks("DELETE", &at(&id, &format!("/members/{}", eve.id))).await.status, 204);
    let gone = next(&mut eves, "event").await;
    assert_eq!(gone["kind"], "member.removed", "it is the last that she hears");
    ada.says(&id, "without eve").await;
    there.clock.advance(Duration::from_secs(1));
    let refused = asks(&mut eves, "new_message", json!({ "conversation_id": id, "text": "still here" })).await;
    assert_eq!(refused["code"], "not_found");
    is_silent(&mut eves).await;
    there.end().await;
    here.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_while_a_node_cannot_tell_others_is_heard_there_afterwards() {
    let (url, prefix) = (server_url("TEST_REDIS_URL"), unique("chat") + ":");
    let (proxy, cut_off) = Proxy::before(&url).await;
    let bus = |url: String| BusConfig::Redis { url: Secret::new(url), prefix: prefix.clone() };
    let fresh = Fresh::new(Engine::Postgres).await;
    let here = Server::start_on(fresh, folio::http::routes(), |it| it.bus = bus(cut_off)).await;
    let there = here.beside_with(folio::http::routes(), |it| it.bus = bus(url)).await;
    let (ada, bob) = (here.with_user("ada").await, here.with_user("bob").await);
    let (id, far) = (ada.talks_with(&bob).await, at_node(&bob, &there));
    let mut bobs = tab(&there, &far, &[(&id, 0)]).await;
    proxy.set(Mode::Cut);
    let seq = ada.says(&id, "from behind the cut").await;
    proxy.set(Mode::Pass);
    let heard = async {
        let heard = events(&mut bobs, &id, seq - 1, seq).await;
        assert_eq!(heard[0]["body"]["text"], "from behind the cut");
    };
    // Nothing else is said: what is owed is said again by itself.
    let passes = async {
        loop {
            here.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! { () = heard => {}, () = passes => {} }
    there.end().await;
    here.end().await;
}
