//! What the shell costs: a cached read, a small handler and a profile that is read with a token, through every layer,
//! against the same bytes from a bare axum handler, in requests per second of the server's CPU time; and what an idle connection keeps.
//!
//! Each server runs on a thread of its own, whose CPU time the system tells; rounds alternate, and the median of the
//! ratios of each pair counts: whatever else the machine does meanwhile meets both.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use axum::Json;
use axum::routing::get;
use bytes::Bytes;
use folio::Folio;
use folio::clock::Clock;
use folio::config::{Config, HttpConfig, LogFormat, RateLimitConfig, Secret, Settings};
use folio::http::extract::Path;
use folio::http::shell::Encoded;
use folio::http::{Listeners, Policy};
use folio::routes;
use folio::telemetry::Log;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::TcpListener;

const CACHED: &str = "/api/v1/things/42/shown";
const HANDLED: &str = "/api/v1/things/42";
const PROFILE: &str = "/api/v1/profile/me";
const CONNECTIONS: usize = 32;
const ROUND: usize = 3_200;
const ROUNDS: usize = 61;
const IDLE: usize = 10_000;
const WAVE: usize = 500;

#[derive(Serialize, utoipa::ToSchema)]
struct Thing {
    id: i64,
    title: &'static str,
    tags: [&'static str; 3],
}

fn thing(id: i64) -> Thing {
    Thing { id, title: "A lighthouse in oils", tags: ["oil", "sea", "light"] }
}

#[utoipa::path(get, path = "/api/v1/things/{id}", responses((status = 200, body = Thing)))]
async fn handled(Path(id): Path<String>) -> Json<Thing> {
    Json(thing(id.parse().unwrap_or_default()))
}

#[utoipa::path(get, path = "/api/v1/things/{id}/shown", responses((status = 200, body = Thing)))]
async fn cached(Path(id): Path<String>) -> Json<Thing> {
    Json(thing(id.parse().unwrap_or_default()))
}

async fn bare_handled(axum::extract::Path(id): axum::extract::Path<i64>) -> Json<Thing> {
    Json(thing(id))
}

/// A server on a thread of its own.
struct Server {
    address: SocketAddr,
    thread: u32,
}

impl Server {
    fn start<F: Future<Output = ()>>(work: impl FnOnce(TcpListener) -> F + Send + 'static) -> Server {
        let (tell, told) = sync_channel(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
                let address = listener.local_addr().expect("it is bound");
                tell.send(Server { address, thread }).expect("somebody waits");
                work(listener).await;
            });
        });
        told.recv().expect("the server started")
    }

    /// CPU time of the server's thread so far.
    fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.thread));
        let nanos = text.ok().and_then(|it| it.split_whitespace().next()?.parse().ok());
        Duration::from_nanos(nanos.expect("the system tells the time of a thread"))
    }
}

/// What the bare server answers for a profile: the bytes of ours.
static PROFILE_BYTES: OnceLock<Bytes> = OnceLock::new();

#[expect(clippy::disallowed_methods, reason = "the bare server is no part of the tree")]
async fn serve_bare(listener: TcpListener) {
    static BODY: OnceLock<Bytes> = OnceLock::new();
    let body = BODY.get_or_init(|| serde_json::to_vec(&thing(42)).unwrap_or_default().into());
    let cached = || async { ([(hyper::header::CONTENT_TYPE, "application/json")], body.clone()) };
    let router = axum::Router::new().route("/api/v1/things/{id}", get(bare_handled));
    let profile = || async {
        let bytes = PROFILE_BYTES.get().cloned().unwrap_or_default();
        ([(hyper::header::CONTENT_TYPE, "application/json")], bytes)
    };
    let router: axum::Router = router.route("/api/v1/things/{id}/shown", get(cached)).route(PROFILE, get(profile));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn serve_shell(listener: TcpListener) {
    static ENCODED: LazyLock<Arc<Encoded>> = LazyLock::new(|| Encoded::json(&thing(42), "public, max-age=5").into());
    let routes = folio::http::routes()
        .add(Policy::READ, routes!(handled))
        .add(Policy::READ, routes!(cached))
        .ready(|_, _, path| (path.get("id")? == "42").then(|| ENCODED.clone()));
    let (clock, dir) = (Clock::system(), tempfile::tempdir().expect("a folder"));
    let log = Log::to(std::io::sink(), LogFormat::Json, &clock);
    let folio = Folio::start(config(dir.path()), clock, log, routes).await.expect("it starts");
    folio.serve(Listeners { public: listener, operation: None }, std::future::pending()).await;
}

/// Everything switched on, and no limit within reach.
fn config(dir: &std::path::Path) -> Config {
    let limit = RateLimitConfig {
        per_address_burst: 1_000,
        per_address_minute: u32::MAX,
        per_user_burst: 1_000,
        per_user_minute: u32::MAX,
    };
    let settings = Settings { data_dir: dir.to_owned(), ..Settings::default() };
    let config = settings.config(Secret::new("a secret of at least thirty-two bytes".to_owned()));
    let http = HttpConfig {
        rate_limit: Some(limit),
        connections_max: IDLE * 2,
        connections_per_address_max: IDLE * 2,
        park_after: Duration::from_millis(500),
        idle_within: Duration::from_secs(600),
        ..config.http
    };
    Config { http, ..config }
}

/// Connections that ask all at once and then hear all, over and over.
struct Asker {
    connections: Vec<TcpStream>,
    request: Vec<u8>,
    size: usize,
}

impl Asker {
    fn new(address: SocketAddr, path: &str, headers: &str) -> Asker {
        let connect = |_| TcpStream::connect(address).expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n{headers}\r\n").into_bytes();
        let mut asker = Asker { connections: (0..CONNECTIONS).map(connect).collect(), request, size: 0 };
        let first = &mut asker.connections[0];
        first.write_all(&asker.request).expect("the server reads");
        let mut answer = vec![0; 4096];
        asker.size = first.read(&mut answer).expect("the server answers");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        asker
    }

    fn round(&mut self, requests: usize) {
        let mut answer = vec![0; self.size];
        for _ in 0..requests / CONNECTIONS {
            for connection in &mut self.connections {
                connection.write_all(&self.request).expect("the server reads");
            }
            for connection in &mut self.connections {
                connection.read_exact(&mut answer).expect("the server answers");
                assert_eq!(&answer[..12], b"HTTP/1.1 200");
            }
        }
    }
}

/// CPU time a request in microseconds, of each server in turn, and the ratio: medians of many rounds.
fn compare(servers: [&Server; 2], path: &str, headers: &str) -> [f64; 3] {
    let mut askers = servers.map(|server| Asker::new(server.address, path, headers));
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for ((server, asker), took) in servers.iter().zip(&mut askers).zip(&mut all) {
            let before = server.cpu();
            asker.round(ROUND);
            // The first round warms up.
            if round > 0 {
                took.push((server.cpu() - before).as_secs_f64() * 1e6 / ROUND as f64);
            }
        }
    }
    all[2] = all[0].iter().zip(&all[1]).map(|(bare, shell)| shell / bare).collect();
    all.map(|mut it| {
        it.sort_by(f64::total_cmp);
        it[it.len() / 2]
    })
}

