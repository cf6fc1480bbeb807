//! A device that has loaded somebody's conversations once, and keeps them right by what it is told.

use std::collections::BTreeMap;

use folio::ids::StreamId;
use folio::storage::streams::{Entered, StreamStore};
use serde_json::{Map, Value, json};

use super::people::Somebody;
use super::talks::{at, items};

/// What a device knows.
#[derive(Clone)]
pub struct Device {
    me: String,
    /// How far it has heard each stream.
    heard: BTreeMap<StreamId, i64>,
    talks: BTreeMap<String, Talk>,
}

#[derive(Clone)]
struct Talk {
    /// As the list shows it.
    shown: Value,
    messages: BTreeMap<i64, Value>,
    /// The newest pin first.
    pins: Vec<i64>,
    /// Up to there what is unread was counted by whoever told it.
    counted: i64,
}

/// What differs between a list and what is kept of it: values that are told and not kept, and what follows from others.
const NOT_KEPT: [&str; 5] = ["head", "delivered_seq", "participants", "active_at", "epoch"];

impl Device {
    /// Loads everything, as a client does that begins: first where its own stream ends, then what there is.
    pub async fn load(somebody: &Somebody, store: &StreamStore) -> Device {
        let own: StreamId = somebody.id.parse().unwrap();
        let mut heard = BTreeMap::from([(own, store.head(own).await.map_or(0, |it| it.head))]);
        let mut talks = BTreeMap::new();
        for shown in somebody.talks().await {
            let id = shown["id"].as_str().unwrap().to_owned();
            heard.insert(id.parse().unwrap(), shown["head"].as_i64().unwrap());
            talks.insert(id.clone(), Talk::load(somebody, &id, shown).await);
        }
        Device { me: somebody.id.clone(), heard, talks }
    }

    /// Hears what has happened since, one stream after the other. Returns the kinds of what it heard.
    pub async fn catch_up(&mut self, store: &StreamStore, own_first: bool) -> Vec<String> {
        let mut kinds = Vec::new();
        let own: StreamId = self.me.parse().unwrap();
        let mut waiting: Vec<StreamId> = self.heard.keys().copied().filter(|it| *it != own).collect();
        waiting.insert(if own_first { 0 } else { waiting.len() }, own);
        while !waiting.is_empty() {
            let stream = waiting.remove(0);
            let Some(from) = self.heard.get(&stream).copied() else { continue };
            let head = store.head(stream).await.map_or(0, |it| it.head);
            for entry in store.page(stream, from, head).await.unwrap() {
                kinds.push(entry.kind.clone());
                let body: Value = serde_json::from_str(&entry.body).unwrap();
                if stream == own {
                    waiting.extend(self.hear_of_mine(&entry, &body));
                } else if let Some(talk) = self.talks.get_mut(&stream.to_string()) {
                    talk.hear(&self.me, &entry, &body);
                }
                self.heard.entry(stream).and_modify(|it| *it = entry.seq);
            }
        }
        kinds
    }

    /// Everything it knows, to be compared.
    pub fn knows(&self) -> Value {
        let known = |it: &Talk| {
            let mut shown = it.shown.clone();
            NOT_KEPT.iter().for_each(|field| _ = shown.as_object_mut().unwrap().remove(*field));
            json!({ "shown": shown, "messages": it.messages, "pins": it.pins })
        };
        self.talks.iter().map(|(id, it)| (id.clone(), known(it))).collect::<Map<_, _>>().into()
    }

    /// Returns the stream that is to be heard from now on.
    fn hear_of_mine(&mut self, entry: &Entered, body: &Value) -> Option<StreamId> {
        let id = body["conversation_id"].as_str().unwrap().to_owned();
        let stream: StreamId = id.parse().unwrap();
        let set = |talk: &mut Talk, field: &str| talk.shown[field] = body[field].clone();
        match (&*entry.kind, self.talks.get_mut(&id)) {
            ("conversation.joined", None) => {
                let from = body["joined_seq"].as_i64().unwrap();
                self.talks.insert(id, Talk::joined(body));
                self.heard.insert(stream, from);
                return Some(stream);
            }
            ("conversation.left", Some(_)) => {
                self.talks.remove(&id);
                self.heard.remove(&stream);
            }
            ("conversation.read", Some(talk)) => talk.has_read(&self.me, body),
            ("conversation.settings", Some(talk)) => ["notify", "muted_until"].iter().for_each(|it| set(talk, it)),
            ("conversation.draft", Some(talk)) => set(talk, "draft"),
            (_, None) => {}
            (kind, _) => panic!("nobody knows what {kind} is"),
        }
        None
    }
}

impl Talk {
    async fn load(somebody: &Somebody, id: &str, shown: Value) -> Talk {
        let messages = items(&somebody.gets(&at(id, "/messages?size=100&after=0")).await);
        let seq = |it: &Value| it["seq"].as_i64().unwrap();
        let pins = somebody.gets(&at(id, "/pins")).await.json();
        Talk {
            counted: shown["head"].as_i64().unwrap(),
            shown,
            messages: messages.into_iter().map(|it| (seq(&it), it)).collect(),
            pins: pins.as_array().unwrap().iter().map(seq).collect(),
        }
    }

