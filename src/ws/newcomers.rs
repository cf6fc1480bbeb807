//! Who comes into a conversation and who is taken out of it, as the sessions notice it that hear so.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fanout::Heed;
use super::following::follow_all;
use super::frames::{Protocol, lost};
use super::house::House;
use super::session::Session;
use super::topics::{Position, Topics};
use crate::error::Result;
use crate::ids::{ConversationId, StreamId, UserId};
use crate::storage::streams::Entered;

#[derive(Deserialize)]
struct Removed {
    user_id: UserId,
}

#[derive(Deserialize)]
struct Added {
    user_ids: Vec<UserId>,
}

#[derive(Deserialize)]
struct Joined {
    conversation_id: StreamId,
    epoch: i64,
    joined_seq: i64,
}

fn body<T: DeserializeOwned>(entry: &Entered) -> Option<T> {
    serde_json::from_str(&entry.body).ok()
}

impl House {
    /// Heeds what is told of comings and goings.
    pub(super) fn heed_entries(self: &Arc<Self>, topics: &Topics) {
        let house = self.clone();
        let act = move |stream, entry: &Entered, sessions: Vec<Arc<Session>>| {
            let _ = match &*entry.kind {
                "member.removed" => body(entry).map(|it: Removed| is_out(stream, it.user_id, &sessions)),
                "member.added" => body(entry).map(|it: Added| house.clone().are_in(stream, it.user_ids, sessions)),
                _ => body(entry).map(|it: Joined| house.clone().has_come_in(&it, sessions)),
            };
        };
        let kinds = &["member.removed", "member.added", "conversation.joined"];
        let _ = topics.heed.set(Heed { kinds, act: Box::new(act) });
    }

    /// Lets stock clients and event sources hear a conversation that their person has come into, unless they are out
    /// again. A native client follows what it wants to.
    fn has_come_in(self: Arc<Self>, into: &Joined, sessions: Vec<Arc<Session>>) {
        let place = Position { epoch: into.epoch, seq: into.joined_seq };
        for session in sessions.into_iter().filter(|it| it.protocol != Protocol::Native) {
            let (house, following, root) =
                (self.clone(), (into.conversation_id, Some(place)), session.sockets.root.clone());
            root.task("topics", async move {
                let followed = follow_all(&*house, &session, &HashMap::new(), vec![following]).await;
                followed.unwrap_or_else(|close| session.close(&close));
            });
        }
    }

    /// Lets those who are in hear whether those who have come are here: those who come hear of them by themselves.
    fn are_in(self: Arc<Self>, stream: StreamId, users: Vec<UserId>, mut sessions: Vec<Arc<Session>>) {
        let is_new = |it: &Session| it.who().is_none_or(|it| users.contains(&it.user));
        sessions.retain(|it| it.protocol != Protocol::Native && !is_new(it));
        let Some(root) = sessions.first().map(|it| it.sockets.root.clone()) else { return };
        root.task("topics", async move {
            if let Err(error) = self.introduce(stream, users, &sessions).await {
                tracing::debug!(event = "presence.introduce", %error, "who has come in is not told to the others");
            }
        });
    }

    async fn introduce(&self, stream: StreamId, users: Vec<UserId>, sessions: &[Arc<Session>]) -> Result<()> {
        let viewers = || sessions.iter().filter_map(|it| it.who().map(|who| (it, who.user)));
        let Some((_, one)) = viewers().next() else { return Ok(()) };
        // Nobody is near in a crowd.
        let near = self.actors().conversations.neighbours(one, &[ConversationId(stream.0)]).await?;
        let users: Vec<_> = users.into_iter().filter(|user| near.iter().any(|it| it.user_id == *user)).collect();
        for (session, viewer) in viewers() {
            self.followers().meet(session, viewer, users.clone()).await?;
        }
        Ok(())
    }
}

/// Whoever takes no part any more hears nothing that comes behind.
fn is_out(stream: StreamId, user: UserId, sessions: &[Arc<Session>]) {
    for session in sessions.iter().filter(|it| it.who().is_some_and(|it| it.user == user)) {
        session.sockets.topics.leave(session, stream);
        session.send(&lost(stream, "not_found", session.protocol));
    }
}
