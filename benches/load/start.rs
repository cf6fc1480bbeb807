//! The scenario `start`: a release build on an empty data folder, until it is ready, and what it holds then.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::client::Connection;
use crate::{measure, server};

const WITHIN: Duration = Duration::from_secs(30);
/// How long it is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(2);
const ASK: &[u8] = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What is started, and how often.
#[derive(Args)]
pub struct Options {
    /// The program
    #[arg(long, default_value = "target/release/folio")]
    program: PathBuf,
    /// Starts; the median of them counts
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=99))]
    times: u8,
}

/// A program that runs on a free port. Ends its process with itself.
pub struct Running {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// How long it took to get ready.
    pub ready_after: Duration,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the scenario; fails when the program does not get ready.
pub fn run(options: &Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|it| it.to_string())?;
    let starts = (0..options.times).map(|_| runtime.block_on(start(&options.program)));
    let mut starts = starts.collect::<Result<Vec<_>, _>>()?;
    starts.sort_unstable();
    let (ready, resident_kib) = starts[starts.len() / 2];
    let resident = resident_kib as f64 / 1024.0;
    println!("start    ready after {}, {resident:.1} MiB resident when idle", measure::shown(ready));
    println!("FLOOR start.ready_ms={:.1}", ready.as_secs_f64() * 1e3);
    println!("FLOOR start.resident_mb={resident:.1}");
    Ok(())
}

async fn start(program: &Path) -> Result<(Duration, u64), String> {
    let folder = tempfile::tempdir().map_err(|it| it.to_string())?;
    let running = Running::begin(program, folder.path(), &[]).await?;
    tokio::time::sleep(IDLE).await;
    let usage = server::usage(running.child.id()).ok_or("its memory cannot be read")?;
    Ok((running.ready_after, usage.resident_kib))
}

impl Running {
    /// Starts a program on an empty folder, and waits until it is ready.
    pub async fn begin(program: &Path, folder: &Path, settings: &[(&str, &str)]) -> Result<Running, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).map_err(|it| it.to_string())?;
        let mut command = Command::new(program);
        command.arg("serve").env("FOLIO_DATA_DIR", folder).env("FOLIO_LISTEN", free.to_string());
        command.envs(settings.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
        Running::await_ready(command, free).await
    }

    /// Starts a program that will listen there, and waits until it is ready.
    pub async fn await_ready(mut command: Command, address: SocketAddr) -> Result<Running, String> {
        let began = Instant::now();
        let child = command.spawn().map_err(|it| format!("{}: {it}", command.get_program().display()))?;
        let mut running = Running { child, address, ready_after: Duration::ZERO };
        while !is_ready(address).await {
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(format!("it ended before it was ready: {status}"));
            }
            if began.elapsed() > WITHIN {
                return Err(format!("it is not ready after {}", measure::shown(WITHIN)));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        running.ready_after = began.elapsed();
        Ok(running)
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

async fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(address).await else { return false };
    matches!(connection.ask(ASK).await, Ok(answer) if answer.status == 200)
}
