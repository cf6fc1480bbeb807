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

use std::sync::Arc;
use std::time::Duration;

use self::actors::Actors;
use self::actors::kernel::Root;
use self::clock::Clock;
use self::config::Config;
use self::http::{App, Handles, Listeners, ProfileViews, Routes, Shell};
use self::storage::Storage;
use self::storage::db::MigrateError;
use self::storage::health::Health;
use self::storage::streams::StreamStore;
use self::telemetry::Log;
use self::ws::Sockets;
use self::ws::house::Live;
use self::ws::topics::History;

/// How long each part of the tree may take to finish what it has accepted.
const PART_STOPS_WITHIN: Duration = Duration::from_secs(5);

/// A Folio that has started: storage is open, the tree stands, and the shell waits for its first connection.
pub struct Folio {
    /// What handlers work with.
    pub app: App,
    /// What every request passes.
    pub shell: Arc<Shell>,
}

impl Folio {
    /// Starts everything but the listening, in the order in which one part needs the other.
    pub async fn start(config: Config, clock: Clock, log: Log, routes: Routes) -> Result<Folio, MigrateError> {
        let health = Arc::new(Health::new(&clock));
        let storage = Storage::open(&config, &clock, &health).await?;
        let root = Root::start(clock.clone()).await?;
        let streams = StreamStore { db: storage.db.clone() };
        let history = History::Store(streams.clone());
        let sockets = Sockets::start(&root, &clock, config.sockets.clone(), history);
        let audience = Arc::new(sockets.topics.clone());
        let actors = Actors::start(root, &storage, &config, &clock, &health, audience).await?;
        let live = Live::start(&sockets, &actors, streams, config.writer.commit_within);
        let (config, profile_views) = (Arc::new(config), ProfileViews::default());
        let handles = Handles { clock, config, health, actors, sockets, live, storage, profile_views };
        let app = App::new(handles);
        let shell = Arc::new(Shell::new(app.clone(), routes, log));
        Ok(Folio { app, shell })
    }

    /// Answers until `stop` is done, lets what is under way finish, then stops the tree.
    /// Returns whether everything that was accepted was done in time.
    pub async fn serve(self, listeners: Listeners, stop: impl Future<Output = ()> + Send + 'static) -> bool {
        let Folio { app, shell } = self;
        app.health.started();
        // In a task: whoever starts a runtime is not one of its workers, and would be slow to accept.
        let accepting = app.actors.root.task("accept", http::serve(listeners, shell, stop));
        let accepted = accepting.await.is_ok();
        let drained = app.actors.stop(PART_STOPS_WITHIN).await;
        app.storage.db.close().await;
        accepted && drained
    }
}
