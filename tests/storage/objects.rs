//! The stores of objects: what is the same on files and on an S3 server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use folio::error::Error;
use folio::storage::objects::Upload;
use futures_util::future::{join_all, poll_immediate};
use futures_util::{StreamExt, stream};

use crate::on_both_stores;
use crate::support::stores::{Kind, Store, put, put_pieces, read, read_range, upload};

on_both_stores! {
    what_was_put_is_read_back_as_it_was
    an_empty_object_is_an_object
    a_range_gives_these_bytes_and_no_others
    a_large_object_is_one_object
    a_key_and_a_key_below_it_are_two_objects
    what_is_no_key_is_refused
    a_body_that_is_too_large_leaves_what_was_there
    a_body_that_fails_leaves_what_was_there
    a_put_that_is_dropped_leaves_nothing
    of_a_hundred_puts_of_one_key_one_wins_whole
    what_was_deleted_is_gone_and_may_be_deleted_again
    a_probe_tells_what_is_allowed
    what_streams_through_is_not_gathered
}

async fn what_was_put_is_read_back_as_it_was(store: &Store) {
    let content = Bytes::from_static(b"Folio");
    let new = Upload { key: "a/file", content_type: "image/png; x=\"y z\"", bytes_max: 5 };
    let stored = store.objects.put(new, stream::iter([Ok(content)])).await.unwrap();
    assert_eq!(stored.bytes, 5);
    assert_eq!(stored.sha256, "1f806ca9a02f0f793285d2f82d1bd46c085888ecec77506c39ea81226bd09d2f");
    assert_eq!(read(&store.objects, "a/file").await.unwrap(), b"Folio");
    let other = put(&store.objects, "a/file", "other").await.unwrap();
    assert_ne!(other.sha256, stored.sha256);
    assert_eq!(read(&store.objects, "a/file").await.unwrap(), b"other");
}

async fn an_empty_object_is_an_object(store: &Store) {
    let stored = put_pieces(&store.objects, "empty", stream::empty()).await.unwrap();
    assert_eq!(stored.bytes, 0);
    assert_eq!(read(&store.objects, "empty").await.unwrap(), b"");
}

async fn a_range_gives_these_bytes_and_no_others(store: &Store) {
    put(&store.objects, "digits", "0123456789").await.unwrap();
    for (range, expected) in [(0..1, "0"), (3..6, "345"), (7..10, "789"), (0..10, "0123456789")] {
        let found = read_range(&store.objects, "digits", Some(range.clone())).await.unwrap();
        assert_eq!(found, expected.as_bytes(), "{range:?}");
    }
}

async fn a_large_object_is_one_object(store: &Store) {
    let content: Bytes = (0..12 * 1024 * 1024_u32).map(|at| (at / 7) as u8).collect();
    let pieces = stream::iter((0..192).map(|at| Ok(content.slice(at * 65_536..(at + 1) * 65_536))));
    let stored = put_pieces(&store.objects, "large", pieces).await.unwrap();
    assert_eq!(stored.bytes, 12 * 1024 * 1024);
    assert!(read(&store.objects, "large").await.unwrap() == content);
    let part = 8 * 1024 * 1024 - 10..8 * 1024 * 1024 + 10;
    let found = read_range(&store.objects, "large", Some(part.clone())).await.unwrap();
    assert_eq!(found, content[part.start as usize..part.end as usize]);
}

async fn a_key_and_a_key_below_it_are_two_objects(store: &Store) {
    for key in ["a/b", "a", "a-b", "a/b/c", "a.b"] {
        put(&store.objects, key, key.to_owned()).await.unwrap();
    }
    store.objects.delete("a/b").await.unwrap();
    for key in ["a", "a-b", "a/b/c", "a.b"] {
        assert_eq!(read(&store.objects, key).await.unwrap(), key.as_bytes());
    }
    store.objects.delete("a").await.unwrap();
    assert_eq!(store.keys().await, ["a-b", "a.b", "a/b/c"], "and no more");
}

async fn what_is_no_key_is_refused(store: &Store) {
    let long = "x".repeat(251);
    for key in ["", "/a", "a/", "a//b", ".", "a/../b", "..", "a/.b", "a\\b", "a\0b", "a b", "a+b", "a%2eb", "ä", &long]
    {
        let refusal = put(&store.objects, key, "x").await.unwrap_err();
        assert_eq!(refusal.code(), "invalid", "{key:?}");
        assert_eq!(read(&store.objects, key).await.unwrap_err().code(), "invalid");
        assert_eq!(store.objects.delete(key).await.unwrap_err().code(), "invalid");
    }
    assert_eq!(store.keys().await, [] as [String; 0]);
}

