//! What the statements about people take among a million of them: a page of the list, those whose name begins so, and
//! whoever signs in, by name and by address.
//!
//! Each is asked for many places drawn by lot; the 99th percentile counts. SQLite lies in a temporary folder,
//! PostgreSQL where `TEST_POSTGRES_URL` says.

use std::time::{Duration, Instant};

use folio::clock::Clock;
use folio::config::{DatabaseConfig, Secret};
use folio::ids::{UserId, v7};
use folio::storage::accounts;
use folio::storage::db::Db;
use folio::storage::users::list;
use serde_json::json;
use sqlx::types::Json;

const PEOPLE: u64 = 1_000_000;
const BATCH: u64 = 20_000;
const QUESTIONS: u64 = 500;
const PAGE: i64 = 101;

/// The name of somebody: eight hex digits, so that neighbours are strangers.
fn name(number: u64) -> String {
    let mixed = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{:08x}{number:06x}", mixed >> 32)
}

fn email(number: u64) -> String {
    format!("{}@example.org", name(number))
}

async fn settle(db: &Db) {
    let clock = Clock::system();
    db.migrate().await.unwrap();
    for batch in 0..PEOPLE / BATCH {
        let people: Vec<(u64, UserId)> =
            (batch * BATCH..(batch + 1) * BATCH).map(|it| (it, UserId(v7(&clock)))).collect();
        let (now, mut tx) = (clock.now(), db.begin().await.unwrap());
        let head = "INSERT INTO users (id, name, name_folded, email, email_folded, password, role, state, grants,
                                       created_at, updated_at)";
        let users = tx.insert_rows(head, "", 11, &people, |stmt, (number, id)| {
            let stmt = stmt.bind(*id).bind(name(*number)).bind(name(*number)).bind(email(*number)).bind(email(*number));
            // Every third was sent away: a list has to pass them by.
            let state = if number % 3 == 0 { "banned" } else { "active" };
            stmt.bind("$2b$12$of.sixty.letters").bind("user").bind(state).bind(1_i64).bind(now).bind(now)
        });
        users.await.unwrap();
        let head = "INSERT INTO profiles (user_id, version, display_name, headline, bio, location, links, expertise,
                                          contact, updated_at)";
        let none = || Json(json!([]));
        let profiles = tx.insert_rows(head, "", 10, &people, |stmt, (number, id)| {
            let stmt = stmt.bind(*id).bind(1_i64).bind(name(*number)).bind("").bind("").bind("");
            stmt.bind(none()).bind(none()).bind(none()).bind(now)
        });
        profiles.await.unwrap();
        tx.commit().await.unwrap();
    }
    db.write("ANALYZE").execute().await.unwrap();
}

/// The 99th percentile of many questions, in milliseconds.
async fn p99(ask: impl AsyncFn(u64)) -> f64 {
    let mut times = Vec::new();
    for turn in 0..QUESTIONS {
        let began = Instant::now();
        ask(turn.wrapping_mul(0x5851_F42D_4C95_7F2D) % PEOPLE).await;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[times.len() * 99 / 100].max(Duration::ZERO).as_secs_f64() * 1e3
}

async fn measure(engine: &str, db: &Db) {
    let began = Instant::now();
    settle(db).await;
    println!("{engine}: {PEOPLE} people after {:.0} s", began.elapsed().as_secs_f64());
    let page = p99(async |number| {
        let after = Some((name(number), UserId(uuid::Uuid::nil())));
        assert!(!list(db, "", after, PAGE).await.unwrap().is_empty());
    });
    println!("FLOOR people.list_ms_{engine}={:.3}", page.await);
    let prefix = p99(async |number| {
        let prefix = &name(number)[..3];
        let found = list(db, prefix, None, PAGE).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|it| it.username.starts_with(prefix)));
    });
    println!("FLOOR people.prefix_ms_{engine}={:.3}", prefix.await);
    let by_name = p99(async |number| {
        assert!(accounts::find_by_name(db, &name(number)).await.unwrap().is_some());
    });
    println!("FLOOR people.login_name_ms_{engine}={:.3}", by_name.await);
    let by_email = p99(async |number| {
        assert!(accounts::find_by_email(db, &email(number)).await.unwrap().is_some());
    });
    println!("FLOOR people.login_email_ms_{engine}={:.3}", by_email.await);
}

/// Measures and prints.
#[tokio::main(flavor = "current_thread")]
pub async fn run() {
    let folder = tempfile::TempDir::new().unwrap();
    let db = Db::open(&DatabaseConfig::Sqlite {
        path: folder.path().join("folio.db"),
        readers: 2,
        acquire_within: Duration::from_secs(2),
    })
    .await
    .unwrap();
    measure("sqlite", &db).await;
    db.close().await;
    drop(folder);

    let url = std::env::var("TEST_POSTGRES_URL").expect("start the servers: scripts/services up postgres");
    let open = async |url: String| {
        Db::open(&DatabaseConfig::Postgres {
            url: Secret::new(url),
            connections_max: 2,
            acquire_within: Duration::from_secs(2),
        })
        .await
        .unwrap()
    };
    let outside = open(url.clone()).await;
    outside.write("DROP SCHEMA IF EXISTS bench_people CASCADE").execute().await.unwrap();
    outside.write("CREATE SCHEMA bench_people").execute().await.unwrap();
    let db = open(format!("{url}?options[search_path]=bench_people")).await;
    measure("postgres", &db).await;
    db.close().await;
    outside.write("DROP SCHEMA bench_people CASCADE").execute().await.unwrap();
}
