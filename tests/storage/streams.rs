//! Order, repeats, replay.

use std::time::Duration;

use folio::clock::Clock;
use folio::error::Error;
use folio::ids::StreamId;
use folio::storage::streams::StreamStore;
use folio::storage::writes::{self, Write};
use tokio::time::timeout;

use crate::support::engines::Fresh;
use crate::support::spawn;
use crate::support::streams::{Node, assert_dense, done, happens, says, stream, user};

crate::on_both_engines! {
    seq_is_dense_with_64_writers_on_two_nodes
    seq_is_dense_with_64_writers_on_one_stream
    repeats_make_one_row
    an_append_that_nobody_waits_for_is_done_whole_or_not_at_all
    a_repeat_at_the_end_of_a_large_batch_leaves_nothing_half_done
    a_page_is_what_lies_between_two_places
    another_epoch_goes_on_where_the_one_before_ended
    the_time_of_commits_never_goes_back_though_the_clock_does
    a_node_that_missed_something_sees_a_gap_and_reads_it
}

async fn seq_is_dense_with_64_writers_on_two_nodes(fresh: &Fresh) {
    writers_on(fresh, 5).await;
}

async fn seq_is_dense_with_64_writers_on_one_stream(fresh: &Fresh) {
    writers_on(fresh, 1).await;
}

