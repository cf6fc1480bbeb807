//! How Folio is asked: every route on one screen.

mod account;
mod admin;
mod audit;
mod auth;
mod cookies;
mod credentials;
pub mod error;
pub mod extract;
mod health;
pub mod idempotency;
mod keys;
mod me;
mod metrics;
mod openapi;
pub mod page;
mod profile_views;
mod profiles;
mod second_factor;
pub mod seed_paths;
mod sessions;
pub mod shell;
mod users;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use utoipa_axum::routes;

pub use profile_views::ProfileViews;
pub use shell::{Listeners, Policy, Routes, Shell, serve};

use self::shell::Encoded;
use crate::actors::Actors;
use crate::actors::auth::{Caller, KEY_PREFIX, Right};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Result;
use crate::storage::Storage;
use crate::storage::health::Health;
use crate::ws::Sockets;

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
    /// Those who listen.
    pub sockets: Arc<Sockets>,
    /// Where it is kept, for reads that need no memory.
    pub storage: Storage,
    /// Profiles as they go out.
    pub profile_views: ProfileViews,
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
        .add(Policy::READ.of(Right::SeePeople), routes!(users::list))
        .add(Policy::READ.of(Right::SeePeople), routes!(users::show))
        .add(Policy::WRITE.of(Right::Own), routes!(profiles::show_own, profiles::replace_own, profiles::change_own))
        .ready(profiles::own_ready)
        .add(Policy::READ, routes!(profiles::show_public))
        .ready(profiles::named_ready)
        .add(Policy::READ.of(Right::Own), routes!(profiles::show_by_id))
        .ready(profiles::ready)
        .add(Policy::READ.of(Right::LookUpProfiles), routes!(profiles::show_external))
        .ready(profiles::ready)
        .add(Policy::WRITE.of(Right::Own), routes!(me::rename))
        .add(Policy::READ.of(Right::Own), routes!(me::blocks))
        .add(Policy::READ.of(Right::Own), routes!(me::block, me::unblock))
        .add(Policy::WRITE.of(Right::Own), routes!(me::preferences, me::prefer))
        .add(Policy::WRITE, routes!(auth::register))
        .add(Policy::WRITE, routes!(auth::login))
        .add(Policy::WRITE, routes!(auth::refresh))
        .add(Policy::WRITE, routes!(auth::verify, auth::verify_sent))
        .add(Policy::WRITE.of(Right::Own), routes!(second_factor::show, second_factor::begin, second_factor::remove))
        .add(Policy::WRITE.of(Right::Own), routes!(second_factor::confirm))
        .add(Policy::READ.of(Right::Own), routes!(cookies::show))
        .add(Policy::READ.of(Right::Own), routes!(account::export))
        .add(Policy::WRITE.of(Right::Own), routes!(account::leave))
        .add(Policy::WRITE.of(Right::Own), routes!(sessions::sign_out))
        .add(Policy::WRITE.of(Right::Own), routes!(sessions::sign_out_everywhere))
        .add(Policy::READ.of(Right::Own), routes!(sessions::list))
        .add(Policy::WRITE.of(Right::Own), routes!(sessions::end))
        .add(Policy::WRITE.of(Right::Own), routes!(credentials::change_password))
        .add(Policy::WRITE, routes!(credentials::remind))
        .add(Policy::WRITE, routes!(credentials::reset))
        .add(Policy::WRITE.of(Right::Own), routes!(credentials::change_email))
        .add(Policy::WRITE.of(Right::Own), routes!(credentials::ask_again_to_confirm))
        .add(Policy::WRITE, routes!(credentials::confirm_email))
        .add(Policy::WRITE.of(Right::Own), routes!(credentials::deactivate))
        .add(Policy::WRITE.of(Right::ManageKeys), routes!(keys::make, keys::list))
        .add(Policy::WRITE.of(Right::ManageKeys), routes!(keys::revoke))
        .add(Policy::READ.of(Right::Own), routes!(audit::own))
        .add(Policy::READ.of(Right::Audit), routes!(audit::all))
        .add(Policy::READ.of(Right::SeeAccounts), routes!(admin::list))
        .add(Policy::WRITE.of(Right::Grant), routes!(admin::grant))
        .add(Policy::WRITE.of(Right::Moderate), routes!(admin::ban, admin::unban))
        .add(Policy::WRITE.of(Right::Moderate), routes!(admin::end_sessions))
        .identify(identify)
        .rewrite(seed_paths::rewrite)
}

/// Tells whose token this is. Keys of services never stand for people.
fn identify(app: &App, token: &[u8], now: DateTime<Utc>) -> Result<Caller> {
    if token.starts_with(KEY_PREFIX) {
        return app.actors.keys.identify(token, now);
    }
    app.actors.auth.identify(token, now)
}
