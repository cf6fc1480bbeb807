//! What a writer does when things go wrong.

use std::time::{Duration, Instant};

use folio::config::{DatabaseConfig, WriterConfig};
use folio::error::Error;
use folio::storage::db::{Db, Engine, Tx};

use crate::support::engines::{Fresh, postgres_url};
use crate::support::eventually;
use crate::support::proxy::{Mode, Proxy};
use crate::support::streams::{Node, assert_dense, done, happens, patient, says, stream, user};

crate::on_both_engines! {
    a_bad_row_fails_alone
    a_full_lane_refuses_and_who_gave_up_is_not_written
    what_waits_is_bounded_in_bytes
    the_writer_recovers_when_the_database_comes_back
    a_full_queue_behind_a_dead_database_hears_so_within_two_commits
}

const BRIEF: Duration = Duration::from_millis(300);

fn impatient() -> WriterConfig {
    WriterConfig { commit_within: BRIEF, ..WriterConfig::default() }
}

async fn a_bad_row_fails_alone(fresh: &Fresh) {
    let db = fresh.open().await;
    let (node, stream, ada) = (Node::start(&db).await, stream(&db).await, user());
    let long = "x".repeat(20_000);
    let sent: Vec<_> = (0..300)
        .map(|turn| {
            node.hand(match turn {
                100 => says(stream, ada, "bad", ""),
                200 => happens(folio::ids::StreamId(ada.0), "lost"),
                220 if fresh.engine == Engine::Postgres => {
                    says(stream, ada, random(&long), "a key too long for its index")
                }
                250 => says(stream, ada, "nul", if fresh.engine == Engine::Postgres { "a\0b" } else { "" }),
                _ => says(stream, ada, format!("c-{turn}"), "hi"),
            })
        })
        .collect();
    let mut last = 0;
    for (turn, it) in sent.into_iter().enumerate() {
        let outcome = done(it.unwrap()).await;
        match (turn, outcome) {
            (100 | 250, outcome) => assert_eq!(outcome.unwrap_err().code(), "invalid"),
            (200, outcome) => assert_eq!(outcome, Err(Error::NotFound("stream"))),
            (220, Err(refused)) => assert_eq!(refused.code(), "invalid"),
            (_, outcome) => {
                last += 1;
                assert_eq!(outcome.unwrap().seq, last);
            }
        }
    }
    assert!(last >= 296);
    assert_eq!(assert_dense(&db).await, last);
}

/// A text that no engine can make smaller.
fn random(like: &str) -> String {
    let mut state = 7_u64;
    let mut next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + (state >> 40) as u8 % 90)
    };
    like.chars().map(&mut next).collect()
}

/// Holds the stream's row, or the whole file, so that no commit gets through.
async fn block(db: &Db, stream: folio::ids::StreamId) -> Tx<'static> {
    let mut tx = db.begin().await.unwrap();
    tx.sql("UPDATE streams SET head = head WHERE id = $1").bind(stream).execute().await.unwrap();
    tx
}

async fn a_full_lane_refuses_and_who_gave_up_is_not_written(fresh: &Fresh) {
    let db = fresh.open().await;
    let (stream, ada) = (stream(&db).await, user());
    let node = Node::with(&db, &WriterConfig { waiting_max: 10, ..patient() }).await;
    node.append(says(stream, ada, "warm", "hi")).await.unwrap();

    let blocker = block(&db, stream).await;
    let started = node.hand(says(stream, ada, "started", "hi")).unwrap();
    eventually("a batch that has begun", async || node.writer.waiting() == 0).await;
    let mut waiting: Vec<_> =
        (0..10).map(|it| node.hand(says(stream, ada, format!("c-{it}"), "hi")).unwrap()).collect();
    let over = node.hand(says(stream, ada, "over", "hi"));
    assert_eq!(over.unwrap_err(), Error::unavailable("writer"));
    waiting.truncate(4);
    blocker.commit().await.unwrap();

    assert_eq!(done(started).await.unwrap().seq, 2);
    for (turn, it) in waiting.into_iter().enumerate() {
        assert_eq!(done(it).await.unwrap().seq, turn as i64 + 3);
    }
    assert_eq!(assert_dense(&db).await, 6);
}

