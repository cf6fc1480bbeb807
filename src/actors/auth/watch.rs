//! Keeps a node's memory of keys and closed doors true, whatever other nodes and the command line do.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::timeout;

use super::doors::{Cut, ends};
use super::{Auth, Inner};
use crate::actors::kernel::Root;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::storage::bus::Heard;
use crate::storage::{revocations, signing_keys};

const TOPIC: &str = "auth.cuts";
/// How often the tables are read.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long one look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long the tables may be out of reach before nobody is let in.
const BLIND_AFTER: Duration = Duration::from_secs(5);
/// How far each look reaches back behind the last one: the longest commit, and the difference of two clocks.
const OVERLAP: TimeDelta = TimeDelta::seconds(30);
/// How often what has ended is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// What the looks so far have come to.
struct Looks {
    read_until: DateTime<Utc>,
    failing_since: Option<Moment>,
    forgot_at: Moment,
}

impl Auth {
    /// Reads every key and closed door once, then looks again and again.
    pub(super) async fn watch(&self, root: &Root) -> Result<()> {
        self.0.look(DateTime::UNIX_EPOCH).await?;
        let auth = self.clone();
        root.keep("revocations", move |_| {
            let auth = auth.clone();
            async move { auth.0.look_again_and_again().await }
        });
        Ok(())
    }

    /// Closes doors here after the commit that says so, and tells the other nodes. A hint that is lost is made up for by
    /// their next look.
    pub async fn close(&self, cuts: &[Cut]) {
        if cuts.is_empty() {
            return;
        }
        self.0.close(cuts.iter().copied());
        let payload = serde_json::to_vec(cuts).unwrap_or_default();
        if let Err(error) = self.0.storage.bus.publish(TOPIC, payload.into()).await {
            tracing::debug!(event = "auth.hint", %error, "other nodes find out by themselves");
        }
    }
}

impl Inner {
    fn close(&self, cuts: impl Iterator<Item = Cut>) {
        let ends = ends(self.clock.now(), self.config.access_lives);
        self.doors.close(cuts.map(|cut| (cut, ends)));
    }

    async fn look_again_and_again(&self) {
        let mut ear = self.storage.bus.subscribe(TOPIC);
        let mut beat = self.clock.every(LOOK_EVERY);
        let moment = self.clock.moment();
        let mut looks = Looks { read_until: self.clock.now(), failing_since: None, forgot_at: moment };
        loop {
            let heard = tokio::select! {
                heard = ear.next() => heard,
                () = beat.tick() => Heard::Missed,
            };
            match heard {
                // What cannot be read is in the table as well.
                Heard::Hint(hint) => {
                    self.close(serde_json::from_slice::<Vec<Cut>>(&hint.payload).into_iter().flatten());
                }
                Heard::Missed => self.look_once(&mut looks).await,
            }
        }
    }

    async fn look_once(&self, looks: &mut Looks) {
        let (began, moment) = (self.clock.now(), self.clock.moment());
        let seen = timeout(LOOK_WITHIN, self.look(looks.read_until - OVERLAP)).await.unwrap_or(Err(Error::Deadline));
        match seen {
            Ok(()) => (looks.read_until, looks.failing_since) = (began, None),
            Err(error) => {
                tracing::debug!(event = "auth.look", %error, "revocations cannot be read");
                looks.failing_since.get_or_insert(moment);
            }
        }
        let now = self.clock.moment();
        self.doors.set_blind(looks.failing_since.is_some_and(|since| now.since(since) > BLIND_AFTER));
        if now.since(looks.forgot_at) >= FORGET_EVERY {
            self.doors.forget(self.clock.now());
            looks.forgot_at = now;
        }
    }

    async fn look(&self, made_after: DateTime<Utc>) -> Result<()> {
        let (db, now) = (&self.storage.db, self.clock.now());
        self.tokens.set_keys(signing_keys::list(db, now).await?);
        let read = revocations::list(db, made_after, now).await?;
        self.doors.close(read.iter().filter_map(|it| Some((it.cut()?, it.ends_at))));
        Ok(())
    }
}
