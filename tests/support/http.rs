//! A whole Folio with routes of a test's own, on a free port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use folio::Folio;
use folio::clock::Clock;
use folio::config::{BrokerConfig, BusConfig, CacheConfig, Config, HttpConfig, LogFormat, ObjectsConfig, Secret};
use folio::http::{App, Listeners, Routes};
use folio::storage::db::Engine;
use folio::telemetry::Log;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::engines::Fresh;
use super::stores::bucket;
use super::{server_url, unique};

/// A running Folio with a database of its own. [`Server::end`] stops it and does the last checks.
pub struct Server {
    pub address: SocketAddr,
    pub operation: Option<SocketAddr>,
    pub app: App,
    pub clock: Clock,
    log: Log,
    written: Written,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<bool>,
    /// The database, if no other node is to outlive this one on it.
    fresh: Option<Fresh>,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Server {
    /// Starts with short times and no limits on rates, but for what the test changes.
    pub async fn start(routes: Routes, change: impl FnOnce(&mut HttpConfig)) -> Server {
        Server::start_with(routes, |it| change(&mut it.http)).await
    }

    /// The same, with any setting changed.
    pub async fn start_with(routes: Routes, change: impl FnOnce(&mut Config)) -> Server {
        let engine = if real() { Engine::Postgres } else { Engine::Sqlite };
        Server::start_on(Fresh::new(engine).await, routes, change).await
    }

    /// The same, on this database.
    pub async fn start_on(fresh: Fresh, routes: Routes, change: impl FnOnce(&mut Config)) -> Server {
        let mut config = config(&fresh, real());
        change(&mut config);
        Server::launch(config, routes, Some(fresh)).await
    }

    /// The whole product on a database that the test throws away itself.
    pub async fn on(fresh: &Fresh) -> Server {
        Server::on_with(fresh, |_| ()).await
    }

    /// The same, with any setting changed.
    pub async fn on_with(fresh: &Fresh, change: impl FnOnce(&mut Config)) -> Server {
        let mut config = config(fresh, real());
        change(&mut config);
        Server::launch(config, folio::http::routes(), None).await
    }

    /// A second node on the same backends. End it before the first.
    pub async fn beside(&self, routes: Routes) -> Server {
        self.beside_with(routes, |_| ()).await
    }

    /// The same, with any setting changed.
    pub async fn beside_with(&self, routes: Routes, change: impl FnOnce(&mut Config)) -> Server {
        let mut config = Config::clone(&self.app.config);
        change(&mut config);
        config.data_dir = config.data_dir.join(unique("beside"));
        std::fs::create_dir(&config.data_dir).unwrap();
        Server::launch(config, routes, None).await
    }

    async fn launch(config: Config, routes: Routes, fresh: Option<Fresh>) -> Server {
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = public.local_addr().unwrap();
        let operation = match config.http.ops_listen {
            Some(at) => Some(TcpListener::bind(at).await.unwrap()),
            None => None,
        };
        let (clock, written) = (Clock::manual(), Written::default());
        let log = Log::to(written.clone(), LogFormat::Json, &clock);
        let folio = Box::pin(Folio::start(config, clock.clone(), log.clone(), routes)).await.unwrap();
        let (app, at) = (folio.app.clone(), operation.as_ref().map(|it| it.local_addr().unwrap()));
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = super::spawn(folio.serve(Listeners { public, operation }, async { _ = stopped.await }));
        until("every part was looked at", || app.health.is_ready()).await;
        Server { address, operation: at, app, clock, log, written, stop: Some(stop), serving, fresh }
    }

    /// Tells it to stop, and goes on.
    pub fn begin_to_stop(&mut self) {
        let _ = self.stop.take().expect("stopped once").send(());
    }

    /// Waits until it has stopped; says whether everything that was accepted was done.
    pub async fn stopped(&mut self) -> bool {
        let waiting = tokio::time::timeout(Duration::from_secs(20), &mut self.serving).await;
        waiting.expect("the server never ends").unwrap()
    }

    /// Stops it, and looks at what it leaves: nothing failed, nothing waits to be published.
    pub async fn end(mut self) {
        if self.stop.is_some() {
            self.begin_to_stop();
            assert!(self.stopped().await, "not everything was finished");
        }
        let history = self.app.actors.root.history();
        assert!(history.is_empty(), "something failed: {history:?}");
        let Some(fresh) = self.fresh else { return };
        let db = fresh.open().await;
        let (waiting,): (i64,) = db.sql("SELECT COUNT(*) FROM outbox").one().await.unwrap();
        assert_eq!(waiting, 0, "events that nobody published");
        db.close().await;
        fresh.end().await;
    }

    /// What was logged so far, line by line.
    pub fn logged(&self) -> Vec<serde_json::Value> {
        self.log.flush();
        let text = String::from_utf8(self.written.0.lock().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
    }
}

/// Whether behaviour is told on the real backends.
fn real() -> bool {
    std::env::var("TEST_BACKENDS").is_ok_and(|it| it == "real")
}

/// Waits until something is so, for a bounded time.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    super::eventually(what, async || so()).await;
}

/// Settings of which nothing belongs to another test.
pub fn config(fresh: &Fresh, real: bool) -> Config {
    let mut config = super::settings::config(fresh.folder.path());
    config.database = fresh.config();
    if real {
        let (redis, prefix) = (Secret::new(server_url("TEST_REDIS_URL")), unique("test") + ":");
        config.cache = CacheConfig::Redis { url: redis.clone(), prefix: prefix.clone() };
        config.bus = BusConfig::Redis { url: redis, prefix };
        config.broker = BrokerConfig::RabbitMq {
            url: Secret::new(server_url("TEST_AMQP_URL")),
            exchange: "folio.events".to_owned(),
        };
        config.objects = ObjectsConfig::S3(bucket("folio-behaviour", fresh.folder.path()));
    }
    config
}