async fn writers_on(fresh: &Fresh, count: usize) {
    let db = fresh.open().await;
    let nodes = [Node::start(&db).await, Node::start(&fresh.open().await).await];
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(stream(&db).await);
    }
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let (node, streams, sender) = (nodes[task % 2].clone(), streams.clone(), user());
            spawn(async move {
                for turn in 0..40 {
                    let stream = streams[(task + turn) % streams.len()];
                    let first = node.hand(says(stream, sender, format!("c-{turn}"), "hi")).unwrap();
                    let second = node.hand(happens(stream, "reaction.added")).unwrap();
                    let (first, second) = (done(first).await.unwrap(), done(second).await.unwrap());
                    assert!(first.seq < second.seq, "answers follow arrival");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(assert_dense(&db).await, 64 * 40 * 2);
}

async fn repeats_make_one_row(fresh: &Fresh) {
    let db = fresh.open().await;
    let nodes = [Node::start(&db).await, Node::start(&fresh.open().await).await];
    let (stream, ada) = (stream(&db).await, user());
    for turn in 0..30 {
        let sent: Vec<_> =
            (0..8).map(|it| nodes[it % 2].hand(says(stream, ada, format!("c-{turn}"), "hi")).unwrap()).collect();
        let mut answers = Vec::new();
        for it in sent {
            answers.push(done(it).await.unwrap());
        }
        assert!(answers.iter().all(|it| (it.seq, it.id, it.at) == (answers[0].seq, answers[0].id, answers[0].at)));
        assert_eq!(answers.iter().filter(|it| !it.repeated).count(), 1);
        let other = nodes[0].append(says(stream, ada, format!("c-{turn}"), "something else")).await;
        assert_eq!(other.unwrap_err().code(), "idempotency_mismatch");
    }
    let bob = nodes[0].append(says(stream, user(), "c-0", "hi")).await.unwrap();
    assert!(!bob.repeated, "a client id belongs to its sender");
    // As many as go into one batch, each twice, and all of them again.
    for fresh in [100, 0] {
        let sent: Vec<_> =
            (0..200).map(|it| nodes[0].hand(says(stream, ada, format!("m-{}", it / 2), "hi")).unwrap()).collect();
        let answers = futures_util::future::try_join_all(sent).await.unwrap();
        let answers: Vec<_> = answers.into_iter().map(|it| it.entry().unwrap()).collect();
        assert_eq!(answers.iter().filter(|it| !it.repeated).count(), fresh);
        assert!(answers.chunks(2).all(|it| it[0].id == it[1].id && it[1].repeated));
    }
    assert_eq!(assert_dense(&db).await, 131);
}

async fn an_append_that_nobody_waits_for_is_done_whole_or_not_at_all(fresh: &Fresh) {
    let db = fresh.open().await;
    let (stream, ada, clock) = (stream(&db).await, user(), Clock::system());
    for turn in 0..40 {
        let write = |it| Write::Entry(says(stream, ada, format!("{turn}-{it}"), "hi"));
        let batch: Vec<Write> = (0..1 + turn % 3).map(write).collect();
        let mut conn = db.acquire().await.unwrap();
        conn.close_on_drop();
        let within = Duration::from_micros(turn * 20);
        let _ = timeout(within, writes::commit(&mut conn, &batch, clock.now())).await;
        drop(conn);
        let mut conn = db.acquire().await.unwrap();
        let again = writes::commit(&mut conn, &batch, clock.now()).await.unwrap();
        assert!(again.iter().all(|it| it.is_ok()), "{again:?}");
    }
    let (told,): (i64,) =
        db.sql("SELECT CAST(SUM(last_seq - first_seq + 1) AS BIGINT) FROM outbox").one().await.unwrap();
    assert_eq!((assert_dense(&db).await, told), (79, 79));
}

async fn a_repeat_at_the_end_of_a_large_batch_leaves_nothing_half_done(fresh: &Fresh) {
    let db = fresh.open().await;
    let (stream, ada, clock) = (stream(&db).await, user(), Clock::system());
    let write = |it| Write::Entry(says(stream, ada, format!("{it}"), "hi"));
    let mut conn = db.acquire().await.unwrap();
    writes::commit(&mut conn, &[write(299)], clock.now()).await.unwrap();
    let batch: Vec<Write> = (0..300).map(write).collect();
    let placed = writes::commit(&mut conn, &batch, clock.now()).await.unwrap();
    assert!(placed.iter().all(|it| it.is_ok()), "{placed:?}");
    drop(conn);
    let (told,): (i64,) =
        db.sql("SELECT CAST(SUM(last_seq - first_seq + 1) AS BIGINT) FROM outbox").one().await.unwrap();
    assert_eq!((assert_dense(&db).await, told), (300, 300));
}

async fn a_page_is_what_lies_between_two_places(fresh: &Fresh) {
    let db = fresh.open().await;
    let (node, streams, stream) = (Node::start(&db).await, StreamStore { db: db.clone() }, stream(&db).await);
    for turn in 0..10 {
        let append = if turn % 3 == 2 { happens(stream, "member.joined") } else { says(stream, user(), "c", "hi") };
        node.append(append).await.unwrap();
    }
    assert_eq!(streams.head(stream).await.unwrap().head, 10);
    let page = streams.page(stream, 4, 10).await.unwrap();
    assert_eq!(page.iter().map(|it| it.seq).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
    assert_eq!((&*page[1].kind, &*page[2].kind), ("member.joined", "message"));
    for (after, up_to, found) in [(10, 10, 0), (0, 3, 3), (i64::MIN, 1, 1), (9, i64::MAX, 1), (i64::MAX, 10, 0)] {
        assert_eq!(streams.page(stream, after, up_to).await.unwrap().len(), found, "{after} to {up_to}");
    }
    assert_eq!(streams.head(StreamId(user().0)).await, Err(Error::NotFound("stream")));
}

async fn another_epoch_goes_on_where_the_one_before_ended(fresh: &Fresh) {
    let db = fresh.open().await;
    let (node, stream) = (Node::start(&db).await, stream(&db).await);
    node.append(happens(stream, "member.joined")).await.unwrap();
    db.write("UPDATE streams SET epoch = epoch + 1 WHERE id = $1").bind(stream).execute().await.unwrap();
    let after = node.append(happens(stream, "member.joined")).await.unwrap();
    assert_eq!((after.epoch, after.seq), (2, 2));
}

async fn the_time_of_commits_never_goes_back_though_the_clock_does(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let (node, streams, stream) =
        (Node::at(&db, clock.clone()).await, StreamStore { db: db.clone() }, stream(&db).await);
    let mut times = Vec::new();
    for step in [0, 5, -60, 30, -1, 120] {
        clock.step_wall(chrono::TimeDelta::seconds(step));
        let many: Vec<_> = (0..3).map(|_| node.hand(happens(stream, "member.joined")).unwrap()).collect();
        times.push(node.append(happens(stream, "member.joined")).await.unwrap().at);
        for it in many {
            done(it).await.unwrap();
        }
    }
    assert!(times.is_sorted() && times[5] == clock.now(), "{times:?}");
    let (head, entries) = (streams.head(stream).await.unwrap(), streams.page(stream, 0, 100).await.unwrap());
    assert!(entries.is_sorted_by_key(|it| it.created_at), "{entries:?}");
    assert_eq!((entries.len(), head.head_at, entries[23].created_at), (24, times[5], times[5]));
}

async fn a_node_that_missed_something_sees_a_gap_and_reads_it(fresh: &Fresh) {
    let db = fresh.open().await;
    let (near, far, streams) =
        (Node::start(&db).await, Node::start(&fresh.open().await).await, StreamStore { db: db.clone() });
    let stream = stream(&db).await;
    let said = async |node: &Node| node.append(says(stream, user(), "c", "hi")).await.unwrap();
    let first = said(&near).await;
    said(&far).await;
    let third = said(&near).await;
    assert_eq!((first.seq, third.seq), (1, 3), "one is missing in between");
    let missed = streams.page(stream, first.seq, third.seq).await.unwrap();
    assert_eq!(missed.iter().map(|it| it.seq).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(said(&far).await.seq, 4);
}
