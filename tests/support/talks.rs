//! What people do in conversations.

use serde_json::{Value, json};

use super::people::Somebody;
use super::raw::Heard;

pub const CONVERSATIONS: &str = "/api/v1/chat/conversations";

/// A path below a conversation.
pub fn at(id: &str, rest: &str) -> String {
    format!("{CONVERSATIONS}/{id}{rest}")
}

impl Somebody {
    /// Their direct conversation with somebody.
    pub async fn talks_with(&self, other: &Somebody) -> String {
        let heard = self.sends("POST", CONVERSATIONS, &json!({ "user_id": other.id })).await;
        assert!(matches!(heard.status, 200 | 201), "{}", heard.json());
        id(&heard.json())
    }

    /// A group that they begin.
    pub async fn gathers(&self, title: &str, others: &[&Somebody]) -> String {
        let ids: Vec<&String> = others.iter().map(|it| &it.id).collect();
        let heard = self.sends("POST", CONVERSATIONS, &json!({ "title": title, "user_ids": ids })).await;
        assert_eq!(heard.status, 201, "{}", heard.json());
        id(&heard.json())
    }

    /// Says something, and gets its place.
    pub async fn says(&self, conversation: &str, text: &str) -> i64 {
        let heard = self.sends("POST", &at(conversation, "/messages"), &json!({ "text": text })).await;
        assert_eq!(heard.status, 201, "{}", heard.json());
        heard.json()["seq"].as_i64().unwrap()
    }

    /// Reads a part of what was said.
    pub async fn reads(&self, conversation: &str, query: &str) -> Vec<Value> {
        items(&self.gets(&at(conversation, &format!("/messages{query}"))).await)
    }

    /// Their list of conversations.
    pub async fn talks(&self) -> Vec<Value> {
        items(&self.gets(CONVERSATIONS).await)
    }

    /// One of their conversations, as they see it.
    pub async fn talk(&self, conversation: &str) -> Value {
        let heard = self.gets(&at(conversation, "")).await;
        assert_eq!(heard.status, 200, "{}", heard.json());
        heard.json()
    }

    /// Says how far they have come.
    pub async fn has_read(&self, conversation: &str, seq: i64) -> Value {
        let heard = self.sends("PUT", &at(conversation, "/receipt"), &json!({ "read_seq": seq })).await;
        assert_eq!(heard.status, 200, "{}", heard.json());
        heard.json()
    }
}

fn id(conversation: &Value) -> String {
    conversation["id"].as_str().unwrap().to_owned()
}

pub fn items(heard: &Heard) -> Vec<Value> {
    assert_eq!(heard.status, 200, "{}", heard.json());
    heard.json()["items"].as_array().unwrap().clone()
}

/// What some messages say.
pub fn texts(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|it| it["text"].as_str().unwrap()).collect()
}
