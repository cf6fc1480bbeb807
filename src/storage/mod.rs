//! Where everything is kept: the database and the ports beside it.

pub mod account_list;
pub mod accounts;
pub mod api_keys;
pub mod audit;
pub mod blocks;
pub mod broker;
pub mod bus;
pub mod cache;
pub mod conversations;
pub mod db;
pub mod exports;
pub mod health;
pub mod import;
pub mod last_seen;
pub mod leaving;
pub mod mails;
pub mod names;
pub mod objects;
pub mod outbox;
pub mod preferences;
pub mod profiles;
mod redis;
pub mod revocations;
pub mod second_factors;
pub mod sessions;
pub mod signing_keys;
pub mod streams;
pub mod sweeps;
pub mod tickets;
pub mod trouble;
pub mod users;
pub mod writes;

use std::time::Duration;

use tokio::time::{Instant, timeout};

use self::broker::Broker;
use self::bus::Bus;
use self::cache::Cache;
use self::db::{Db, MigrateError};
use self::health::Health;
use self::objects::Objects;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};

/// How often a part is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the objects are: this look writes.
const OBJECTS_EVERY: Duration = Duration::from_secs(5);
/// How long one look may take.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// What a backend says when it is asked how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its name, as `postgresql` or `files`.
    pub backend: &'static str,
    /// Its version, in its own words; nothing where only a greeting tells it.
    pub version: String,
    /// What Folio needs to be allowed there, and whether it is.
    pub rights: Vec<(&'static str, bool)>,
}

impl Probe {
    /// What daily work needs and is not allowed. Only migrations create tables.
    pub fn missing(&self) -> Option<&'static str> {
        self.rights.iter().find(|(right, held)| !held && *right != "create tables").map(|(right, _)| *right)
    }
}

/// What a backend says that lies in this very process.
fn in_process() -> Probe {
    Probe { backend: "embedded", version: env!("CARGO_PKG_VERSION").to_owned(), rights: Vec::new() }
}

/// Everything that is kept, as the settings name it. Cloning it gives the same.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The only truth.
    pub db: Db,
    /// What can be read again, nearer.
    pub cache: Cache,
    /// Hints from node to node.
    pub bus: Bus,
    /// Events and jobs.
    pub broker: Broker,
    /// Files of people.
    pub objects: Objects,
}

impl Storage {
    /// Opens what the settings name and brings the database to the form of this version. Only the database has to be
    /// there: every other part is reached on first use.
    pub async fn open(config: &Config, clock: &Clock, health: &Health) -> Result<Storage, MigrateError> {
        let db = Db::open(&config.database).await?;
        let migrated = db.migrate().await?;
        if migrated.from != migrated.to {
            tracing::info!(event = "database.migrated", schema = migrated.to, "the database has a new form");
        }
        look(health, "database", db.probe()).await;
        Ok(Storage {
            cache: Cache::open(&config.cache, clock)?,
            bus: Bus::open(&config.bus, clock)?,
            broker: Broker::open(&config.broker, &db, clock)?,
            objects: Objects::open(&config.objects, &config.secret, clock)?,
            db,
        })
    }

    /// Looks at every part now and then, for ever, and reports what it finds; and listens to the other nodes.
    pub async fn watch(&self, health: &Health, clock: &Clock) {
        let reads = async {
            loop {
                tokio::join!(
                    look(health, "database", self.db.probe()),
                    look(health, "cache", self.cache.probe()),
                    look(health, "bus", self.bus.probe()),
                    look(health, "broker", self.broker.probe()),
                );
                clock.sleep(LOOK_EVERY).await;
            }
        };
        let writes = async {
            loop {
                look(health, "objects", self.objects.probe()).await;
                clock.sleep(OBJECTS_EVERY).await;
            }
        };
        tokio::join!(reads, writes, self.bus.listen());
    }
}

async fn look(health: &Health, part: &'static str, probe: impl Future<Output = Result<Probe>>) {
    let began = Instant::now();
    let probe = timeout(PROBE_WITHIN, probe).await.unwrap_or(Err(Error::unavailable(part)));
    health.report(part, part == "database", &probe, began.elapsed());
}
