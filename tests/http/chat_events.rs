//! Whoever has loaded once and hears every event knows what whoever loads now knows: for every kind of event.

use std::collections::BTreeSet;

use folio::storage::streams::StreamStore;
use serde_json::{Value, json};

use crate::on_both_engines;
use crate::support::device::Device;
use crate::support::engines::Fresh;
use crate::support::http::Server;
use crate::support::people::Somebody;
use crate::support::talks::at;

on_both_engines! {
    what_was_loaded_and_what_was_told_is_what_is_there
}

/// Every kind of entry that a conversation tells, and that a person is told.
const KINDS: [&str; 16] = [
    "conversation.draft",
    "conversation.joined",
    "conversation.left",
    "conversation.read",
    "conversation.renamed",
    "conversation.settings",
    "member.added",
    "member.changed",
    "member.removed",
    "message",
    "message.deleted",
    "message.edited",
    "message.gone",
    "message.pinned",
    "message.unpinned",
    "reaction.added",
];
const AND_THE_OTHER: &str = "reaction.removed";

/// Somebody who is looked over the shoulder: a device that hears of each step, and one that hears of all at the end.
struct Watched<'a> {
    somebody: &'a Somebody,
    near: Device,
    far: Device,
}

struct Story<'a> {
    store: StreamStore,
    watched: Vec<Watched<'a>>,
    kinds: BTreeSet<String>,
    steps: usize,
}

impl<'a> Story<'a> {
    async fn begin(server: &Server, people: &[&'a Somebody]) -> Story<'a> {
        let store = StreamStore { db: server.app.storage.db.clone() };
        let mut watched = Vec::new();
        for somebody in people {
            let near = Device::load(somebody, &store).await;
            watched.push(Watched { somebody, far: near.clone(), near });
        }
        Story { store, watched, kinds: BTreeSet::new(), steps: 0 }
    }

    /// Something was done: everybody hears of it, and knows as much as somebody who has just come.
    async fn after(&mut self, what: &str) {
        self.steps += 1;
        for it in &mut self.watched {
            self.kinds.extend(it.near.catch_up(&self.store, self.steps.is_multiple_of(2)).await);
            let fresh = Device::load(it.somebody, &self.store).await;
            assert_same(&it.near.knows(), &fresh.knows(), &format!("{} after {what}", it.somebody.name));
        }
    }

    /// Whoever was away all the time catches up at once, whatever stream comes first.
    async fn end(mut self) -> BTreeSet<String> {
        for it in &mut self.watched {
            for own_first in [true, false] {
                let mut far = it.far.clone();
                self.kinds.extend(far.catch_up(&self.store, own_first).await);
                assert_same(&far.knows(), &it.near.knows(), &format!("{}, who was away", it.somebody.name));
            }
        }
        self.kinds
    }
}

/// Names the first place where two differ.
fn assert_same(one: &Value, other: &Value, place: &str) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            let of =
                |it: &serde_json::Map<String, Value>, key: &String| it.get(key).cloned().unwrap_or("missing".into());
            keys.into_iter().for_each(|key| assert_same(&of(one, key), &of(other, key), &format!("{place} / {key}")));
        }
        _ => assert_eq!(one, other, "{place}"),
    }
}

async fn does(who: &Somebody, method: &str, path: &str, body: Value) {
    let heard = who.sends(method, path, &body).await;
    assert!(heard.status < 300, "{method} {path}: {} {}", heard.status, String::from_utf8_lossy(&heard.body));
}

async fn asks(who: &Somebody, method: &str, path: &str) {
    let heard = who.asks(method, path).await;
    assert!(heard.status < 300, "{method} {path}: {} {}", heard.status, String::from_utf8_lossy(&heard.body));
}

