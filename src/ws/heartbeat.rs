//! Notices clients that fell silent: one wheel for all sessions, no timer per socket.
//!
//! A session lies in the slot of the tick in which it has to be looked at again. Traffic only stores the time in the
//! session; the wheel reads it when it comes by.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::frames::{Chunk, Protocol};
use super::session::Session;
use super::wire::Close;
use crate::clock::{Clock, Moment};
use crate::config::SocketsConfig;
use parking_lot::Mutex;

const SLOTS: usize = 64;
const CLOSE_WITHIN_MS: u32 = 5_000;
/// How long before its end a client hears that its token runs out.
const WARN_BEFORE_MS: u32 = 60_000;
/// Over what time clients are asked to come back after a stop.
const COME_BACK_OVER_MS: u32 = 10_000;

/// Everything that happens to sessions by the passing of time. Times are milliseconds since the start; they wrap.
pub struct Heartbeat {
    slots: Mutex<[Vec<Weak<Session>>; SLOTS]>,
    since: Moment,
    now: AtomicU32,
    tick_ms: u32,
    ping_every_ms: u32,
    pong_within_ms: u32,
    stopping: AtomicBool,
}

impl Heartbeat {
    /// A wheel whose ticks are fine enough for what the settings ask.
    pub fn new(config: &SocketsConfig, clock: &Clock) -> Heartbeat {
        let (every, within) = (config.ping_every.as_millis() as u32, config.pong_within.as_millis() as u32);
        Heartbeat {
            slots: Mutex::new([const { Vec::new() }; SLOTS]),
            since: clock.moment(),
            now: AtomicU32::new(0),
            tick_ms: (every.min(within) / 20).clamp(5, 1_000),
            ping_every_ms: every,
            pong_within_ms: within,
            stopping: AtomicBool::new(false),
        }
    }

    /// How often the wheel has to be turned.
    pub fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms.into())
    }

    /// The time of the last turn.
    pub fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// Whether everybody was sent away, and nobody new is let in.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Watches a new session.
    pub(super) fn welcome(&self, session: &Arc<Session>) {
        session.heard.store(self.now(), Relaxed);
        session.pinged.store(self.now(), Relaxed);
        session.ping_every_ms.store(self.ping_every_ms, Relaxed);
        self.look_in(session, self.ping_every_ms);
    }

    /// Gives a session that closes its last seconds.
    pub(super) fn bid_farewell(&self, session: &Arc<Session>) {
        session.heard.store(self.now(), Relaxed);
        self.look_in(session, CLOSE_WITHIN_MS);
    }

    /// Agrees on how often a client is asked: as it wishes, between a fifth of the setting and the setting.
    pub(super) fn agree(&self, session: &Arc<Session>, wish_ms: u32) -> u32 {
        let agreed = wish_ms.clamp(self.ping_every_ms / 5, self.ping_every_ms);
        session.ping_every_ms.store(agreed, Relaxed);
        self.look_in(session, agreed);
        agreed
    }

    /// Looks at a session again after a while.
    pub(super) fn look_in(&self, session: &Arc<Session>, wait_ms: u32) {
        let ticks = (wait_ms / self.tick_ms).clamp(1, SLOTS as u32 - 1);
        let slot = (self.now() / self.tick_ms + ticks) as usize % SLOTS;
        self.slots.lock()[slot].push(Arc::downgrade(session));
    }

    /// Looks at every session whose time has come since the last turn.
    pub fn turn(&self, clock: &Clock) {
        let now = clock.moment().since(self.since).as_millis() as u32;
        let (from, to) = (self.now.swap(now, Relaxed) / self.tick_ms, now / self.tick_ms);
        for tick in (from + 1..=to).rev().take(SLOTS) {
            let due = std::mem::take(&mut self.slots.lock()[tick as usize % SLOTS]);
            for session in due.iter().filter_map(Weak::upgrade) {
                if let Some(wait_ms) = self.look(&session, now) {
                    self.look_in(&session, wait_ms);
                }
            }
        }
    }

    /// Says goodbye to everybody. Each is asked to come back at another moment, so that they do not come all at once.
    pub fn send_away(&self) {
        self.stopping.store(true, Relaxed);
        let all: Vec<_> = self.slots.lock().iter().flatten().filter_map(Weak::upgrade).collect();
        for (at, session) in all.iter().enumerate() {
            // The golden ratio spreads any number of them evenly.
            let spread = (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let after_ms = (spread * u64::from(COME_BACK_OVER_MS)) >> 32;
            session.send(&Chunk::told(session.protocol, "reconnect", &format!(r#"{{"after_ms":{after_ms}}}"#)));
            session.close(&Close::new(Close::RESTART, "restart"));
        }
    }

    /// Decides about one session; returns when to look again.
    fn look(&self, session: &Arc<Session>, now: u32) -> Option<u32> {
        let since = |then: &AtomicU32| now.wrapping_sub(then.load(Relaxed));
        let closes_in = CLOSE_WITHIN_MS.saturating_sub(since(&session.heard));
        match session.outbox(|outbox| (outbox.is_open(), outbox.was_cut())) {
            (true, _) => {}
            (_, false) if closes_in > 0 => return Some(closes_in),
            _ => {
                session.cut();
                return None;
            }
        }
        let mut next = u32::MAX;
        let until = session.until.load(Relaxed);
        if until != 0 {
            let left = until.wrapping_sub(now);
            if left as i32 <= 0 {
                session.close(&Close::new(Close::UNAUTHENTICATED, "signed_out"));
                return None;
            }
            next = if left > WARN_BEFORE_MS { left - WARN_BEFORE_MS } else { left };
            if left <= WARN_BEFORE_MS && session.who().is_some() && !session.warned.swap(true, Relaxed) {
                let object = format!(r#"{{"in_ms":{left}}}"#);
                session.send(&Chunk::told(session.protocol, "auth_expiring", &object));
            }
        }
        self.look_for_life(session, now).map(|wait| wait.min(next))
    }

    /// Asks a client whether it is there, or gives it up. A tick early is better than one late.
    fn look_for_life(&self, session: &Arc<Session>, now: u32) -> Option<u32> {
        let (pinged, every) = (session.pinged.load(Relaxed), session.ping_every_ms.load(Relaxed));
        let asked = now.wrapping_sub(pinged);
        let silent = (pinged.wrapping_sub(session.heard.load(Relaxed)) as i32) > 0;
        if silent && session.protocol != Protocol::Sse {
            if asked + self.tick_ms > self.pong_within_ms {
                session.cut();
                return None;
            }
            return Some(self.pong_within_ms - asked);
        }
        if asked + self.tick_ms > every {
            // Later than anything heard so far, though the clock may read the same.
            session.heard.fetch_min(now.wrapping_sub(1), Relaxed);
            session.pinged.store(now, Relaxed);
            session.send(&Chunk::ping(session.protocol));
            return Some(self.pong_within_ms.min(every));
        }
        Some(every - asked)
    }
}
