//! The log: one line an event, written by a thread of its own.
//!
//! Nobody waits for it: the queue has an end, and what does not fit is counted. The thread looks every 50 ms instead
//! of being woken, so that a line costs its writer no system call. Values are escaped by their JSON form.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use chrono::SecondsFormat;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer as _};
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{Counter, trace};
use crate::clock::Clock;
use crate::config::{LogConfig, LogFormat};
use crate::error::{Error, Result};

const LINES_MAX: usize = 8_192;
const FIELD_BYTES_MAX: usize = 4_096;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where lines go. Cloning it gives the same log.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    lines: SyncSender<Letter>,
    dropped: Counter,
    format: LogFormat,
    clock: Clock,
}

enum Letter {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Starts the process's log on standard output, with a hook that logs each panic once: where, never what with.
pub fn start(config: &LogConfig, clock: &Clock) -> Result<Log> {
    let filter =
        EnvFilter::try_new(&config.filter).map_err(|_| Error::Malformed("the filter of the log is not valid"))?;
    let log = Log::to(io::stdout(), config.format, clock);
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

impl Log {
    /// A log that ends in any writer, on a thread of its own.
    pub fn to(out: impl Write + Send + 'static, format: LogFormat, clock: &Clock) -> Log {
        let (lines, letters) = sync_channel(LINES_MAX);
        std::thread::spawn(move || write_out(&letters, out));
        Log(Arc::new(Inner { lines, dropped: Counter::default(), format, clock: clock.clone() }))
    }

    /// Writes one event that is already a value: its fields stand beside the time and the service.
    pub fn event(&self, level: &'static str, fields: &impl Serialize) {
        #[derive(Serialize)]
        struct Line<'a, T> {
            timestamp: String,
            level: &'static str,
            service: &'static str,
            #[serde(flatten)]
            fields: &'a T,
        }
        let line = Line { timestamp: self.timestamp(), level, service: "folio", fields };
        let text = match self.0.format {
            LogFormat::Json => serde_json::to_vec(&line).unwrap_or_default(),
            LogFormat::Pretty => pretty(&serde_json::to_value(&line).unwrap_or_default()).into_bytes(),
        };
        self.offer(text);
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

    fn timestamp(&self) -> String {
        self.0.clock.now().to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    fn offer(&self, mut line: Vec<u8>) {
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

fn pretty(line: &serde_json::Value) -> String {
    let fields = line
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !matches!(key.as_str(), "timestamp" | "level" | "service"));
    let fields = fields.map(|(key, value)| format!(" {key}={value}")).collect::<String>();
    let bare = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    format!("{} {:>5}{fields}", bare("timestamp"), bare("level"))
}

/// Turns events of the code into lines of JSON.
struct Json(Log);

impl<S: tracing::Subscriber> Layer<S> for Json {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Vec::with_capacity(256);
        // Writing into a Vec cannot fail.
        let _ = self.write(event, &mut line);
        self.0.offer(line);
    }
}

impl Json {
    fn write(&self, event: &tracing::Event<'_>, line: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut json = serde_json::Serializer::new(line);
        let mut map = json.serialize_map(None)?;
        map.serialize_entry("timestamp", &self.0.timestamp())?;
        map.serialize_entry("level", event.metadata().level().as_str())?;
        map.serialize_entry("service", "folio")?;
        map.serialize_entry("target", event.metadata().target())?;
        if trace() != 0 {
            map.serialize_entry("trace_id", &format!("{:032x}", trace()))?;
        }
        event.record(&mut Fields(&mut map));
        map.end()
    }
}

struct Fields<'a, M>(&'a mut M);

impl<M: serde::ser::SerializeMap> Fields<'_, M> {
    fn entry(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        // Writing into a Vec cannot fail.
        let _ = self.0.serialize_entry(field.name(), value);
    }
}

impl<M: serde::ser::SerializeMap> Visit for Fields<'_, M> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match value.len() <= FIELD_BYTES_MAX {
            true => self.entry(field, value),
            false => self.entry(field, &format!("{}[cut]", &value[..value.floor_char_boundary(FIELD_BYTES_MAX)])),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.entry(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.entry(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.entry(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.entry(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a log wrote, to look at.
    #[derive(Clone, Default)]
    struct Written(Arc<parking_lot::Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_event_is_one_json_object_whatever_its_fields_hold() {
        let (written, clock) = (Written::default(), Clock::manual());
        let log = Log::to(written.clone(), LogFormat::Json, &clock);
        let hostile = "\u{1b}[2J\r\nlevel=ERROR \"quoted\" \u{0}";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Json(log.clone())), || {
            super::super::under(0xabc, || tracing::warn!(event = "x.y", hostile, count = 3, "it happened"));
            tracing::info!(long = "ß".repeat(5_000));
        });
        log.flush();
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), lines[0]["hostile"].as_str()), (2, Some(hostile)));
        assert_eq!(lines[0]["trace_id"], format!("{:032x}", 0xabc));
        assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"WARN".into(), &"it happened".into()));
        let at = lines[0]["timestamp"].as_str().unwrap();
        assert!(at.len() == 24 && at.ends_with('Z') && lines[0]["service"] == "folio", "{at}");
        assert!(lines[1]["long"].as_str().unwrap().ends_with("[cut]") && lines[1].get("trace_id").is_none());
        assert!(!text.contains('\u{1b}'));
    }

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
            log.event("INFO", &serde_json::json!({ "number": number }));
        }
        assert!(log.dropped() >= LINES_MAX as u64 - 257, "{}", log.dropped());
        drop(go_on);
    }
}
