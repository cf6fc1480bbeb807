//! What becomes of objects when the server of theirs, the way to it, or this process is gone.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use folio::clock::Clock;
use folio::config::{ObjectsConfig, Secret};
use folio::error::Error;
use folio::storage::objects::Objects;
use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use crate::support::proxy::{Mode, Proxy};
use crate::support::servers::Server;
use crate::support::spawn;
use crate::support::stores::{Kind, Store, bucket, bucket_at, open_s3, put, put_pieces, read};

const GONE: Error = Error::unavailable("objects");

/// Short, so that a server that hangs is given up soon.
const SHORT: Duration = Duration::from_millis(300);
/// Long enough for a busy machine, where nothing hangs.
const LONG: Duration = Duration::from_secs(30);

fn pieces(count: usize) -> impl stream::Stream<Item = folio::error::Result<Bytes>> + Send {
    stream::iter((0..count).map(|_| Ok(Bytes::from_static(&[7; 65_536]))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_or_is_gone_is_given_up_and_found_again() {
    Store::run(Kind::S3, async |store| {
        let proxy = Proxy::start(store.server()).await;
        let objects = store.by_way_of(proxy.address, SHORT, SHORT);
        put(&store.objects, "key", "before").await.unwrap();
        for mode in [Mode::Hang, Mode::Cut] {
            proxy.set(mode);
            assert_eq!(put(&objects, "key", "after").await, Err(GONE));
            assert_eq!(read(&objects, "key").await, Err(GONE));
            assert_eq!(objects.delete("key").await, Err(GONE));
            assert_eq!(objects.probe().await, Err(GONE));
        }
        proxy.set(Mode::Pass);
        let patient = store.by_way_of(proxy.address, LONG, LONG);
        assert_eq!(read(&patient, "key").await.unwrap(), b"before");
        put(&patient, "key", "after").await.unwrap();
        assert_eq!(read(&store.objects, "key").await.unwrap(), b"after");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_cut_in_the_middle_leaves_what_was_there() {
    Store::run(Kind::S3, async |store| {
        let proxy = Proxy::start(store.server()).await;
        let objects = store.by_way_of(proxy.address, LONG, LONG);
        put(&objects, "key", "before").await.unwrap();
        proxy.set(Mode::CutBefore(b"half"));
        let half = stream::iter([Ok(Bytes::from_static(b"half"))]);
        let body = pieces(96).chain(half).chain(pieces(96));
        assert_eq!(put_pieces(&objects, "key", body).await, Err(GONE));
        assert_eq!(store.arriving(), 0);
        proxy.set(Mode::Pass);
        assert_eq!(read(&objects, "key").await.unwrap(), b"before");
        assert_eq!(store.keys().await, ["key"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_end_nobody_heard_is_whole_or_not_there_and_may_be_repeated() {
    Store::run(Kind::S3, async |store| {
        let proxy = Proxy::start(store.server()).await;
        let objects = store.by_way_of(proxy.address, LONG, LONG);
        put(&objects, "before", "the bucket is there").await.unwrap();
        let body = || pieces(160).chain(stream::iter([Ok(Bytes::from_static(b"the end"))]));
        for mode in [Mode::CutBefore(b"the end"), Mode::CutAfter(b"the end")] {
            proxy.set(mode);
            assert_eq!(put_pieces(&objects, "key", body()).await, Err(GONE));
            match read(&store.objects, "key").await {
                Ok(content) => assert_eq!(content.len(), 160 * 65_536 + 7),
                Err(error) => assert_eq!(error, Error::NotFound("object")),
            }
            proxy.set(Mode::Pass);
            assert_eq!(put_pieces(&objects, "key", body()).await.unwrap().bytes, 160 * 65_536 + 7);
            store.objects.delete("key").await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_is_cut_or_stalls_ends_with_an_error() {
    Store::run(Kind::S3, async |store| {
        let proxy = Proxy::start(store.server()).await;
        put_pieces(&store.objects, "key", pieces(256)).await.unwrap();
        for mode in [Mode::Hang, Mode::Cut] {
            proxy.set(Mode::Pass);
            let objects = store.by_way_of(proxy.address, LONG, SHORT);
            let mut body = objects.get("key", None).await.unwrap();
            body.next().await.unwrap().unwrap();
            proxy.set(mode);
            let rest: Vec<_> = body.collect().await;
            assert_eq!(rest.last().unwrap().as_ref().unwrap_err(), &GONE, "never an end that looks like one");
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_know_us_is_unavailable_and_says_so_to_a_probe() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut config = bucket("folio-test-nobody", folder.path());
    config.secret = Secret::new("wrong".to_owned());
    let objects = open_s3(&config);
    assert_eq!(put(&objects, "key", "x").await, Err(GONE));
    assert_eq!(objects.probe().await.unwrap().missing(), Some("put"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_and_started_under_load_loses_nothing_it_confirmed() {
    let server = Server::start("minio").await;
    let folder = tempfile::TempDir::new().unwrap();
    let config = bucket_at(&server.setting("TEST_S3_URL").await, "folio-test-load", folder.path());
    let objects = open_s3(&config);
    let counts = watch::Sender::new((Vec::new(), 0));
    let load = (0..4).map(|task| {
        let (objects, counts) = (objects.clone(), counts.clone());
        spawn(async move {
            for number in 0.. {
                let key = format!("{task}/{number}");
                match put(&objects, &key, key.repeat(1_000)).await {
                    Ok(_) => counts.send_modify(|(confirmed, _)| confirmed.push(key)),
                    Err(error) => {
                        assert_eq!(error, GONE);
                        counts.send_modify(|(_, refused)| *refused += 1);
                        tokio::task::yield_now().await;
                    }
                }
            }
        })
    });
    let load: Vec<_> = load.collect();
    let mut seen = counts.subscribe();
    for round in 1..=3 {
        until(&mut seen, |(confirmed, _)| confirmed.len() >= round * 20).await;
        server.down().await;
        let refused = counts.borrow().1;
        until(&mut seen, |now| now.1 > refused).await;
        server.up().await;
        let confirmed = counts.borrow().0.len();
        until(&mut seen, |now| now.0.len() > confirmed).await;
    }
    load.iter().for_each(tokio::task::JoinHandle::abort);
    for key in &counts.borrow().0.clone() {
        assert!(read(&objects, key).await.unwrap() == key.repeat(1_000).into_bytes());
    }
}

type Counts = (Vec<String>, usize);

async fn until(seen: &mut watch::Receiver<Counts>, holds: impl FnMut(&Counts) -> bool) {
    tokio::time::timeout(Duration::from_secs(30), seen.wait_for(holds)).await.expect("it goes on").unwrap();
}

const CHILD_FOLDER: &str = "FOLIO_TEST_KILLED_FOLDER";

/// Puts one key over and over, each time with other content, until it is killed.
#[tokio::test]
#[ignore = "is the process that the next test kills"]
async fn the_process_that_is_killed() {
    let folder = std::env::var(CHILD_FOLDER).expect("the test that kills says where");
    let objects = files(Path::new(&folder));
    for which in 0..=255_u8 {
        let body = stream::iter((0..64).map(move |at| {
            println!("{which} {at}");
            Ok(Bytes::from(vec![which; 65_536]))
        }));
        put_pieces(&objects, "a/key", body).await.unwrap();
        println!("{which} stored");
    }
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_every_object_whole() {
    let folder = tempfile::TempDir::new().unwrap();
    let objects = files(folder.path());
    let arriving = folder.path().join("arriving");
    let left = || std::fs::read_dir(&arriving).unwrap().count();
    let mut most = 0;
    for round in 0..30 {
        let stored = kill_after(folder.path(), 20 + round * 9);
        let content = read(&objects, "a/key").await;
        match (&content, stored) {
            (Ok(content), _) => {
                assert_eq!(content.len(), 64 * 65_536);
                assert!(content.iter().all(|byte| *byte == content[0]));
                assert!(stored.is_none_or(|stored| content[0] >= stored), "what was confirmed is there");
            }
            (Err(error), None) => assert_eq!(error, &Error::NotFound("object")),
            (Err(error), Some(_)) => panic!("it was confirmed, and is lost: {error}"),
        }
        most = most.max(left());
        objects.delete("a/key").await.unwrap();
    }
    assert_eq!(most, 1, "each kill leaves at most one file, and each start removes what it finds");
    files(folder.path());
    assert_eq!(left(), 0);
}

fn files(folder: &Path) -> Objects {
    let config = ObjectsConfig::Files { dir: folder.to_owned() };
    Objects::open(&config, &Secret::new("s".repeat(32)), &Clock::system()).unwrap()
}

/// Starts the process, kills it after so many lines, and gives what it confirmed last.
fn kill_after(folder: &Path, lines: usize) -> Option<u8> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "faults::objects::the_process_that_is_killed", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut stored = None;
    for (at, line) in output.lines().map_while(Result::ok).enumerate() {
        if let Some(which) = line.strip_suffix(" stored") {
            stored = Some(which.parse().unwrap());
        }
        if at == lines {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success(), "it was to be killed");
    stored
}
