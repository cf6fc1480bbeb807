//! What it costs to tell many: deliveries per second of the server's CPU time, against a bare server that encodes once
//! and writes to every socket in turn, and knows neither order, nor limits, nor who is slow.
//!
//! Both servers run on threads of their own, whose CPU time the system tells; rounds alternate, and medians count.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use chrono::DateTime;
use criterion::Criterion;
use folio::Folio;
use folio::actors::kernel::streams::Audience;
use folio::clock::Clock;
use folio::config::{LogFormat, Secret, Settings};
use folio::http::{App, Routes};
use folio::ids::{EntryId, StreamId};
use folio::storage::streams::{Entered, StreamStore};
use folio::telemetry::Log;
use folio::ws::frames::{Chunk, Protocol};
use folio::ws::requests::Talk;
use folio::ws::session::Session;
use folio::ws::socket;
use folio::ws::wire::{Close, Incoming, Reader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

const STREAM: StreamId = StreamId(Uuid::from_u128(7));
const ROUNDS: usize = 7;

/// What the listeners have heard, in bytes.
#[derive(Default)]
struct Heard {
    bytes: AtomicU64,
    wanted: AtomicU64,
    reached: Notify,
}

impl Heard {
    fn note(&self, bytes: usize) {
        if self.bytes.fetch_add(bytes as u64, SeqCst) + bytes as u64 >= self.wanted.load(SeqCst) {
            self.reached.notify_one();
        }
    }

    async fn all(&self) {
        while self.bytes.load(SeqCst) < self.wanted.load(SeqCst) {
            self.reached.notified().await;
        }
    }
}

/// Listens and says nothing.
struct Mute;

impl Talk for Mute {
    fn heard(&self, _: &Arc<Session>, _: Incoming<'_>) -> Result<(), Close> {
        Ok(())
    }
}

/// A server on a thread of its own: told how many entries to publish, it says when all were heard.
struct Server {
    thread: u32,
    publish: mpsc::Sender<(u64, u64)>,
    done: std::sync::mpsc::Receiver<()>,
}

impl Server {
    fn start(ours: bool, listeners: u64) -> Server {
        let (publish, published) = mpsc::channel(1);
        let ((tell, told), (finish, done)) = (sync_channel(1), sync_channel(1));
        let heard = Arc::<Heard>::default();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                listen(listener.local_addr().expect("it is bound"), listeners, heard.clone());
                let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
                let mut streams = Vec::new();
                for _ in 0..listeners {
                    streams.push(listener.accept().await.expect("a listener").0);
                }
                let audience = if ours { Told::Ours(Box::pin(ours_with(streams)).await) } else { Told::Bare(streams) };
                heard.bytes.store(0, SeqCst);
                tell.send(thread).expect("somebody waits");
                serve(published, &heard, audience, listeners, |()| finish.send(()).expect("somebody waits")).await;
            });
        });
        Server { thread: told.recv().expect("it started"), publish, done }
    }

    /// CPU time for publishing so many, `window` at once.
    fn round(&self, count: u64, window: u64) -> Duration {
        let cpu = || {
            let text = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.thread));
            let nanos = text.ok().and_then(|it| it.split_whitespace().next()?.parse().ok());
            Duration::from_nanos(nanos.expect("the system tells the time of a thread"))
        };
        let before = cpu();
        self.publish.blocking_send((count, window)).expect("it runs");
        self.done.recv().expect("it ends");
        cpu() - before
    }
}

enum Told {
    Ours(App),
    Bare(Vec<TcpStream>),
}

/// Publishes what it is told to, and waits until it was heard.
async fn serve(
    mut published: mpsc::Receiver<(u64, u64)>,
    heard: &Heard,
    audience: Told,
    listeners: u64,
    finish: impl Fn(()),
) {
    let mut seq = 0;
    while let Some((count, window)) = published.recv().await {
        for _ in 0..count / window {
            let entries: Vec<_> = (0..window).map(|it| entry(seq + 1 + it as i64)).collect();
            seq += window as i64;
            let chunk = Chunk::of(STREAM, 1, entries.iter().map(AsRef::as_ref), Protocol::Native);
            heard.wanted.fetch_add(chunk.bytes.len() as u64 * listeners, SeqCst);
            match &audience {
                Told::Ours(app) => app.sockets.topics.entries(STREAM, 1, &entries),
                Told::Bare(streams) => streams.iter().for_each(|it| drop(it.try_write(&chunk.bytes))),
            }
            heard.all().await;
        }
        finish(());
    }
}

