//! The stock npm client, on every transport.

use std::path::Path;
use std::process::Command;

use super::{echoing, house};
use crate::support::http::Server;
use crate::support::streams;

/// Runs a script with the client that `scripts/node` installed.
async fn run(server: &Server, script: &str, word: String) {
    let modules = std::env::var_os("TEST_NODE_MODULES").expect("scripts/node says where the client is");
    let path = Path::new("tests/ws").join(script);
    let mut command = Command::new("node");
    command.arg(path).arg(format!("http://{}", server.address)).arg(word).env("NODE_PATH", modules);
    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("node runs");
    let told = [ran.stdout, ran.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    assert!(ran.status.success(), "{told}");
}

#[tokio::test]
async fn it_talks_over_polling_and_sockets_and_moves_from_one_to_the_other() {
    let server = echoing(|_| ()).await;
    run(&server, "stock_client.js", String::new()).await;
    server.end().await;
}

#[tokio::test]
async fn it_recovers_what_it_missed_from_the_streams() {
    let server = Server::start_with(house::routes(), |_| ()).await;
    let stream = streams::stream(&server.app.storage.db).await;
    run(&server, "stock_recovery.js", stream.to_string()).await;
    server.end().await;
}
