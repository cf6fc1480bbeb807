//! The broker port: durable events and jobs.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Something that happened, as it is published. Events of one key stay in order.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow, serde::Serialize, serde::Deserialize)]
pub struct Event {
    /// The same for every delivery: consumers drop an id they have seen.
    pub id: Uuid,
    /// What kind of thing happened, as `project.liked`; queues bind to it.
    pub topic: String,
    /// The thing it happened to.
    pub key: Uuid,
    /// Its place in the stream of the key, where it is part of one.
    pub seq: Option<i64>,
    /// The kind of the entry, where it is part of a stream; otherwise the topic.
    pub kind: String,
    /// JSON.
    pub payload: String,
    /// When it was committed.
    pub created_at: DateTime<Utc>,
}
