//! What Folio does: one folder a capability, on the kernel of actors.
//!
//! ```text
//! root
//!  +- heartbeat   asks clients whether they are there
//!  +- relay       committed events, on their way to the broker
//!  +- writer      group commit of the hot writes
//!  +- passwords   threads that hash
//!  +- profiles    hears which profiles changed elsewhere, and who is cut off
//!  +- presence    tells who is here
//!  +- users       one actor per person who changes something
//!  +- voices      tells other nodes what was committed, and hears it from them
//!  +- conversations one actor per conversation that somebody uses
//!  +- keys        follows what becomes of keys of services
//!  +- mail        hands letters to their server
//!  +- health      looks at every backend
//!  +- sweeps      removes what broken uploads left
//!  +- passwords   threads that hash
//!  +- revocations hears who was cut off on other nodes
//!  +- people      removes what has ended, and those who left
//!  +- followers   tells sessions of those whom they follow
//!  +- cuts        closes the live connections of whoever is cut off
//!  +- accept      takes connections in, and hands each to a task
//!  +- connections one task each
//! ```
//! Parts start in this order and stop in the other.

pub mod account;
pub mod auth;
pub mod conversations;
pub mod kernel;
pub mod mail;
pub mod moderation;
pub mod presence;
pub mod profiles;
pub mod users;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::Notify;

use self::account::{Account, Ways};
use self::auth::{ApiKeys, Auth, Caller, KEY_PREFIX};
use self::conversations::Conversations;
use self::kernel::Root;
use self::kernel::outbox::{Relay, RelayStats};
use self::kernel::streams::Audience;
use self::kernel::writer::Writer;
use self::mail::Mail;
use self::moderation::Moderation;
use self::presence::Presence;
use self::profiles::Profiles;
use self::users::Users;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Result;
use crate::storage::Storage;
use crate::storage::health::Health;
use crate::telemetry::Exposition;

/// The tree, and the way into each of its parts.
#[derive(Clone)]
pub struct Actors {
    /// The top of the tree.
    pub root: Root,
    /// Whoever listens: told of what is committed.
    pub audience: Arc<dyn Audience>,
    /// Where hot writes are handed over.
    pub writer: Writer,
    /// What people say about themselves.
    pub profiles: Profiles,
    /// Who is here.
    pub presence: Presence,
    /// What people change of theirs.
    pub users: Users,
    /// Where people talk.
    pub conversations: Conversations,
    /// Keys of services.
    pub keys: ApiKeys,
    /// Where letters go.
    pub mail: Mail,
    /// What those do who keep the peace.
    pub moderation: Moderation,
    /// How people come in.
    pub auth: Auth,
    /// What they have of their account as a whole.
    pub account: Account,
    relay: Arc<RelayStats>,
}

impl Actors {
    /// Tells whose token this is. Keys of services never stand for people.
    pub fn identify(&self, token: &[u8], clock: &Clock) -> Result<Caller> {
        if token.starts_with(KEY_PREFIX) { self.keys.identify(token, clock.now()) } else { self.auth.identify(token) }
    }

    /// Starts the capabilities on a tree. What they commit they tell to the audience.
    pub async fn start(
        root: Root,
        storage: &Storage,
        config: &Config,
        clock: &Clock,
        health: &Arc<Health>,
        audience: Arc<dyn Audience>,
    ) -> Result<Actors> {
        let committed = Arc::new(Notify::new());
        // The relay stops after the writer: it has the last word.
        let relay = Relay::new(storage.db.clone(), storage.broker.clone(), storage.bus.clone(), committed.clone());
        let stats = relay.stats();
        relay.start(&root);
        let writer = Writer::start(&root, &storage.db, &config.writer, committed.clone());
        let mail = Mail::start(&root, &storage.db, &config.mail, clock, health)?;
        let auth = Auth::start(&root, storage, config, clock, &mail, committed.clone()).await?;
        let profiles = Profiles::start(&root, storage, &config.people, clock, &auth);
        let presence = Presence::start(&root, storage, &config.presence, clock);
        let users =
            Users::start(&root, &storage.db, &profiles, &presence, &config.people, clock, committed.clone()).await?;
        let told = (audience.clone(), committed.clone());
        let conversations = Conversations::start(&root, storage, &writer, config.chat, clock, told).await?;
        let (watched, health, beat) = (storage.clone(), health.clone(), clock.clone());
        root.keep("health", move |_| {
            let (watched, health, clock) = (watched.clone(), health.clone(), beat.clone());
            // Boxed: it holds a question to every backend at once.
            async move { Box::pin(watched.watch(&health, &clock)).await }
        });
        let keys = ApiKeys::start(&root, storage, config.auth.api_keys_max, clock).await?;
        let ways =
            Ways { auth: auth.clone(), profiles: profiles.clone(), conversations: conversations.clone(), committed };
        let account = Account::start(&root, storage, config, clock, ways);
        let moderation = Moderation::new(&storage.db, &auth, clock, config.auth.access_lives);
        let relay = stats;
        Ok(Actors {
            root,
            audience,
            writer,
            profiles,
            presence,
            users,
            conversations,
            mail,
            keys,
            moderation,
            auth,
            account,
            relay,
        })
    }

    /// Stops the tree: what was accepted is done, for at most so long a part. Returns whether everything was.
    pub async fn stop(&self, within: Duration) -> bool {
        self.root.stop(within).await
    }

    /// Writes how the tree, the writer and the outbox are, each as a whole.
    pub fn collect(&self, out: &mut Exposition) {
        self.root.collect(out);
        self.mail.collect(out);
        self.auth.collect(out);
        self.presence.collect(out);
        let mut one = |name: &str, kind: &str, help: &str, value: u64| out.single(name, kind, help, value);
        let (writer, relay) = (self.writer.stats(), &self.relay);
        one("folio_writer_waiting", "gauge", "Hot writes that wait for a commit.", self.writer.waiting() as u64);
        one("folio_writer_batches_total", "counter", "Transactions of the writer.", writer.batches.load(Relaxed));
        one("folio_writer_written_total", "counter", "Hot writes that are stored.", writer.written.load(Relaxed));
        one(
            "folio_writer_refused_total",
            "counter",
            "Hot writes refused by a full queue.",
            writer.refused.load(Relaxed),
        );
        one("folio_writer_failed_total", "counter", "Hot writes that failed.", writer.failed.load(Relaxed));
        one("folio_outbox_published_total", "counter", "Events that were confirmed.", relay.published.load(Relaxed));
        one("folio_outbox_parked_total", "counter", "Events that were refused for good.", relay.parked.load(Relaxed));
    }
}
