//! Presence: who is here, how, and with what; on every node.
//!
//! Owns: what is connected here, and what the other nodes say of theirs.  Writes: `last_seen`.  Publishes: steps to
//! those who listen, hints to the other nodes.  Queue: none; what happens only marks somebody.
//! One task looks some times a second at who is marked, and tells what is different from what it told before. So what is
//! told is at most one look and one calm old, and whoever flaps is heard of once. It is kept nowhere: a node that starts
//! asks the others, and a node that is silent has nobody.

mod board;
mod nodes;
pub mod rules;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::timeout;

use self::board::Board;
use self::rules::{Brief, DeviceKind, Seen, Status, Step};
use super::kernel::Root;
use crate::clock::{Clock, Moment};
use crate::config::PresenceConfig;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::storage::bus::Bus;
use crate::storage::db::Db;
use crate::storage::{Storage, blocks, last_seen, preferences};
use crate::telemetry::Exposition;

/// People of whom one question may be.
pub const ASKED_MAX: usize = 100;
/// News that a listener may be behind before it looks for itself.
const LISTENER_BEHIND_MAX: usize = 256;
/// People whose settings are read at a time.
const READ_AT_ONCE: usize = 1_000;
/// How long the database may take before the next look tries again.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// The way in. Cloning it gives the same.
#[derive(Clone)]
pub struct Presence(Arc<Inner>);

struct Inner {
    board: Mutex<Board>,
    told: broadcast::Sender<Told>,
    db: Db,
    bus: Bus,
    clock: Clock,
    config: PresenceConfig,
}

/// What listeners hear.
#[derive(Clone, Debug)]
pub enum Told {
    /// What is different since the last look.
    Steps(Arc<[(Step, Seen)]>),
    /// One of two people does not want to see the other any more.
    Parted(UserId, UserId),
}

/// What somebody sees of others.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Each, in the order in which they were asked for.
    pub seen: Vec<Seen>,
    /// Those who are not to be seen by whoever asks, whatever they do.
    pub hidden: Vec<UserId>,
}

impl Presence {
    /// Starts with nobody.
    pub fn start(root: &Root, storage: &Storage, config: &PresenceConfig, clock: &Clock) -> Presence {
        let presence = Presence(Arc::new(Inner {
            board: Mutex::default(),
            told: broadcast::Sender::new(LISTENER_BEHIND_MAX),
            db: storage.db.clone(),
            bus: storage.bus.clone(),
            clock: clock.clone(),
            config: config.clone(),
        }));
        let looking = presence.clone();
        root.keep("presence", move |_| {
            let presence = looking.clone();
            async move { presence.look_again_and_again().await }
        });
        presence
    }

    /// Takes a device of somebody in, and gives the number that it leaves by.
    pub fn arrive(&self, user: UserId, kind: DeviceKind) -> u64 {
        self.0.board.lock().arrive(user, kind)
    }

    /// Lets a device go: at once if it said goodbye, else a while after it was heard last. A tunnel is no leave.
    pub fn leave(&self, user: UserId, device: u64, silent_for: Option<Duration>) {
        let wait = silent_for.map_or(Duration::ZERO, |it| self.0.config.grace.saturating_sub(it));
        self.0.board.lock().leave(user, device, self.0.clock.moment().after(wait));
    }

    /// Notes whether somebody is away from a device.
    pub fn set_away(&self, user: UserId, device: u64, away: bool) {
        self.0.board.lock().set(user, device, if away { Status::Away } else { Status::Online });
    }

    /// People whom one session may follow.
    pub fn followed_max(&self) -> usize {
        self.0.config.followed_max
    }

    /// Hears what is told from now on. Whoever falls behind looks with [`Presence::refresh`].
    pub fn listen(&self) -> broadcast::Receiver<Told> {
        self.0.told.subscribe()
    }

