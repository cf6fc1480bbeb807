//! The command line itself: exit codes, pipes that break, odd arguments, stopping.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;

use super::program::{Place, WITHIN, ended};

#[test]
fn a_wrong_command_line_is_told_so() {
    let place = Place::new();
    let long = "x".repeat(100_000);
    for arguments in [
        &["--nonsense"][..],
        &["--listen"],
        &["--set", "listen"],
        &["nonsense"],
        &["\u{1f600}"],
        &["serve", "--", "--listen"],
        &["config"],
        &["config", "nonsense"],
        &["keys"],
        &["healthcheck", "--url"],
        &[&long],
        &["config", &long],
    ] {
        let refused = place.run(arguments).with(64);
        assert!(refused.err.starts_with("folio: ") && refused.err.len() < 10_000, "{refused:#?}");
        assert!(refused.out.is_empty(), "{refused:#?}");
    }
    assert!(place.names().is_empty());
}

#[test]
fn help_and_version_are_answers() {
    let place = Place::new();
    place.run(&["--help"]).with(0).says("Without a command it serves");
    place.run(&["--version"]).with(0).says(env!("CARGO_PKG_VERSION"));
    for command in ["serve", "migrate", "config", "admin", "keys", "healthcheck", "mail", "doctor"] {
        place.run(&[command, "--help"]).with(0).says("--data-dir");
    }
}

#[test]
fn a_reader_that_stops_reading_does_no_harm() {
    let place = Place::new();
    for arguments in [&["--help"][..], &["config", "show"], &["config", "sample", "--markdown"], &["doctor"]] {
        let mut child = place.folio(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn an_answer_that_finds_no_room_is_a_failure() {
    let place = Place::new();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let status = place.folio(&["config", "show"]).stdout(full()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let mut child = place.folio(&["config", "nonsense"]).stderr(full()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(64));
}

#[test]
fn a_port_that_is_taken_is_told_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = Place::new().run(&["--listen", &address]).with(1);
    refused.says(&format!("cannot listen on {address}: another program listens there")).says("--listen");
    let refused = Place::new().run(&["--listen", "127.0.0.1:0", "--set", &format!("ops_listen={address}")]).with(1);
    refused.says(&address);
}

#[test]
fn a_server_ends_well_when_it_is_told_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let serving = place.serve(&[]);
        serving.signal(signal);
        serving.end().with(0);
    }
}

#[test]
fn a_server_becomes_ready_and_says_so() {
    let place = Place::new();
    let serving = place.serve(&[]);
    let deadline = Instant::now() + WITHIN;
    while place.run(&["healthcheck", "--listen", &serving.address]).code != Some(0) {
        assert!(Instant::now() < deadline, "never ready");
    }
    place.run(&["healthcheck", "--url", &format!("http://{}/health", serving.address)]).with(0);
    place.run(&["healthcheck", "--url", &format!("http://{}/nowhere", serving.address)]).with(1).says("404");
}

#[test]
fn a_healthcheck_says_whether_a_server_is_ready() {
    let place = Place::new();
    for (answer, code, text) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 0, "Folio is ready."),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"unhealthy\"}", 1, "answers 503: {\"status\""),
        ("220 mail.example ESMTP\r\n", 1, "the answer is no HTTP"),
        ("", 1, "the answer is no HTTP"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        place.run(&["healthcheck", "--listen", &address]).with(code).says(text);
        assert!(server.join().unwrap().starts_with("GET /health/ready HTTP/1.1\r\n"));
    }
    place.run(&["healthcheck", "--listen", "127.0.0.1:1"]).with(1).says("does not answer");
    for url in ["https://127.0.0.1/", "nonsense", "http://", "http://127.0.0.1:1/health"] {
        place.run(&["healthcheck", "--url", url]).with(1).says("does not answer");
    }
    let mut wrong = place.folio(&["healthcheck"]);
    ended(wrong.env("FOLIO_LISTEN", "x")).with(78);
}
