//! The one test binary: what Folio promises, told from outside.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod actors;
mod cli;
mod faults;
mod http;
mod storage;
mod support;
mod tidy;
mod ws;
