//! What the database promises when it is opened.

use std::time::{Duration, Instant};

use folio::config::{DatabaseConfig, Secret};
use folio::error::Error;
use folio::storage::db::{Db, Engine};

use crate::support::PATIENCE;
use crate::support::engines::{Fresh, postgres_url};
use crate::support::proxy::{Mode, Proxy};

crate::on_both_engines! {
    an_open_database_tells_its_version_and_rights
    refusals_are_in_the_words_of_the_product
    many_rows_go_in_by_one_call
}

async fn an_open_database_tells_its_version_and_rights(fresh: &Fresh) {
    let probe = fresh.open().await.probe().await.unwrap();
    assert!(probe.version.starts_with(|it: char| it.is_ascii_digit()), "{probe:?}");
    assert!(probe.rights.iter().all(|it| it.1), "{probe:?}");
}

async fn refusals_are_in_the_words_of_the_product(fresh: &Fresh) {
    let db = fresh.open().await;
    let create = async |id: Option<uuid::Uuid>| -> Result<u64, Error> {
        let stmt = db.write("INSERT INTO streams (id, kind, epoch, head) VALUES ($1, 'test', 1, 0)");
        Ok(stmt.bind(id).execute().await?)
    };
    let id = Some(uuid::Uuid::from_u128(7));
    assert_eq!(create(id).await, Ok(1));
    assert_eq!(create(id).await.unwrap_err().code(), "already_exists");
    assert_eq!(create(None).await.unwrap_err().code(), "invalid");
    let wrong: Result<u64, Error> =
        db.write("INSERT INTO no_such_table VALUES (1)").execute().await.map_err(Error::from);
    assert_eq!(wrong.unwrap_err().code(), "internal");
}

async fn many_rows_go_in_by_one_call(fresh: &Fresh) {
    let db = fresh.open().await;
    let mut tx = db.begin().await.unwrap();
    let rows: Vec<u128> = (0..12_000).collect();
    let head = "INSERT INTO streams (id, kind, epoch, head)";
    let inserted = tx
        .insert_rows(head, "ON CONFLICT DO NOTHING", 4, &rows, |stmt, row| {
            stmt.bind(uuid::Uuid::from_u128(*row)).bind("test").bind(1_i64).bind(0_i64)
        })
        .await;
    assert_eq!(inserted.unwrap(), 12_000);
    tx.commit().await.unwrap();
    let (count,): (i64,) = db.sql("SELECT COUNT(*) FROM streams").one().await.unwrap();
    assert_eq!(count, 12_000);
}

#[tokio::test]
async fn sqlite_is_refused_where_it_would_not_keep_what_it_confirms() {
    let config = DatabaseConfig::Sqlite { path: ":memory:".into(), readers: 1, acquire_within: PATIENCE };
    let refused = Db::open(&config).await.unwrap_err();
    let Error::Internal(why) = refused else { panic!("{refused:?}") };
    assert!(why.to_string().contains("journal_mode is memory"), "{why}");
}

#[tokio::test]
async fn a_reader_of_sqlite_never_waits_for_the_writer() {
    Fresh::run(Engine::Sqlite, async |fresh| {
        let db = fresh.open().await;
        let mut tx = db.begin().await.unwrap();
        tx.sql("INSERT INTO streams (id, kind, epoch, head) VALUES (x'00', 'test', 1, 0)").execute().await.unwrap();
        let (seen,): (i64,) = db.sql("SELECT COUNT(*) FROM streams").one().await.unwrap();
        assert_eq!(seen, 0);
        assert!(db.sql("DELETE FROM streams").execute().await.is_err(), "a reader cannot write");
        tx.commit().await.unwrap();
        let (seen,): (i64,) = db.sql("SELECT COUNT(*) FROM streams").one().await.unwrap();
        assert_eq!(seen, 1);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there_or_hangs_is_an_answer_in_time() {
    let url = Secret::new("postgres://folio@127.0.0.1:1/folio".to_owned());
    let (proxy, hanging) = Proxy::before(&postgres_url()).await;
    proxy.set(Mode::Hang);
    for url in [url, Secret::new(hanging)] {
        let db =
            Db::open(&DatabaseConfig::Postgres { url, connections_max: 3, acquire_within: Duration::from_secs(2) })
                .await
                .unwrap();
        let began = Instant::now();
        assert_eq!(db.probe().await.unwrap_err(), Error::unavailable("database"));
        assert!(db.migrate().await.is_err());
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_session_that_turned_read_only_is_not_used_again() {
    Fresh::run(Engine::Postgres, async |fresh| {
        let db = fresh.open().await;
        let mut conn = db.acquire().await.unwrap();
        conn.sql("SET default_transaction_read_only = on").execute().await.unwrap();
        let failed = conn.sql("CREATE TABLE refused (id BIGINT)").execute().await.map_err(Error::from);
        assert_eq!(failed.unwrap_err(), Error::unavailable("database"));
        drop(conn);
        crate::support::eventually("a session that writes", async || {
            db.write("CREATE TABLE IF NOT EXISTS taken (id BIGINT)").execute().await.is_ok()
        })
        .await;
    })
    .await;
}