async fn what_was_loaded_and_what_was_told_is_what_is_there(fresh: &Fresh) {
    let server = Server::on(fresh).await;
    let [ada, bob, eve] = [server.with_user("ada").await, server.with_user("bob").await, server.with_user("eve").await];
    let mut story = Story::begin(&server, &[&ada, &bob, &eve]).await;
    let id = ada.gathers("Boats", &[&bob]).await;
    story.after("a group begins").await;
    let direct = ada.talks_with(&bob).await;
    story.after("two begin to talk").await;
    let first = ada.says(&id, "one").await;
    let second = bob.says(&id, "two").await;
    bob.says(&direct, "hi").await;
    story.after("three messages").await;
    does(&ada, "POST", &at(&id, "/members"), json!({ "user_ids": [eve.id] })).await;
    let third = ada.says(&id, "three, for eve too").await;
    let fourth = bob.says(&id, "four").await;
    story.after("eve comes").await;
    let message = |seq: i64| at(&id, &format!("/messages/{seq}"));
    does(&ada, "PATCH", &message(third), json!({ "text": "3" })).await;
    does(&ada, "PATCH", &message(third), json!({ "text": "III" })).await;
    story.after("two changes").await;
    asks(&bob, "PUT", &(message(third) + "/reactions/%E2%9D%A4")).await;
    asks(&ada, "PUT", &(message(third) + "/reactions/%E2%9D%A4")).await;
    asks(&eve, "PUT", &(message(fourth) + "/reactions/ok")).await;
    story.after("signs").await;
    asks(&bob, "DELETE", &(message(third) + "/reactions/%E2%9D%A4")).await;
    story.after("a sign less").await;
    asks(&ada, "PUT", &at(&id, &format!("/pins/{third}"))).await;
    asks(&eve, "PUT", &at(&id, &format!("/pins/{fourth}"))).await;
    story.after("pins").await;
    asks(&ada, "DELETE", &at(&id, &format!("/pins/{third}"))).await;
    story.after("a pin less").await;
    ada.has_read(&id, second).await;
    eve.has_read(&id, third).await;
    story.after("some read").await;
    asks(&bob, "DELETE", &message(fourth)).await;
    story.after("the last message is taken back, unread by some, pinned and with a sign").await;
    ada.says(&id, "five").await;
    bob.has_read(&id, first).await;
    let sixth = ada.says(&id, "six").await;
    asks(&ada, "DELETE", &message(sixth)).await;
    story.after("said, partly read, and taken back").await;
    wishes_and_members(&mut story, [&ada, &bob, &eve], &id, &direct).await;
    let kinds = story.end().await;
    let all = KINDS.iter().chain([&AND_THE_OTHER]).map(|it| (*it).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(kinds, all, "every kind of event was told");
    server.end().await;
}

/// The second half of the story: what people wish for themselves, and how they come and go.
async fn wishes_and_members(story: &mut Story<'_>, [ada, bob, eve]: [&Somebody; 3], id: &str, direct: &str) {
    let member = |who: &Somebody| at(id, &format!("/members/{}", who.id));
    does(ada, "PATCH", &at(id, ""), json!({ "title": "Ships" })).await;
    does(ada, "PUT", &at(id, "/settings"), json!({ "notify": "mentions", "muted_until": "2999-01-01T00:00:00Z" }))
        .await;
    does(bob, "PUT", &at(direct, "/draft"), json!({ "text": "dear ada" })).await;
    story.after("a title, a wish, a draft").await;
    does(ada, "PUT", &member(bob), json!({ "role": "owner" })).await;
    story.after("another owner").await;
    asks(bob, "DELETE", &member(bob)).await;
    story.after("who goes").await;
    ada.says(id, "without bob").await;
    does(ada, "POST", &at(id, "/members"), json!({ "user_ids": [bob.id] })).await;
    ada.says(id, "with bob").await;
    story.after("and comes back").await;
    asks(ada, "DELETE", &member(ada)).await;
    story.after("the owner goes: somebody follows").await;
    does(bob, "PUT", &at(direct, "/draft"), json!({ "text": "" })).await;
    let end = eve.talk(id).await["head"].as_i64().unwrap();
    eve.has_read(id, end).await;
    story.after("all is read").await;
}