    /// Looks at people as one of them may see the others.
    ///
    /// # Errors
    /// When there are too many, or the database cannot be read.
    pub async fn see(&self, viewer: UserId, users: &[UserId]) -> Result<Sight> {
        if users.len() > ASKED_MAX {
            return Err(Error::invalid("users", format!("at most {ASKED_MAX} people at a time")));
        }
        let hidden = blocks::among(&self.0.db, viewer, users).await?;
        let last = last_seen::list(&self.0.db, users).await?;
        let seen = |user: &UserId| {
            let at = last.iter().find(|it| it.0 == *user && !hidden.contains(user)).map(|it| it.1);
            Seen::new(*user, &Brief::default(), at)
        };
        let mut sight = Sight { seen: users.iter().map(seen).collect(), hidden };
        self.refresh(&mut sight);
        Ok(sight)
    }

    /// Looks again, without a wait.
    pub fn refresh(&self, sight: &mut Sight) {
        let board = self.0.board.lock();
        let Sight { seen, hidden } = sight;
        for one in seen.iter_mut().filter(|it| !hidden.contains(&it.user_id)) {
            let nobody = Brief::default();
            *one = Seen::new(one.user_id, board.told(one.user_id).unwrap_or(&nobody), one.last_seen);
        }
    }

    /// Hears that one of two people blocks the other: neither sees the other any more.
    pub async fn part(&self, one: UserId, other: UserId) {
        let _ = self.0.told.send(Told::Parted(one, other));
        self.publish(&nodes::Word::Parted(one, other)).await;
    }

    /// Hears that somebody has changed whether others may see them.
    pub async fn reconsider(&self, user: UserId) {
        self.0.board.lock().set_visible(user, None);
        self.publish(&nodes::Word::Reconsider(user)).await;
    }

    /// Writes how many are here.
    pub fn collect(&self, out: &mut Exposition) {
        let present = self.0.board.lock().count() as u64;
        out.single("folio_people_present", "gauge", "People who are here, on any node.", present);
    }

    /// One look: reads what has to be known, then tells what is different.
    async fn look(&self) {
        self.read_visibility().await;
        let (now, at) = (self.0.clock.moment(), self.0.clock.now());
        let PresenceConfig { calm, node_lost_after, .. } = self.0.config;
        let mut news = self.0.board.lock().settle(now, calm, node_lost_after);
        // In one order on every node: no two of them wait for each other's rows.
        news.seen.sort_unstable();
        if !news.seen.is_empty() {
            let put = timeout(READ_WITHIN, last_seen::put(&self.0.db, &news.seen, at)).await;
            if let Err(error) = put.unwrap_or(Err(Error::Deadline)) {
                tracing::debug!(event = "presence.seen", %error, "when they were seen is not known");
            }
        }
        if !news.steps.is_empty() {
            // Nobody may be listening.
            let _ = self.0.told.send(Told::Steps(news.steps.into_iter().map(|it| told(it, at)).collect()));
        }
        if !news.sent.is_empty() {
            self.publish_people(false, news.sent).await;
        }
    }

    /// Reads of those who have come whether others may see them. What cannot be read is read with the next look.
    async fn read_visibility(&self) {
        let unread = self.0.board.lock().unread();
        for some in unread.chunks(READ_AT_ONCE) {
            let read = timeout(READ_WITHIN, preferences::invisible(&self.0.db, some)).await;
            match read.unwrap_or(Err(Error::Deadline)) {
                Ok(invisible) => {
                    let mut board = self.0.board.lock();
                    some.iter().for_each(|it| board.set_visible(*it, Some(!invisible.contains(it))));
                }
                Err(error) => {
                    tracing::debug!(event = "presence.read", %error, "who may be seen is not known");
                    return;
                }
            }
        }
    }

    fn moment(&self) -> Moment {
        self.0.clock.moment()
    }
}

fn told((user, step, brief, since): (UserId, Step, Brief, Duration), at: DateTime<Utc>) -> (Step, Seen) {
    (step, Seen::new(user, &brief, Some(at - since)))
}
