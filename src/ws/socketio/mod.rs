//! Socket.IO 5 on Engine.IO 4, over a WebSocket or long polling, with the upgrade from one to the other.
//!
//! `polling.rs` answers the requests, `engine.rs` is a session as Engine.IO sees it, `payload.rs` and `packet.rs` are the
//! two codecs, `peer.rs` knows namespaces and acknowledgements, `lobby.rs` is what Folio offers behind them.

pub mod engine;
mod lobby;
pub mod packet;
mod payload;
pub mod peer;
mod polling;

pub(super) use engine::unguessable;
pub use engine::{Engine, Engines};
pub use lobby::Lobby;
pub use peer::{Args, Client, Event, Namespaces, Peer, Welcome};
