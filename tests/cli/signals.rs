//! What signals do to a running server: read the settings again, stop, stop at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::program::{Place, Serving, WITHIN};

/// The burst that an address is allowed, as an answer tells it.
fn burst(serving: &Serving) -> Option<String> {
    let mut stream = TcpStream::connect(&serving.address).unwrap();
    stream.write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find_map(|it| it.strip_prefix("ratelimit-limit: "))?;
    Some(line.to_owned())
}

fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
    }
}

#[test]
fn a_hangup_takes_limits_and_levels_anew_and_keeps_the_old_ones_when_anything_is_wrong() {
    let place = Place::new();
    let file = place.write("settings.toml", "rate_per_address_burst = 700\n");
    let serving = place.serve(&["--config", file.to_str().unwrap()]);
    assert_eq!(burst(&serving).as_deref(), Some("700"));
    place.write("settings.toml", "rate_per_address_burst = 5000\nlog = \"debug\"\n");
    serving.signal(Signal::HUP);
    eventually("the new limit holds", || burst(&serving).as_deref() == Some("5000"));
    place.write("settings.toml", "rate_per_address_burst = 4000\nlog = \"loud\"\n");
    serving.signal(Signal::HUP);
    // The next good file tells that the bad one was read and refused.
    place.write("settings.toml", "rate_limit = false\n");
    serving.signal(Signal::HUP);
    eventually("nothing is limited", || {
        let burst = burst(&serving);
        assert_ne!(burst.as_deref(), Some("4000"), "a file with a mistake changes nothing");
        burst.is_none()
    });
    serving.signal(Signal::TERM);
    serving.end().with(0);
}

#[test]
fn a_second_signal_ends_a_server_that_waits_for_a_client() {
    let place = Place::new();
    let serving = place.serve(&["--set", "write_within=1h", "--set", "drain_within=1h"]);
    let mut stream = TcpStream::connect(&serving.address).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // A client that asks and asks, and reads no answer, until neither side takes any more.
    while stream.write_all(&b"GET /api/docs HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100)).is_ok() {}
    serving.signal(Signal::TERM);
    eventually("nobody new is taken", || TcpStream::connect(&serving.address).is_err());
    serving.signal(Signal::TERM);
    serving.end().with(1);
}