async fn a_body_that_is_too_large_leaves_what_was_there(store: &Store) {
    put(&store.objects, "key", "before").await.unwrap();
    let new = Upload { bytes_max: 9 * 1024 * 1024, ..upload("key") };
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[7; 65_536])));
    assert_eq!(store.objects.put(new, endless).await.unwrap_err().code(), "too_large");
    assert_eq!(read(&store.objects, "key").await.unwrap(), b"before");
}

async fn a_body_that_fails_leaves_what_was_there(store: &Store) {
    put(&store.objects, "key", "before").await.unwrap();
    for pieces in [1, 160] {
        let good = stream::iter((0..pieces).map(|_| Ok(Bytes::from_static(&[7; 65_536]))));
        let body = good.chain(stream::iter([Err(Error::Malformed("the client went away"))]));
        let refusal = put_pieces(&store.objects, "key", body).await.unwrap_err();
        assert_eq!(refusal, Error::Malformed("the client went away"));
    }
    assert_eq!(read(&store.objects, "key").await.unwrap(), b"before");
    assert_eq!(store.arriving(), 0, "nothing is left to sweep");
}

async fn a_put_that_is_dropped_leaves_nothing(store: &Store) {
    let (asked, mut ask) = tokio::sync::mpsc::channel(1);
    let good = stream::iter((0..160).map(|_| Ok(Bytes::from_static(&[7; 65_536]))));
    let body = good.chain(stream::once(async move {
        asked.send(()).await.unwrap();
        std::future::pending().await
    }));
    {
        let put = std::pin::pin!(put_pieces(&store.objects, "key", body));
        tokio::select! {
            outcome = put => panic!("the body has no end: {outcome:?}"),
            asked = ask.recv() => asked.unwrap(),
        }
    }
    assert_eq!(store.keys().await, [] as [String; 0]);
    assert_eq!(store.arriving(), 0);
}

async fn of_a_hundred_puts_of_one_key_one_wins_whole(store: &Store) {
    put(&store.objects, "key", vec![255; 100_000]).await.unwrap();
    let puts = join_all((0..100_u8).map(|which| {
        let pieces = (0..which as usize + 20).map(move |_| Ok(Bytes::from(vec![which; 5_000])));
        async move { put_pieces(&store.objects, "key", stream::iter(pieces)).await.unwrap() }
    }));
    let mut puts = std::pin::pin!(puts);
    loop {
        let ended = poll_immediate(&mut puts).await;
        let content = read(&store.objects, "key").await.unwrap();
        let which = content[0];
        assert!(content.iter().all(|byte| *byte == which), "a reader never sees two of them mixed");
        assert_eq!(content.len(), if which == 255 { 100_000 } else { (which as usize + 20) * 5_000 });
        if let Some(stored) = ended {
            assert_eq!(stored[which as usize].bytes, content.len() as u64);
            return;
        }
    }
}

async fn what_was_deleted_is_gone_and_may_be_deleted_again(store: &Store) {
    put(&store.objects, "folder/key", "x").await.unwrap();
    for _ in 0..2 {
        store.objects.delete("folder/key").await.unwrap();
        assert_eq!(read(&store.objects, "folder/key").await, Err(Error::NotFound("object")));
    }
    store.objects.delete("never/was").await.unwrap();
}

async fn a_probe_tells_what_is_allowed(store: &Store) {
    let probe = store.objects.probe().await.unwrap();
    assert_eq!(probe.rights, [("put", true), ("get", true), ("delete", true)]);
    assert_eq!(probe.backend, if store.kind == Kind::Files { "files" } else { "s3" });
    assert!(store.kind == Kind::Files || probe.version.contains("MinIO"), "{}", probe.version);
    assert_eq!(store.keys().await, [] as [String; 0], "it leaves nothing behind");
}

/// A piece that is counted for as long as somebody holds it.
struct Piece(Arc<AtomicUsize>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &[7; 65_536]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn what_streams_through_is_not_gathered(store: &Store) {
    let held = Arc::new(AtomicUsize::new(0));
    let counter = held.clone();
    let body = stream::iter(0..1_024).map(move |_| {
        assert!(counter.fetch_add(1, Ordering::SeqCst) < 16, "what was handed over is not kept");
        Ok(Bytes::from_owner(Piece(counter.clone())))
    });
    assert_eq!(put_pieces(&store.objects, "large", body).await.unwrap().bytes, 64 * 1024 * 1024);
    assert_eq!(held.load(Ordering::SeqCst), 0);
    let mut body = store.objects.get("large", None).await.unwrap();
    let mut bytes = 0;
    while let Some(piece) = body.next().await.transpose().unwrap() {
        assert!(piece.len() <= 1024 * 1024, "it comes in pieces");
        bytes += piece.len();
    }
    assert_eq!(bytes, 64 * 1024 * 1024);
}
