//! The stock npm client, on every transport.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::{echoing, house};
use crate::support::http::Server;
use crate::support::streams;

/// Runs a script with the client that `scripts/node` installed.
async fn run(server: &Server, script: &str, words: &[&str]) {
    let modules = std::env::var_os("TEST_NODE_MODULES").expect("scripts/node says where the client is");
    let path = Path::new("tests/ws").join(script);
    let mut command = Command::new("node");
    command.arg(path).arg(format!("http://{}", server.address)).args(words).env("NODE_PATH", modules);
    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("node runs");
    let told = [ran.stdout, ran.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    assert!(ran.status.success(), "{told}");
}

#[tokio::test]
async fn it_talks_over_polling_and_sockets_and_moves_from_one_to_the_other() {
    let server = echoing(|_| ()).await;
    run(&server, "stock_client.js", &[]).await;
    server.end().await;
}

#[tokio::test]
async fn it_recovers_what_it_missed_from_the_streams() {
    let server = Server::start_with(house::routes(), |_| ()).await;
    let stream = streams::stream(&server.app.storage.db).await;
    run(&server, "stock_recovery.js", &[&stream.to_string()]).await;
    server.end().await;
}

#[tokio::test]
async fn it_signs_in_recovers_follows_and_is_sent_away_at_the_door_of_people() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let (first, second) = (bob.begins(&[&ada]).await, bob.begins(&[&ada]).await);
    // Looks at who is here go by the clock of the server.
    let (clock, looking) = (server.clock.clone(), Arc::new(AtomicBool::new(true)));
    let looks = looking.clone();
    let ticking = crate::support::spawn(async move {
        while looks.load(Relaxed) {
            clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    run(&server, "stock_product.js", &[&ada.access, &bob.access, &first, &second, &bob.id]).await;
    looking.store(false, Relaxed);
    ticking.await.unwrap();
    server.end().await;
}
