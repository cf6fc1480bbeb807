//! `folio doctor` on broken surroundings: what is wrong, what to do, no password shown.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::program::{Place, ended};

#[test]
fn nothing_is_wrong_with_an_empty_machine_and_nothing_is_made() {
    let place = Place::new();
    let said = place.run(&["doctor"]).with(0).says("the first start makes it");
    assert!(!said.out.contains("FAILED"), "{said:#?}");
    assert!(place.names().is_empty());
}

#[test]
fn servers_that_are_away_are_named_with_what_to_do_and_without_passwords() {
    let place = Place::new();
    let mut command = place.folio(&["doctor", "--json"]);
    command.env("FOLIO_DATABASE_URL", "postgres://ada:hush-hush-7@127.0.0.1:1/folio");
    command.env("FOLIO_REDIS_URL", "redis://:hush-hush-7@127.0.0.1:1/0");
    command.env("FOLIO_AMQP_URL", "amqp://ada:hush-hush-7@127.0.0.1:1/folio");
    command.env("FOLIO_S3_URL", "http://ada:hush-hush-7@127.0.0.1:1/bucket");
    command.env("FOLIO_ELASTICSEARCH_URL", "http://ada:hush-hush-7@127.0.0.1:1");
    let said = ended(&mut command).with(1).hides("hush-hush-7");
    let page: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(page["ok"], false);
    for what in ["database", "cache", "bus", "broker", "objects", "search"] {
        let findings = page["findings"].as_array().unwrap();
        let finding = findings.iter().find(|it| it["what"] == what).unwrap();
        assert_eq!(finding["state"], "failed");
        assert!(finding["detail"].as_str().unwrap().contains("127.0.0.1:1: nothing listens there"), "{finding}");
        assert!(finding["advice"].as_str().unwrap().contains("start the server"), "{finding}");
    }
}

#[test]
fn a_search_engine_says_its_name_and_version() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let body = r#"{"version":{"distribution":"opensearch","number":"2.19.1"}}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).unwrap();
    });
    let place = Place::new();
    let mut command = place.folio(&["doctor"]);
    let said = ended(command.env("FOLIO_ELASTICSEARCH_URL", format!("http://{address}"))).with(0);
    said.says("opensearch 2.19.1, answers in ");
}

#[test]
fn every_real_server_is_found_well() {
    let place = Place::new();
    let mut command = place.folio(&["doctor", "--json"]);
    for name in ["POSTGRES", "REDIS", "AMQP", "S3", "ELASTICSEARCH"] {
        let url = std::env::var(format!("TEST_{name}_URL"))
            .expect("start the servers: scripts/services up, and run through scripts/test");
        command.env(format!("FOLIO_{}_URL", if name == "POSTGRES" { "DATABASE" } else { name }), url);
    }
    let said = ended(&mut command).with(0);
    let page: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    for finding in page["findings"].as_array().unwrap() {
        assert_eq!(finding["state"], "ok", "{finding}");
        let embedded = ["settings", "data folder", "disk", "mail"].contains(&finding["what"].as_str().unwrap());
        assert!(embedded || finding["version"].is_string() && finding["latency_ms"].is_number(), "{finding}");
        assert!(finding["what"] != "broker" || finding["version"].as_str().unwrap().starts_with("3."), "{finding}");
    }
    assert!(place.names().is_empty());
}
