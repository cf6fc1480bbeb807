//! What happens to sessions by the passing of time: one look at everybody with each beat, no timer per socket.
//!
//! Traffic only stores the time in its session; the next look reads it. Times are milliseconds since the process began.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Sockets;
use super::frames::{Chunk, Protocol};
use super::session::Session;
use super::wire::Close;
use crate::clock::{Clock, Moment};

const CLOSE_WITHIN_MS: u64 = 5_000;
/// How long before its end a client hears that its token runs out.
const WARN_BEFORE_MS: u64 = 60_000;
/// Over what time clients are asked to come back after a stop.
const COME_BACK_OVER_MS: usize = 10_000;

pub(super) fn millis(clock: &Clock) -> u64 {
    clock.moment().since(Moment::default()).as_millis() as u64
}

impl Sockets {
    /// When the last beat was.
    pub(super) fn now_ms(&self) -> u64 {
        self.beaten_ms.load(Relaxed)
    }

    /// How often everybody is looked at: fine enough for what the settings ask.
    fn beat(&self) -> Duration {
        let least = self.config.ping_every.min(self.config.pong_within);
        (least / 20).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }

    /// Looks at everybody with each beat.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut beat = self.clock.every(self.beat());
        loop {
            beat.tick().await;
            self.beaten_ms.store(millis(&self.clock), Relaxed);
            self.roll.all().iter().for_each(Session::look);
        }
    }

    /// Says goodbye to everybody, and lets nobody in any more: the server stops. Each is asked to come back at another
    /// moment, so that they do not come all at once.
    pub(crate) fn send_away(&self) {
        self.stopping.store(true, Relaxed);
        let all = self.roll.all();
        for (at, session) in all.iter().enumerate() {
            let after_ms = at * COME_BACK_OVER_MS / all.len();
            session.send(&Chunk::told(session.protocol, "reconnect", &format!(r#"{{"after_ms":{after_ms}}}"#)));
            session.close(&Close::new(Close::RESTART, "restart"));
        }
    }
}

impl Session {
    /// Agrees on how often the client is asked: as it wishes, between a fifth of the setting and the setting.
    pub(super) fn agree(&self, wish_ms: u64) -> u64 {
        let every_ms = self.sockets.config.ping_every.as_millis() as u64;
        let agreed = wish_ms.clamp(every_ms / 5, every_ms);
        self.ping_every_ms.store(agreed, Relaxed);
        agreed
    }

    /// Does what the time has come for.
    fn look(self: &Arc<Self>) {
        let now = self.sockets.now_ms();
        let (heard, pinged) = (self.heard.load(Relaxed), self.pinged.load(Relaxed));
        if !self.outbox(|outbox| outbox.is_open()) {
            if now.saturating_sub(heard) >= CLOSE_WITHIN_MS {
                self.cut();
            }
            return;
        }
        let left = self.until.load(Relaxed).saturating_sub(now);
        if left == 0 {
            return self.close(&Close::new(Close::UNAUTHENTICATED, "signed_out"));
        }
        if left <= WARN_BEFORE_MS && self.who().is_some() && !self.warned.swap(true, Relaxed) {
            self.send(&Chunk::told(self.protocol, "auth_expiring", &format!(r#"{{"in_ms":{left}}}"#)));
        }
        // A beat early is better than one late.
        let asked = now.saturating_sub(pinged) + self.sockets.beat().as_millis() as u64;
        if pinged > heard && self.protocol != Protocol::Sse {
            if asked > self.sockets.config.pong_within.as_millis() as u64 {
                self.cut();
            }
        } else if asked > self.ping_every_ms.load(Relaxed) {
            // Later than anything heard so far, though the clock may read the same.
            self.heard.fetch_min(now.saturating_sub(1), Relaxed);
            self.pinged.store(now, Relaxed);
            self.send(&Chunk::ping(self.protocol));
        }
    }
}
