//! Both database engines, empty, one of its own for each test.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::time::Duration;

use folio::clock::Clock;
use folio::config::{DatabaseConfig, Secret};
use folio::ids;
use folio::storage::db::{Db, Engine};
use futures_util::FutureExt;
use tempfile::TempDir;

use super::PATIENCE;

/// An empty database: a file in a folder of its own, or a schema of its own.
#[derive(Debug)]
pub struct Fresh {
    /// Which engine.
    pub engine: Engine,
    /// The folder; on PostgreSQL it is empty.
    pub folder: TempDir,
    schema: String,
}

impl Fresh {
    /// Makes one.
    pub async fn new(engine: Engine) -> Fresh {
        let schema = format!("folio_test_{}", ids::v7(&Clock::system()).simple());
        if engine == Engine::Postgres {
            admin(format!("CREATE SCHEMA {schema}")).await;
        }
        Fresh { engine, folder: TempDir::new().unwrap(), schema }
    }

    /// The settings that lead to it. A test of something else waits for a busy machine.
    pub fn config(&self) -> DatabaseConfig {
        self.config_within(PATIENCE, &postgres_url())
    }

    /// The same for a test of what happens when the database is away; PostgreSQL by another address, such as a proxy's.
    pub fn config_at(&self, url: &str) -> DatabaseConfig {
        self.config_within(Duration::from_secs(2), url)
    }

    fn config_within(&self, acquire_within: Duration, url: &str) -> DatabaseConfig {
        if self.engine == Engine::Sqlite {
            return DatabaseConfig::Sqlite { path: self.file(), readers: 4, acquire_within };
        }
        let between = if url.contains('?') { '&' } else { '?' };
        let url = Secret::new(format!("{url}{between}options[search_path]={}", self.schema));
        DatabaseConfig::Postgres { url, connections_max: 10, acquire_within }
    }

    /// The file of SQLite.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("folio.db")
    }

    /// Opens it as another node would, with its tables.
    pub async fn open(&self) -> Db {
        let db = Db::open(&self.config()).await.unwrap();
        db.migrate().await.unwrap();
        db
    }

    /// Throws it away.
    pub async fn end(self) {
        if self.engine == Engine::Postgres {
            admin(format!("DROP SCHEMA {} CASCADE", self.schema)).await;
        }
    }

    /// Runs a test on a fresh database, and throws that away whatever comes of it.
    pub async fn run(engine: Engine, test: impl AsyncFnOnce(&Fresh)) {
        let fresh = Fresh::new(engine).await;
        let outcome = AssertUnwindSafe(test(&fresh)).catch_unwind().await;
        fresh.end().await;
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
    }
}

/// The address of the PostgreSQL that tests use.
pub fn postgres_url() -> String {
    std::env::var("TEST_POSTGRES_URL").expect("start the servers: scripts/services up, and run through scripts/test")
}

async fn admin(text: String) {
    let url = Secret::new(postgres_url());
    let db = Db::open(&DatabaseConfig::Postgres { url, connections_max: 2, acquire_within: PATIENCE }).await.unwrap();
    // What a test left running holds its tables only for as long as its statements last.
    db.write(sqlx::AssertSqlSafe(text)).execute().await.unwrap();
    db.close().await;
}

/// Writes each test once and runs it on both engines.
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::support::engines::Fresh::run(folio::storage::db::Engine::Sqlite, super::$name).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::support::engines::Fresh::run(folio::storage::db::Engine::Postgres, super::$name).await;
            })*
        }
    };
}
