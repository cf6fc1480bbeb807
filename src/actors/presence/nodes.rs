//! What nodes tell each other about who is here.
//!
//! Each tells what has changed, and every few seconds that it is there; asked, it tells everything. A hint that is lost
//! is made up for by asking.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Presence;
use super::rules::Brief;
use crate::clock::Moment;
use crate::ids::UserId;
use crate::storage::bus::Heard;

const TOPIC: &str = "presence";
/// How often a node says that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// People in one hint.
const PEOPLE_MAX: usize = 2_000;

/// What one node tells the others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// Who is here: all of them, or those for whom it has changed.
    People { whole: bool, people: Vec<(UserId, Brief)> },
    /// Tell me everything.
    Ask,
    /// One blocks the other.
    Parted(UserId, UserId),
    /// Read again whether others may see somebody.
    Reconsider(UserId),
}

impl Presence {
    pub(super) async fn look_again_and_again(&self) {
        let mut ear = self.0.bus.subscribe(TOPIC);
        let mut beat = self.0.clock.every(self.0.config.every);
        let mut said = Moment::default();
        loop {
            tokio::select! {
                heard = ear.next() => self.hear(heard).await,
                () = beat.tick() => {
                    self.look().await;
                    if self.moment().since(said) >= BEAT_EVERY {
                        said = self.moment();
                        self.publish_people(false, Vec::new()).await;
                    }
                }
            }
        }
    }

    async fn hear(&self, heard: Heard) {
        let hint = match heard {
            Heard::Hint(hint) if hint.node == self.0.bus.node() => return,
            Heard::Hint(hint) => hint,
            Heard::Missed => {
                self.0.board.lock().doubt();
                self.publish(&Word::Ask).await;
                return self.publish_whole().await;
            }
        };
        // What another version of Folio says is not understood, and told again in full when it is asked for.
        let Ok(word) = serde_json::from_slice(&hint.payload) else { return };
        match word {
            Word::People { whole, people } => {
                let new = self.0.board.lock().hear(hint.node, whole, people, self.moment());
                if new {
                    self.publish_whole().await;
                }
            }
            Word::Ask => self.publish_whole().await,
            Word::Parted(one, other) => _ = self.0.told.send(super::Told::Parted(one, other)),
            Word::Reconsider(user) => self.0.board.lock().set_visible(user, None),
        }
    }

    async fn publish_whole(&self) {
        let people = self.0.board.lock().whole();
        self.publish_people(true, people).await;
    }

    /// Tells of people, in as many hints as it takes; the first one says whether they are all.
    pub(super) async fn publish_people(&self, whole: bool, mut people: Vec<(UserId, Brief)>) {
        let rest = people.split_off(people.len().min(PEOPLE_MAX));
        self.publish(&Word::People { whole, people }).await;
        for some in rest.chunks(PEOPLE_MAX) {
            self.publish(&Word::People { whole: false, people: some.to_vec() }).await;
        }
    }

    pub(super) async fn publish(&self, word: &Word) {
        let payload = serde_json::to_vec(word).unwrap_or_default();
        if let Err(error) = self.0.bus.publish(TOPIC, payload.into()).await {
            tracing::debug!(event = "presence.hint", %error, "other nodes ask when they are back");
        }
    }
}