    fn joined(body: &Value) -> Talk {
        let mut shown = body.clone();
        shown["id"] = body["conversation_id"].clone();
        shown.as_object_mut().unwrap().remove("conversation_id");
        let fresh = json!({
            "read_seq": body["joined_seq"], "unread": 0, "notify": "all", "muted_until": null, "draft": null,
            "last_message": null,
        });
        shown.as_object_mut().unwrap().extend(fresh.as_object().unwrap().clone());
        Talk { counted: body["joined_seq"].as_i64().unwrap(), shown, messages: BTreeMap::new(), pins: Vec::new() }
    }

    fn has_read(&mut self, me: &str, body: &Value) {
        let head = body["head"].as_i64().unwrap();
        if body["read_seq"].as_i64() > self.shown["read_seq"].as_i64() {
            self.shown["read_seq"] = body["read_seq"].clone();
            self.counted = self.counted.max(head);
            let later =
                self.messages.range(head + 1..).filter(|it| it.1["sender_id"] != me && it.1["deleted"] == false);
            self.shown["unread"] = (body["unread"].as_i64().unwrap() + later.count() as i64).into();
        }
    }

    fn count(&mut self, entry: &Entered, sender: &Value, me: &str, seq: i64, by: i64) {
        if entry.seq > self.counted && sender != me && seq > self.shown["read_seq"].as_i64().unwrap() {
            self.shown["unread"] = (self.shown["unread"].as_i64().unwrap() + by).into();
        }
    }

    fn hear(&mut self, me: &str, entry: &Entered, body: &Value) {
        let seq = body["seq"].as_i64().unwrap_or_default();
        match &*entry.kind {
            "message" | "message.gone" => self.hear_message(me, entry, body),
            "message.edited" if body["text"].is_string() => {
                let message = self.messages.get_mut(&seq).filter(|it| it["deleted"] == false);
                if let Some(message) = message {
                    (message["text"], message["edited_at"]) = (body["text"].clone(), body["edited_at"].clone());
                }
            }
            "message.edited" => {} // Another change came behind it.
            "message.deleted" => {
                let was = self.messages.get(&seq).is_some_and(|it| it["deleted"] == false);
                if was {
                    self.count(entry, &body["sender_id"], me, seq, -1);
                }
                if let Some(message) = self.messages.get_mut(&seq) {
                    let gone = json!({
                        "text": "", "reply_to": null, "attachments": [], "reactions": {}, "deleted": true,
                        "edited_at": null,
                    });
                    message.as_object_mut().unwrap().extend(gone.as_object().unwrap().clone());
                }
                self.pins.retain(|it| *it != seq);
            }
            "reaction.added" | "reaction.removed" => self.hear_sign(entry, body, seq),
            "message.pinned" => self.pins.insert(0, seq),
            "message.unpinned" => self.pins.retain(|it| *it != seq),
            "member.added" => self.more_members(body["user_ids"].as_array().unwrap().len() as i64),
            "member.removed" => {
                self.more_members(-1);
                if body["owner_id"] == me {
                    self.shown["role"] = "owner".into();
                }
            }
            "member.changed" if body["user_id"] == me => self.shown["role"] = body["role"].clone(),
            "member.changed" => {}
            "conversation.renamed" => self.shown["title"] = body["title"].clone(),
            kind => panic!("nobody knows what {kind} is"),
        }
        self.shown["last_message"] = self.messages.last_key_value().map_or(Value::Null, |it| {
            let mut last = it.1.clone();
            last["reactions"] = json!({});
            last
        });
    }

    fn hear_message(&mut self, me: &str, entry: &Entered, body: &Value) {
        let or = |field: &str, other: Value| body.get(field).cloned().unwrap_or(other);
        let message = json!({
            "id": entry.id, "conversation_id": self.shown["id"], "seq": entry.seq, "sender_id": entry.sender_id,
            "client_id": entry.client_id, "text": or("text", "".into()), "reply_to": or("reply_to", Value::Null),
            "attachments": or("attachments", json!([])), "reactions": {}, "deleted": entry.kind == "message.gone",
            "edited_at": or("edited_at", Value::Null), "created_at": entry.created_at,
        });
        if entry.kind == "message" {
            self.count(entry, &message["sender_id"], me, entry.seq, 1);
        }
        self.messages.insert(entry.seq, message);
    }

    fn hear_sign(&mut self, entry: &Entered, body: &Value, seq: i64) {
        let Some(message) = self.messages.get_mut(&seq).filter(|it| it["deleted"] == false) else { return };
        let signs = message["reactions"].as_object_mut().unwrap();
        let emoji = body["emoji"].as_str().unwrap();
        let under = signs.entry(emoji).or_insert_with(|| json!([])).as_array_mut().unwrap();
        under.retain(|it| it != &body["user_id"]);
        if entry.kind == "reaction.added" {
            under.push(body["user_id"].clone());
        }
        if under.is_empty() {
            signs.remove(emoji);
        }
    }

    fn more_members(&mut self, by: i64) {
        self.shown["member_count"] = (self.shown["member_count"].as_i64().unwrap() + by).into();
    }
}
