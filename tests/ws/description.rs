//! The description of live connections says what the code says, no less and no more.

use std::collections::BTreeSet;

use folio::ws::{calls, native};
use serde_json::Value;

use crate::support::http::Server;
use crate::support::raw::get;

/// The names of messages in the description, of those that are said, heard or asked.
fn described(document: &Value, of: &str) -> BTreeSet<String> {
    let messages = document["components"]["messages"].as_object().unwrap();
    messages.keys().filter_map(|it| it.strip_prefix(of)).map(str::to_owned).collect()
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_frame_and_every_request_is_described() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let document = get(server.address, "/api/v1/asyncapi.json", "").await.json();
    assert_eq!(document["asyncapi"], "3.0.0");
    assert_eq!(described(&document, "say."), names(native::OPS));
    assert_eq!(described(&document, "ask."), names(calls::names()));
    let protocol = std::fs::read_to_string("docs/protocol.md").unwrap();
    // That a frame which is sent is described, is asserted where it is sent.
    let heard = described(&document, "hear.");
    for name in names(native::OPS.into_iter().chain(calls::names())).union(&heard) {
        assert!(protocol.contains(&format!("`{name}`")), "{name} stands in docs/protocol.md");
    }
    let mut references = Vec::new();
    refer(&document, &mut references);
    for reference in references {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some(), "{reference} leads nowhere");
    }
    server.end().await;
}

/// Every reference in the document.
fn refer(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|it| refer(it, found));
        }
        Value::Array(all) => all.iter().for_each(|it| refer(it, found)),
        _ => {}
    }
}
