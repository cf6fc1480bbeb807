//! Folio: a realtime home for a community of creators, in one binary.
//!
//! The map: [`http`] and `ws` are how Folio is asked and heard; they route messages into [`actors`], which is what
//! Folio does; [`storage`] is where it is kept. Arrows run that way only, and everybody may use [`config`], [`error`],
//! [`ids`], [`clock`] and [`telemetry`].

pub mod actors;
pub mod clock;
pub mod config;
pub mod error;
pub mod http;
pub mod ids;
pub mod storage;
pub mod telemetry;
pub mod ws;
