//! The scenario `http`: requests over kept-alive connections, each answer compared with what is expected.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use ring::digest::{SHA256, digest};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::client::Connection;
use crate::measure::{Histogram, shown};
use crate::server;

/// What an answer may still take when the time is up.
const GRACE: Duration = Duration::from_secs(10);
const FAILURES_SHOWN: usize = 5;

/// What is asked, how often, and what counts as right.
#[derive(Args)]
pub struct Options {
    /// Where Folio listens
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: url::Url,
    /// A path to ask for; several are taken in turn
    #[arg(long = "path", default_value = "/health/live")]
    pub paths: Vec<String>,
    /// A header to send, as 'name: value'; may be given several times
    #[arg(long = "header")]
    pub headers: Vec<String>,
    /// Connections, each with one request under way at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub connections: u32,
    /// How long to ask
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Requests a second over all connections; 0 is as fast as answers come. With a rate, an answer's time counts from
    /// when its request was due, so that a stall is seen in full; timers add up to 2 ms
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    pub rate: u32,
    /// The status of a right answer
    #[arg(long, default_value_t = 200)]
    pub status: u16,
    /// The SHA-256 of a right body in hex; without it each path's first body is what the others must equal
    #[arg(long, conflicts_with = "any_body")]
    pub expect: Option<String>,
    /// Takes bodies that change
    #[arg(long)]
    pub any_body: bool,
    /// The server's process; found by its port when it runs here
    #[arg(long)]
    pub pid: Option<u32>,
}

/// What came back over one connection, or over all.
#[derive(Default)]
struct Outcome {
    times: Histogram,
    /// Answers that came and are not the right ones.
    wrong: u64,
    /// Requests without an answer.
    failed: u64,
    failures: Vec<String>,
}

impl Outcome {
    fn fail(&mut self, why: String) {
        if self.failures.len() < FAILURES_SHOWN {
            self.failures.push(why);
        }
    }
}

/// One path: its request as bytes, and the body that is right.
struct Question {
    path: String,
    request: Vec<u8>,
    body: Vec<u8>,
}

/// Runs the scenario and tells how long answers took; fails when one was wrong or did not come.
pub fn run(options: &Options) -> Result<Histogram, String> {
    let port = options.url.port_or_known_default().unwrap_or(80);
    let host = options.url.host_str().ok_or("the URL has no host")?;
    let mut addresses = (host, port).to_socket_addrs().map_err(|it| format!("{host}: {it}"))?;
    let address = addresses.next().ok_or("the host has no address")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|it| it.to_string())?;
    let process = options.pid.or_else(|| server::listening_on(port).filter(|_| address.ip().is_loopback()));
    runtime.block_on(async {
        let questions = learn(options, address, host, port).await?;
        let used = || process.and_then(server::usage);
        let (before, began) = (used(), Instant::now());
        let all = (0..options.connections).map(|it| converse(options, address, &questions, began, it));
        let mut sum = Outcome::default();
        for one in join_all(all).await {
            sum.times.merge(&one.times);
            sum.wrong += one.wrong;
            sum.failed += one.failed;
            one.failures.into_iter().for_each(|it| sum.fail(it));
        }
        report(options, &sum, began.elapsed(), process.zip(before.zip(used())));
        match (sum.wrong, sum.failed, sum.times.count()) {
            (0, 0, 1..) => Ok(sum.times),
            (wrong, failed, right) => Err(format!("{right} right, {wrong} wrong, {failed} without an answer")),
        }
    })
}