async fn what_waits_is_bounded_in_bytes(fresh: &Fresh) {
    let db = fresh.open().await;
    let (stream, ada) = (stream(&db).await, user());
    let node = Node::with(&db, &WriterConfig { waiting_bytes_max: 100_000, ..patient() }).await;
    let blocker = block(&db, stream).await;
    let large = "x".repeat(30_000);
    let taken: Vec<_> = (0..3).map(|it| node.hand(says(stream, ada, format!("c-{it}"), &large)).unwrap()).collect();
    let over = node.hand(says(stream, ada, "over", &large));
    assert_eq!(over.unwrap_err(), Error::unavailable("writer"));
    let small = node.hand(says(stream, ada, "small", "hi")).unwrap();
    blocker.commit().await.unwrap();
    for it in taken {
        done(it).await.unwrap();
    }
    done(small).await.unwrap();
    assert_eq!(node.writer.stats().bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
    node.append(says(stream, ada, "over", &large)).await.unwrap();
}

async fn the_writer_recovers_when_the_database_comes_back(fresh: &Fresh) {
    let (proxy, db) = behind_proxy(fresh).await;
    let (stream, ada) = (stream(&fresh.open().await).await, user());
    let node = Node::with(&db, &impatient()).await;
    let ask = async |client_id: &str| node.append(says(stream, ada, client_id, "hi")).await;
    // A machine that is busy may take longer than the writer waits.
    eventually("the writer writes", async || ask("before").await.is_ok()).await;

    for mode in [Mode::Cut, Mode::Hang, Mode::Delay(BRIEF * 2)] {
        // Whoever holds the file's lock does to SQLite what a lost network does to a server.
        let blocker = if let Some(proxy) = &proxy {
            proxy.set(mode.clone());
            None
        } else {
            Some(fresh.open().await.begin().await.unwrap())
        };
        for turn in 0..3 {
            let began = Instant::now();
            assert_eq!(ask(&format!("{mode:?}-{turn}")).await, Err(Error::unavailable("database")));
            assert!(began.elapsed() < Duration::from_secs(30));
        }
        proxy.iter().for_each(|it| it.set(Mode::Pass));
        drop(blocker);
        eventually("the writer recovers", async || ask("after").await.is_ok()).await;
        eventually("and knows it", async || ask("after").await.is_ok_and(|it| it.repeated)).await;
    }
    assert!(assert_dense(&db).await >= 2);
}

async fn a_full_queue_behind_a_dead_database_hears_so_within_two_commits(fresh: &Fresh) {
    let (proxy, db) = behind_proxy(fresh).await;
    let (stream, ada) = (stream(&fresh.open().await).await, user());
    let node = Node::with(&db, &WriterConfig { batch_max: 16, ..impatient() }).await;
    eventually("the writer writes", async || node.append(says(stream, ada, "warm", "hi")).await.is_ok()).await;
    let blocker = if let Some(proxy) = &proxy {
        proxy.set(Mode::Hang);
        None
    } else {
        Some(fresh.open().await.begin().await.unwrap())
    };
    let began = Instant::now();
    let sent: Vec<_> = (0..1_000).map(|it| node.hand(says(stream, ada, format!("c-{it}"), "hi")).unwrap()).collect();
    for it in sent {
        assert_eq!(done(it).await, Err(Error::unavailable("database")));
    }
    assert!(began.elapsed() < BRIEF * 31, "63 batches, each with its own limit: {began:?}");
    drop((blocker, proxy));
}

/// The database by way of a proxy, where there is a network.
async fn behind_proxy(fresh: &Fresh) -> (Option<Proxy>, Db) {
    fresh.open().await.close().await;
    if fresh.engine == Engine::Sqlite {
        return (None, Db::open(&fresh.config_at("")).await.unwrap());
    }
    let (proxy, url) = Proxy::before(&postgres_url()).await;
    let config: DatabaseConfig = fresh.config_at(&url);
    (Some(proxy), Db::open(&config).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_answer_to_a_commit_is_lost_asking_again_tells() {
    Fresh::run(Engine::Postgres, async |fresh| {
        let (proxy, db) = behind_proxy(fresh).await;
        let (proxy, plain) = (proxy.unwrap(), fresh.open().await);
        let (stream, ada) = (stream(&plain).await, user());
        let node = Node::with(&db, &patient()).await;
        let words = b"cut me" as &[u8];
        // How many are asked at once, where the connection is cut, and what is known of them then: appends are done when
        // their words arrived, those of a batch with a repeat in it when they arrived for the second time.
        let cuts = [
            (1, Mode::CutAfter(words), Some(true)),
            (1, Mode::CutBefore(words), Some(false)),
            (20, Mode::CutAfter(words), None),
            (20, Mode::CutBefore(words), Some(false)),
            (20, Mode::CutAfter(words), None),
            (20, Mode::CutBefore(words), Some(false)),
        ];
        for (round, (size, mode, stored)) in cuts.into_iter().enumerate() {
            eventually("a connection", async || node.append(says(stream, ada, format!("{round}"), "hi")).await.is_ok())
                .await;
            let ids: Vec<String> = (0..size).map(|it| format!("c-{round}-{it}")).collect();
            proxy.set(mode.clone());
            let hand = |id: &String| {
                let repeat = (round >= 4).then(|| node.hand(says(stream, ada, "0", "hi")).unwrap());
                (node.hand(says(stream, ada, id.clone(), "cut me")).unwrap(), repeat)
            };
            let (first, _repeats): (Vec<_>, Vec<_>) = ids.iter().map(hand).unzip();
            let first = futures_util::future::join_all(first.into_iter().map(done)).await;
            proxy.set(Mode::Pass);
            assert!(first.contains(&Err(Error::unavailable("database"))), "nothing was cut by {mode:?}");
            for (id, first) in ids.iter().zip(first) {
                let again = node.append(says(stream, ada, id.clone(), "cut me")).await.unwrap();
                let third = node.append(says(stream, ada, id.clone(), "cut me")).await.unwrap();
                assert!(third.repeated && third.id == again.id, "{mode:?}");
                assert!(first.is_err() || again.repeated, "acknowledged and lost: {mode:?}");
                assert!(stored.is_none_or(|it| it == again.repeated), "{mode:?}");
            }
        }
        assert_eq!(assert_dense(&plain).await, 6 + 2 + 4 * 20);
    })
    .await;
}

#[tokio::test]
async fn a_writer_that_stops_writes_what_waits_and_takes_no_more() {
    Fresh::run(Engine::Sqlite, async |fresh| {
        let db = fresh.open().await;
        let (stream, ada) = (stream(&db).await, user());
        let node = Node::with(&db, &WriterConfig { batch_max: 3, ..patient() }).await;
        node.append(says(stream, ada, "first", "hi")).await.unwrap();
        let waiting: Vec<_> =
            (0..10).map(|it| node.hand(says(stream, ada, format!("c-{it}"), "hi")).unwrap()).collect();
        node.stop().await;
        for (turn, it) in waiting.into_iter().enumerate() {
            assert_eq!(done(it).await.unwrap().seq, turn as i64 + 2);
        }
        assert_eq!(node.append(says(stream, ada, "late", "hi")).await, Err(Error::unavailable("writer")));
    })
    .await;
}

#[tokio::test]
async fn storing_looks_up_what_may_be_a_repeat_and_not_all_that_was_ever_said() {
    Fresh::run(Engine::Postgres, async |fresh| {
        let db = fresh.open().await;
        let (node, stream, ada) = (Node::start(&db).await, stream(&db).await, user());
        let history = "INSERT INTO entries (stream_id, seq, id, kind, sender_id, client_id, body, created_at)
                       SELECT $1, 1000000 + it, gen_random_uuid(), 'message', $2, 'old-' || it, '{}', now()
                         FROM generate_series(1, 30000) AS it";
        db.write(history).bind(stream).bind(ada).execute().await.unwrap();
        for repeated in [false, true] {
            let hand = |turn: i32| node.hand(says(stream, ada, format!("new-{turn}"), "hi")).unwrap();
            for it in (0..64).map(hand).collect::<Vec<_>>() {
                assert_eq!(done(it).await.unwrap().repeated, repeated);
            }
        }
        // A session counts what it read at its end.
        node.stop().await;
        let read = async || -> (i64, i64) {
            let text = "SELECT CAST(SUM(idx_scan) AS BIGINT), CAST(SUM(idx_tup_read) AS BIGINT)
                          FROM pg_stat_user_indexes WHERE schemaname = current_schema() AND relname = 'entries'";
            fresh.open().await.sql(text).one().await.unwrap()
        };
        eventually("each was looked up twice", async || read().await.0 >= 128).await;
        let whole = "SELECT seq_tup_read FROM pg_stat_user_tables
                      WHERE schemaname = current_schema() AND relname = 'entries'";
        let (whole,): (i64,) = fresh.open().await.sql(whole).one().await.unwrap();
        assert!(read().await.1 + whole < 30_000, "all of it was read");
    })
    .await;
}