/// Asks once; gives the head and the body of the answer.
fn ask(address: SocketAddr, line: &str, headers: &str, body: &str) -> (String, String) {
    let mut connection = TcpStream::connect(address).expect("a connection");
    let (size, kind) = (body.len(), "Content-Type: application/json\r\n");
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}");
    let request = match size {
        0 => format!("{request}\r\n"),
        _ => format!("{request}{kind}Content-Length: {size}\r\n\r\n{body}"),
    };
    connection.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("the server answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_owned(), body.to_owned())
}

/// Registers somebody, who writes a profile; gives the header that says who they are.
fn sign_in(address: SocketAddr) -> String {
    let who = r#"{"username":"ada","password":"a long walk by the sea"}"#;
    ask(address, "POST /api/v1/auth/register", "", who);
    let (_, answer) = ask(address, "POST /api/v1/auth/login", "", who);
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("the answer is JSON");
    let bearer = format!("Authorization: Bearer {}\r\n", answer["access_token"].as_str().expect("ada signed in"));
    let profile = r#"{"version":1,"display_name":"Ada Lovelace","headline":"Poetical science","bio":"Engines and verse.",
        "location":"London","age":36,"links":[{"label":"Home","url":"https://example.org/ada"}],
        "expertise":["engines","verse"],"contact":[{"kind":"email","value":"ada@example.org","visibility":"nobody"}]}"#;
    let (head, _) = ask(address, &format!("PUT {PROFILE}"), &bearer, profile);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    bearer
}

fn resident_kib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    line.expect("the system tells the memory of a process")
}

/// Memory of an idle connection that has asked once and been parked. Another process holds the other ends: one alone
/// may not open as many files.
fn idle(server: &Server) -> f64 {
    let before = resident_kib();
    let program = std::env::current_exe().expect("this program has a path");
    let mut holder = Command::new(program);
    holder.args(["http_cached", &format!("--hold={}", server.address)]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().expect("the holder starts");
    let held = holder.stdout.as_mut().expect("it is piped").read(&mut [0; 64]);
    assert!(held.is_ok_and(|size| size > 0), "the holder holds");
    std::thread::sleep(Duration::from_secs(2));
    let after = resident_kib();
    drop(holder.stdin.take());
    let _ = holder.wait();
    (after - before) / IDLE as f64
}

/// The other ends of idle connections, until nobody listens to this process any more.
fn hold(address: &str) {
    let connect = || {
        let mut connection = TcpStream::connect(address).expect("a connection");
        write!(connection, "GET {CACHED} HTTP/1.1\r\nHost: x\r\n\r\n").expect("the server reads");
        assert!(connection.read(&mut [0; 4096]).expect("the server answers") > 0);
        connection
    };
    // They come as people do, some hundreds a second, and those before them are parked by then.
    let mut all: Vec<TcpStream> = Vec::new();
    while all.len() < IDLE {
        all.extend((0..WAVE).map(|_| connect()));
        std::thread::sleep(Duration::from_millis(700));
    }
    let _ = std::io::stdout().write_all(b"held");
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read(&mut [0; 1]);
}

/// Measures and prints.
pub fn run() {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: files.maximum, maximum: files.maximum };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    if let Some(address) = std::env::args().find_map(|it| it.strip_prefix("--hold=").map(str::to_owned)) {
        return hold(&address);
    }
    let (bare, shell) = (Server::start(serve_bare), Server::start(serve_shell));
    println!("FLOOR http.idle_connection_kib={:.2}", idle(&shell));
    let bearer = sign_in(shell.address);
    let (_, body) = ask(shell.address, &format!("GET {PROFILE}"), &bearer, "");
    PROFILE_BYTES.get_or_init(|| body.into());
    for (name, path, headers) in
        [("http.cached", CACHED, ""), ("http.handler", HANDLED, ""), ("profiles.cached", PROFILE, bearer.as_str())]
    {
        let [bare, shell, ratio] = compare([&bare, &shell], path, headers);
        println!("{name}: bare {bare:.2} us, shell {shell:.2} us of CPU a request");
        println!("FLOOR {name}_ratio={ratio:.3}");
    }
}