/// Asks each path once: what comes is the measure for the rest.
async fn learn(options: &Options, address: SocketAddr, host: &str, port: u16) -> Result<Vec<Question>, String> {
    let headers: String = options.headers.iter().map(|it| format!("{it}\r\n")).collect();
    let mut questions = Vec::new();
    for path in &options.paths {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}\r\n").into_bytes();
        let failed = |it: std::io::Error| format!("{path}: {it}");
        let mut connection = Connection::open(address).await.map_err(failed)?;
        let answer = connection.ask(&request).await.map_err(failed)?;
        if answer.status != options.status {
            return Err(format!("{path}: answered {}, not {}", answer.status, options.status));
        }
        let hash: String = digest(&SHA256, answer.body).as_ref().iter().map(|it| format!("{it:02x}")).collect();
        if options.expect.as_ref().is_some_and(|it| !it.eq_ignore_ascii_case(&hash)) {
            return Err(format!("{path}: the body's SHA-256 is {hash}"));
        }
        questions.push(Question { path: path.clone(), body: answer.body.to_vec(), request });
    }
    Ok(questions)
}

/// Asks over one connection until the time is up; opens it again when it breaks.
async fn converse(options: &Options, address: SocketAddr, questions: &[Question], began: Instant, at: u32) -> Outcome {
    let mut outcome = Outcome::default();
    let ends = began + Duration::from_secs(options.seconds);
    let period = (options.rate > 0).then(|| Duration::from_secs(1) / options.rate);
    let mut connection = None;
    for turn in 0.. {
        let due = match period {
            Some(period) => began + period * at + period * options.connections * turn,
            None => Instant::now(),
        };
        if due >= ends {
            break;
        }
        if period.is_some() {
            sleep_until(due).await;
        }
        let question = &questions[(at + turn) as usize % questions.len()];
        let asked = ask(options, address, question, &mut connection);
        match timeout_at(ends + GRACE, asked).await.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(None) => outcome.times.record(due.elapsed()),
            Ok(Some(why)) => {
                outcome.wrong += 1;
                outcome.fail(format!("{}: {why}", question.path));
            }
            Err(why) => {
                connection = None;
                outcome.failed += 1;
                outcome.fail(format!("{}: {why}", question.path));
                if Instant::now() >= ends {
                    break;
                }
                // Whoever cannot be reached is not asked in a circle.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    outcome
}

/// Asks once; says what is wrong with the answer, if anything is.
async fn ask(
    options: &Options,
    address: SocketAddr,
    question: &Question,
    kept: &mut Option<Connection>,
) -> Result<Option<String>, String> {
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(Connection::open(address).await.map_err(|it| it.to_string())?),
    };
    let answer = connection.ask(&question.request).await.map_err(|it| it.to_string())?;
    let wrong = if answer.status != options.status {
        Some(format!("answered {}", answer.status))
    } else if !options.any_body && answer.body != question.body {
        Some(format!("a body of {} bytes that is not the first one", answer.body.len()))
    } else {
        None
    };
    if answer.closes {
        *kept = None;
    }
    Ok(wrong)
}

fn report(options: &Options, sum: &Outcome, took: Duration, server: Option<(u32, (server::Usage, server::Usage))>) {
    let (times, answers) = (&sum.times, sum.times.count());
    let rate = if options.rate == 0 { "as fast as answers come".to_owned() } else { format!("{}/s", options.rate) };
    println!("http     {} connections, {} s, {rate}", options.connections, options.seconds);
    println!(
        "answers  {answers}, {:.0}/s; {} wrong, {} failed",
        answers as f64 / took.as_secs_f64(),
        sum.wrong,
        sum.failed
    );
    let quantile = |part| shown(times.quantile(part));
    println!("time     p50 {}, p99 {}, longest {}", quantile(0.5), quantile(0.99), shown(times.longest()));
    match server {
        Some((process, (before, after))) => {
            let used = (after.processor - before.processor).as_secs_f64();
            let each = answers as f64 / used.max(0.01);
            let held = after.resident_kib as f64 / 1024.0;
            println!(
                "server   process {process}: {used:.2} CPU seconds, {each:.0} answers each; {held:.1} MiB resident"
            );
        }
        None => println!("server   not seen from here; --pid names its process"),
    }
    sum.failures.iter().for_each(|it| println!("wrong    {it}"));
}
