//! How Folio is asked: every route on one screen.

mod account;
mod admin;
mod audit;
mod auth;
pub(crate) mod chat;
mod chat_people;
pub(crate) mod chat_views;
mod cookies;
mod credentials;
pub mod error;
pub mod extract;
mod health;
mod keys;
mod me;
pub(crate) mod messages;
mod openapi;
pub mod page;
mod presence;
mod profile_views;
mod profiles;
mod realtime;
mod second_factor;
pub mod seed_paths;
mod sessions;
pub mod shell;
mod users;

use std::sync::Arc;

pub use profile_views::ProfileViews;
pub use shell::{Listeners, Policy, Routes, Shell, serve};

use crate::actors::Actors;
use crate::actors::auth::Right;
use crate::clock::Clock;
use crate::config::Config;
use crate::routes;
use crate::storage::Storage;
use crate::storage::health::Health;
use crate::ws::Sockets;
use crate::ws::house::Live;

/// What handlers work with. Cloning it gives the same.
pub type App = Arc<Handles>;

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
    /// What they are served by.
    pub live: Live,
    /// Where it is kept, for reads that need no memory.
    pub storage: Storage,
    /// Profiles as they go out.
    pub profile_views: ProfileViews,
}

/// Every route on one screen.
pub fn routes() -> Routes {
    live(talks(Routes::default()))
        .add(Policy::PROBE, routes!(health::show))
        .add(Policy::PROBE, routes!(health::live))
        .add(Policy::PROBE, routes!(health::ready))
        .add(Policy::OPERATION, routes!(health::metrics))
        .add(Policy::READ, routes!(openapi::show))
        .add(Policy::READ, routes!(openapi::page))
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
}

/// Those of conversations.
fn talks(routes: Routes) -> Routes {
    routes
        .add(Policy::WRITE.of(Right::Own), routes!(chat::list, chat::begin))
        .add(Policy::WRITE.of(Right::Own), routes!(chat::show, chat::rename))
        .add(Policy::WRITE.of(Right::Own), routes!(chat::members, chat::add))
        .add(Policy::WRITE.of(Right::Own), routes!(chat::appoint, chat::remove))
        .add(Policy::WRITE.of(Right::Own), routes!(chat::receipt))
        .add(Policy::READ.of(Right::Own), routes!(chat::typing))
        .add(Policy::WRITE.of(Right::Own), routes!(chat::set))
        .add(Policy::WRITE.of(Right::Own), routes!(messages::keep_draft))
        .add(Policy::WRITE.of(Right::Own), routes!(messages::list, messages::say))
        .add(Policy::WRITE.of(Right::Own), routes!(messages::show, messages::edit, messages::delete))
        .add(Policy::READ.of(Right::Own), routes!(messages::react, messages::unreact))
        .add(Policy::READ.of(Right::Own), routes!(messages::pins))
        .add(Policy::READ.of(Right::Own), routes!(messages::pin, messages::unpin))
        .add(Policy::READ.of(Right::SeePeople), routes!(chat_people::search))
        .add(Policy::WRITE.of(Right::TellOfPeople), routes!(chat_people::register))
}

/// Those of live connections, and of who is here.
fn live(routes: Routes) -> Routes {
    routes
        .add(Policy::READ.of(Right::Own), routes!(presence::list))
        .add(Policy::READ.of(Right::Own), routes!(presence::show))
        .add(Policy::WRITE.of(Right::Own), routes!(realtime::ticket))
        .add(Policy::READ, routes!(realtime::native))
        .add(Policy::POLLING, routes!(realtime::stock))
        .add(Policy::READ.of(Right::Own), routes!(realtime::events))
        .add(Policy::READ, routes!(realtime::description))
}
