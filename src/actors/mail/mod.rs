//! Mail: letters that are committed, on their way to their server.
//!
//! Owns: one conversation with the server at a time.  Writes: what became of each letter.
//! Publishes: nothing.  Queue: none, it reads `mails`; one node at a time has a letter.
//! On restart: what was claimed is tried again when the claim has ended. A letter may go twice, under one name, when
//! the process dies between the server's answer and our note of it; it is never lost.

mod rules;
pub mod smtp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::rules::{Fate, fate};
use self::smtp::{Conversation, Refusal, Server};
use super::kernel::{Root, Stop};
use crate::clock::{Clock, Moment};
use crate::config::MailConfig;
use crate::error::{Error, Result};
use crate::storage::Probe;
use crate::storage::db::Db;
use crate::storage::health::Health;
use crate::storage::mails::{self, Claimed};
use crate::telemetry::Exposition;

/// A safety net, and when letters that were put off are found.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the server is looked at when there is nothing to send.
const PROBE_EVERY: Duration = Duration::from_secs(60);
/// How long a claim lasts beyond the longest a letter can take.
const CLAIM_SPARE: Duration = Duration::from_secs(60);

/// The way in: whoever has committed a letter rings.
#[derive(Clone, Debug)]
pub struct Mail {
    written: Arc<Notify>,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct Stats {
    sent: AtomicU64,
    put_off: AtomicU64,
    refused: AtomicU64,
}

impl Mail {
    /// Starts sending, where there is a server. Without one letters stay to be read on this machine.
    pub fn start(root: &Root, db: &Db, config: &MailConfig, clock: &Clock, health: &Arc<Health>) -> Result<Mail> {
        let mail = Mail { written: Arc::default(), stats: Arc::default() };
        let Some(server) = Server::named(config)? else { return Ok(mail) };
        let post = Post {
            server,
            db: db.clone(),
            clock: clock.clone(),
            health: health.clone(),
            tried_for: config.tried_for,
            claim_lasts: config.answer_within * 10 + CLAIM_SPARE,
            mail: mail.clone(),
        };
        root.keep("mail", move |stop| {
            let post = post.clone();
            async move { post.run(&stop).await }
        });
        Ok(mail)
    }

    /// Says that a letter was committed.
    pub fn written(&self) {
        self.written.notify_one();
    }

    /// Writes what became of letters.
    pub fn collect(&self, out: &mut Exposition) {
        let mut one = |name, help, value: &AtomicU64| out.single(name, "counter", help, value.load(Relaxed));
        one("folio_mail_sent_total", "Letters that the mail server took.", &self.stats.sent);
        one("folio_mail_put_off_total", "Attempts after which a letter waits.", &self.stats.put_off);
        one("folio_mail_refused_total", "Letters that were given up.", &self.stats.refused);
    }
}

#[derive(Clone)]
struct Post {
    server: Server,
    db: Db,
    clock: Clock,
    health: Arc<Health>,
    tried_for: Duration,
    claim_lasts: Duration,
    mail: Mail,
}

impl Post {
    async fn run(&self, stop: &Stop) {
        let (mut beat, mut looked) = (self.clock.every(LOOK_EVERY), None);
        loop {
            if let Err(error) = self.drain(stop, &mut looked).await {
                tracing::warn!(event = "mail.interrupted", %error, "letters wait for the database");
            }
            if looked.is_none_or(|at| self.clock.moment().since(at) >= PROBE_EVERY) {
                let began = Instant::now();
                self.report(&mut looked, &self.server.probe().await, began);
            }
            tokio::select! {
                () = stop.requested() => return,
                () = self.mail.written.notified() => {}
                () = beat.tick() => {}
            }
        }
    }

    /// Sends what is due, one after the other, and ends early where the server is gone.
    async fn drain(&self, stop: &Stop, looked: &mut Option<Moment>) -> Result<()> {
        let mut conversation = None;
        while stop.requested().now_or_never().is_none() {
            let now = self.clock.now();
            let Some(claimed) = mails::claim(&self.db, now, now + self.claim_lasts).await? else { break };
            let refusal = self.send(&mut conversation, &claimed, looked).await.err();
            let gone = matches!(refusal, Some(Refusal::Server(_)));
            self.note(&claimed, refusal).await?;
            if gone {
                break;
            }
        }
        if let Some(conversation) = conversation.take() {
            Conversation::close(conversation).await;
        }
        Ok(())
    }

    async fn send(
        &self,
        conversation: &mut Option<Conversation>,
        claimed: &Claimed,
        looked: &mut Option<Moment>,
    ) -> Result<(), Refusal> {
        let mut open = match conversation.take() {
            Some(open) => open,
            None => {
                let began = Instant::now();
                let opened = self.server.open().await;
                let seen =
                    opened.as_ref().map(Conversation::probe).map_err(|it| Error::internal(it.reason().to_owned()));
                self.report(looked, &seen, began);
                opened?
            }
        };
        open.send(&claimed.letter).await?;
        *conversation = Some(open);
        Ok(())
    }

    /// Notes what became of a letter.
    async fn note(&self, claimed: &Claimed, refusal: Option<Refusal>) -> Result<()> {
        let (now, id) = (self.clock.now(), claimed.letter.id);
        let Some(refusal) = refusal else {
            self.mail.stats.sent.fetch_add(1, Relaxed);
            return mails::sent(&self.db, id, now).await;
        };
        let error = refusal.reason();
        let fate = match refusal {
            Refusal::Never(_) => Fate::GivenUp,
            _ => fate(claimed.letter.created_at, now, claimed.attempts, self.tried_for),
        };
        match fate {
            Fate::Again(then) => {
                self.mail.stats.put_off.fetch_add(1, Relaxed);
                tracing::info!(event = "mail.put_off", %id, attempts = claimed.attempts, error, "a letter waits");
                mails::put_off(&self.db, claimed, then, error).await
            }
            Fate::GivenUp => {
                self.mail.stats.refused.fetch_add(1, Relaxed);
                tracing::warn!(event = "mail.refused", %id, error, "a letter is given up: folio mail shows it");
                mails::refused(&self.db, claimed, now, error).await
            }
        }
    }

    fn report(&self, looked: &mut Option<Moment>, seen: &Result<Probe>, began: Instant) {
        *looked = Some(self.clock.moment());
        self.health.report("mail", false, seen, began.elapsed());
    }
}
