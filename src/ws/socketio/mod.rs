//! Socket.IO 5 on Engine.IO 4, over a WebSocket or long polling, with the upgrade from one to the other.
//!
//! `engine.rs` is a session as Engine.IO sees it and the requests that carry it, `packet.rs` the codec of Socket.IO,
//! `peer.rs` knows namespaces and acknowledgements, `lobby.rs` is what Folio offers behind them.

pub mod engine;
mod lobby;
pub mod packet;
pub mod peer;

pub use engine::{Engine, Engines};
pub use lobby::Lobby;
pub use packet::Args;
pub use peer::{Namespaces, Peer, Welcome};
