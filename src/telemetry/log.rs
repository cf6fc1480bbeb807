//! The log: one line an event, written by a thread of its own.
//!
//! Nobody waits for it: the queue has an end, and what does not fit is counted. The thread looks every 50 ms instead
//! of being woken, so that a line costs its writer no system call. Values are escaped by their JSON form.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::json::Json;
use super::{Counter, Exposition};
use crate::clock::{Clock, Moment};
use crate::config::{LogConfig, LogFormat};
use crate::error::{Error, Result};

/// What libraries say too much of; the setting comes later and may say otherwise.
const QUIET: &str = "ractor=warn,lapin=error";
const LINES_MAX: usize = 8_192;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where lines go. Cloning it gives the same log.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    lines: SyncSender<Letter>,
    dropped: Counter,
    skipped: Counter,
    /// The second that is counted, and the lines written in it.
    second: AtomicU64,
    written: AtomicU32,
    format: LogFormat,
    clock: Clock,
    /// Where the process's own log holds its levels.
    levels: OnceLock<reload::Handle<EnvFilter, Registry>>,
}

#[derive(Serialize)]
struct Line {
    timestamp: String,
    level: &'static str,
    service: &'static str,
    #[serde(flatten)]
    fields: Value,
}

enum Letter {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Starts the process's log on standard output, with a hook that logs each panic once: where, never what with.
pub fn start(config: &LogConfig, clock: &Clock) -> Result<Log> {
    let (filter, levels) = reload::Layer::new(filter(&config.filter)?);
    let log = Log::to(io::stdout(), config.format, clock);
    log.0.levels.get_or_init(|| levels);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match config.format {
        LogFormat::Json => registry.with(Json(log.clone())).try_init(),
        LogFormat::Pretty => {
            let writer = log.clone();
            let lines = tracing_subscriber::fmt::layer().with_ansi(io::stdout().is_terminal());
            registry.with(lines.with_writer(move || writer.clone())).try_init()
        }
    };
    started.map_err(Error::internal)?;
    std::panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(event = "panic", location, thread, "a panic");
    }));
    Ok(log)
}

fn filter(levels: &str) -> Result<EnvFilter> {
    let filter = EnvFilter::try_new(format!("{QUIET},{levels}"));
    filter.map_err(|_| Error::Malformed("the filter of the log is not valid"))
}

impl Log {
    /// A log that ends in any writer, on a thread of its own.
    pub fn to(out: impl Write + Send + 'static, format: LogFormat, clock: &Clock) -> Log {
        let (lines, letters) = sync_channel(LINES_MAX);
        std::thread::spawn(move || write_out(&letters, out));
        let (dropped, skipped, second, written, levels) = Default::default();
        Log(Arc::new(Inner { lines, dropped, skipped, second, written, format, clock: clock.clone(), levels }))
    }

    /// Changes what the process's own log takes, from now on.
    pub fn set_levels(&self, levels: &str) -> Result<()> {
        let filter = filter(levels)?;
        self.0.levels.get().map_or(Ok(()), |it| it.reload(filter).map_err(Error::internal))
    }

    /// Writes one event that is already a value: its fields, but for those that are null, stand beside the time and
    /// the service.
    pub fn event(&self, level: &'static str, mut fields: Value) {
        if let Value::Object(fields) = &mut fields {
            fields.retain(|_, value| !value.is_null());
        }
        self.offer(match self.0.format {
            LogFormat::Json => {
                let line = Line { timestamp: self.timestamp(), level, service: "folio", fields };
                serde_json::to_vec(&line).unwrap_or_default()
            }
            LogFormat::Pretty => pretty(&self.timestamp(), level, &fields).into_bytes(),
        });
    }

    /// Whether one more of many like lines is written now: up to a number of them each second; what is left out is
    /// counted.
    pub fn takes(&self, now: Moment, per_second: u32) -> bool {
        let second = now.nanos_since(Moment::default()) / 1_000_000_000;
        if self.0.second.load(Relaxed) != second && self.0.second.swap(second, Relaxed) != second {
            self.0.written.store(0, Relaxed);
        }
        let takes = self.0.written.load(Relaxed) < per_second && self.0.written.fetch_add(1, Relaxed) < per_second;
        if !takes {
            self.0.skipped.add();
        }
        takes
    }

    /// Writes what is known about the log itself.
    pub fn collect(&self, out: &mut Exposition) {
        out.single("folio_log_dropped_total", "counter", "Log lines that did not fit into the queue.", self.dropped());
        let skipped = self.0.skipped.get();
        out.single("folio_log_skipped_total", "counter", "Access lines left out by sampling.", skipped);
    }

    /// How many lines did not fit.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.get()
    }

    /// Waits until what was logged so far is written, a second at most.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.0.lines.send(Letter::Flush(done)).is_ok() {
            let _ = written.recv_timeout(Duration::from_secs(1));
        }
    }

    pub(super) fn timestamp(&self) -> String {
        self.0.clock.now().to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    pub(super) fn offer(&self, mut line: Vec<u8>) {
        line.push(b'\n');
        if self.0.lines.try_send(Letter::Line(line)).is_err() {
            self.0.dropped.add();
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// The subscriber's own lines for people come as whole writes.
impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.offer(text.strip_suffix(b"\n").unwrap_or(text).to_vec());
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_out(letters: &Receiver<Letter>, mut out: impl Write) {
    loop {
        let (mut text, mut waiting) = (Vec::new(), Vec::new());
        // The first look waits for the whole process to end its side; the log ends with its last handle.
        let first = match letters.try_recv() {
            Ok(letter) => letter,
            Err(std::sync::mpsc::TryRecvError::Empty) => {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
        };
        for letter in std::iter::once(first).chain(letters.try_iter().take(256)) {
            match letter {
                Letter::Line(line) => text.extend_from_slice(&line),
                Letter::Flush(done) => waiting.push(done),
            }
        }
        // Nobody can be told that the log itself is gone.
        let _ = out.write_all(&text).and_then(|()| out.flush());
        waiting.iter().for_each(|done| _ = done.try_send(()));
    }
}

fn pretty(timestamp: &str, level: &str, fields: &Value) -> String {
    let fields = fields.as_object().into_iter().flatten().map(|(key, value)| format!(" {key}={value}"));
    format!("{timestamp} {level:>5}{}", fields.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_cannot_be_written_fast_enough_counts_what_it_leaves_out() {
        struct Stuck(Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, text: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(text.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (go_on, stuck) = sync_channel(0);
        let log = Log::to(Stuck(stuck), LogFormat::Pretty, &Clock::manual());
        for number in 0..LINES_MAX * 2 {
            log.event("INFO", serde_json::json!({ "number": number }));
        }
        assert!(log.dropped() >= LINES_MAX as u64 - 257, "{}", log.dropped());
        drop(go_on);
    }
}