fn entry(seq: i64) -> Arc<Entered> {
    let body = r#"{"text":"Would you come over to the studio at seven?"}"#.to_owned();
    let (kind, created_at) = ("message".to_owned(), DateTime::UNIX_EPOCH);
    Arc::new(Entered { seq, id: EntryId(Uuid::nil()), kind, sender_id: None, client_id: None, body, created_at })
}

/// A whole Folio, and a session for each socket that follows the stream.
async fn ours_with(streams: Vec<TcpStream>) -> App {
    let (clock, dir) = (Clock::system(), tempfile::tempdir().expect("a folder"));
    let mut settings = Settings { data_dir: dir.keep(), rate_limit: false, ..Settings::default() };
    (settings.sockets_per_address_max, settings.sockets_per_user_max) = (100_000, 100_000);
    let log = Log::to(std::io::sink(), LogFormat::Json, &clock);
    let config = settings.config(Secret::new("a secret of at least thirty-two bytes".to_owned()));
    let folio = Folio::start(config, clock, log, Routes::default()).await.expect("it starts");
    let app = folio.app.clone();
    let mut tx = app.storage.db.begin().await.expect("the database is there");
    StreamStore::create(&mut tx, STREAM, "conversation").await.expect("it is new");
    tx.commit().await.expect("it is kept");
    for stream in streams {
        let session = Session::open(&app.sockets, Protocol::Native, [127, 0, 0, 1].into()).expect("there is room");
        session.stay();
        session.attach(stream).expect("it is open");
        app.sockets.topics.follow(&session, STREAM, None).await.expect("it is there");
        app.actors.root.task("sessions", socket::converse(session, Arc::new(Mute), Reader::new(1_024), vec![]));
    }
    app
}

/// The other side, on a thread of its own: reads and counts.
#[expect(clippy::disallowed_methods, reason = "the listeners are no part of the tree")]
fn listen(address: std::net::SocketAddr, listeners: u64, heard: Arc<Heard>) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let mut reading = Vec::new();
            for _ in 0..listeners {
                let (stream, heard) = (TcpStream::connect(address).await.expect("it listens"), heard.clone());
                reading.push(tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while stream.readable().await.is_ok() {
                        match stream.try_read(&mut buffer) {
                            Ok(0) => return,
                            Ok(bytes) => heard.note(bytes),
                            Err(_) => {}
                        }
                    }
                }));
            }
            for it in reading {
                let _ = it.await;
            }
        });
    });
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Deliveries a CPU second of both, and how much of the bare server's rate is ours.
fn compare(name: &str, ours: &Server, bare: &Server, listeners: u64, count: u64, window: u64) -> f64 {
    let (mut rates, mut peers, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let rate = |server: &Server| (count * listeners) as f64 / server.round(count, window).as_secs_f64();
        let (rate, peer) = (rate(ours), rate(bare));
        rates.push(rate);
        peers.push(peer);
        ratios.push(rate / peer);
    }
    let (rate, ratio) = (median(rates), median(ratios));
    println!("{name}: {rate:.0} deliveries a CPU second, the bare server {:.0}", median(peers));
    println!("FLOOR fanout.{name}_ratio={ratio:.2}");
    rate
}

/// Measures and prints.
pub fn run() {
    let mut few = 0.0;
    for listeners in [100, 1_000, 4_000] {
        let (ours, bare) = (Server::start(true, listeners), Server::start(false, listeners));
        let count = (400_000 / listeners).max(40);
        let single = compare(&format!("single_{listeners}"), &ours, &bare, listeners, count, 1);
        compare(&format!("burst_{listeners}"), &ours, &bare, listeners, count, 8);
        if listeners == 100 {
            few = single;
        }
        if listeners == 4_000 {
            println!("FLOOR fanout.cost_growth={:.2}", few / single);
        }
    }
    let entry = entry(123_456);
    let mut criterion = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(1));
    for (name, protocol) in [("native", Protocol::Native), ("socket.io", Protocol::SocketIo), ("sse", Protocol::Sse)] {
        criterion.bench_function(&format!("frame_encode/{name}"), |b| {
            b.iter(|| black_box(Chunk::of(STREAM, 1, [&*entry], protocol)));
        });
    }
    criterion.final_summary();
}
