//! Events of the code as lines of JSON: one object each, whatever its fields hold.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer as _};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer};

use super::{Log, trace};

const FIELD_BYTES_MAX: usize = 4_096;

/// Turns events of the code into lines of JSON.
pub(super) struct Json(pub(super) Log);

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
    use std::io::{self, Write};
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::under;
    use super::*;
    use crate::clock::Clock;
    use crate::config::LogFormat;

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
            under(0xabc, || tracing::warn!(event = "x.y", hostile, count = 3, "it happened"));
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
}
