//! The settings of live connections.

use std::time::Duration;

/// Live connections: what each may hold, say and cost.
#[derive(Clone, Debug)]
pub struct SocketsConfig {
    /// Size of a message that a client sends.
    pub message_bytes_max: usize,
    /// What may wait for a client that does not read.
    pub outbox_bytes_max: usize,
    /// Frames that may wait for a client that does not read.
    pub outbox_frames_max: usize,
    /// How often a client is asked whether it is there.
    pub ping_every: Duration,
    /// How long it may take to answer that.
    pub pong_within: Duration,
    /// How long a client may take to sign in.
    pub connect_within: Duration,
    /// How often a client may send; `None` while limits on rates are lifted.
    pub messages: Option<MessageRate>,
    /// Requests of one client under way.
    pub requests_waiting_max: usize,
    /// Streams that one session follows.
    pub topics_max: usize,
    /// Sessions of one user.
    pub sessions_per_user_max: usize,
    /// Sessions from one address.
    pub sessions_per_address_max: usize,
    /// How old the last event may be that a stock client or an event source comes back with.
    pub recovers_within: Duration,
    /// Entries that one resume brings; whoever missed more loads afresh.
    pub replay_entries_max: i64,
}

/// How often a client may send.
#[derive(Clone, Copy, Debug)]
pub struct MessageRate {
    /// In the long run.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// Who is here.
#[derive(Clone, Debug)]
pub struct PresenceConfig {
    /// How often what has changed is told.
    pub every: Duration,
    /// How long somebody is still here whose connection broke.
    pub grace: Duration,
    /// How long nobody is told of twice.
    pub calm: Duration,
    /// After what silence nobody is on another node any more.
    pub node_lost_after: Duration,
    /// People that one session follows.
    pub followed_max: usize,
}
