//! How Folio is asked: every route on one screen.

pub mod error;
pub mod extract;
mod health;
pub mod idempotency;
mod metrics;
mod openapi;
pub mod page;
pub mod seed_paths;
pub mod shell;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use utoipa_axum::routes;

pub use shell::{Listeners, Policy, Routes, Shell, serve};

use self::shell::Encoded;
use crate::actors::Actors;
use crate::clock::Clock;
use crate::config::Config;
use crate::storage::Storage;
use crate::storage::health::Health;

/// What handlers work with. Cloning it gives the same.
#[derive(Clone)]
pub struct App(Arc<Handles>);

/// The ways in to everything that handlers may ask.
pub struct Handles {
    /// Tells the time.
    pub clock: Clock,
    /// What Folio was told from outside.
    pub config: Arc<Config>,
    /// How the parts are that Folio depends on.
    pub health: Arc<Health>,
    /// What Folio does.
    pub actors: Actors,
    /// Where it is kept, for reads that need no memory.
    pub storage: Storage,
    /// The description of every route; filled by the shell.
    pub description: OnceLock<Arc<Encoded>>,
}

impl App {
    /// Puts the handles together.
    pub fn new(handles: Handles) -> App {
        App(Arc::new(handles))
    }
}

impl Deref for App {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0
    }
}

/// Every route on one screen.
pub fn routes() -> Routes {
    Routes::default()
        .add(Policy::PROBE, routes!(health::show))
        .add(Policy::PROBE, routes!(health::live))
        .add(Policy::PROBE, routes!(health::ready))
        .add(Policy::OPERATION, routes!(metrics::show))
        .add(Policy::READ, routes!(openapi::show))
        .ready(openapi::ready)
        .add(Policy::READ, routes!(openapi::page))
        .add(Policy::READ, routes!(openapi::asset))
        .rewrite(seed_paths::rewrite)
}
