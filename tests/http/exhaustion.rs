//! A server that has no file descriptors left goes on serving those it has, and takes new ones when some come back.

use std::net::SocketAddr;
use std::process::Command;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::cli::program::{Place, Serving};
use crate::support::eventually;
use crate::support::raw::{get, hear_one};

#[tokio::test]
async fn out_of_file_descriptors_the_server_waits_and_comes_back() {
    let place = Place::new();
    let mut limited = Command::new("sh");
    let command = format!("ulimit -n 96 && exec {} serve --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_folio"));
    limited.args(["-c", &command]).current_dir(place.path(".")).env("FOLIO_LOG", "warn");
    let server = Serving::start(&mut limited);
    let address: SocketAddr = server.address.parse().unwrap();
    let ask = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut first = TcpStream::connect(address).await.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..150 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..3 {
        first.write_all(ask).await.unwrap();
        assert_eq!(hear_one(&mut first).await.status, 200, "whoever was there is served");
    }
    // Connections wait in the kernel until they are accepted: the limit is met when it was their turn.
    eventually("the limit is met", async || {
        first.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let metrics = String::from_utf8(hear_one(&mut first).await.body).unwrap();
        let failures = metrics.lines().find_map(|it| it.strip_prefix("folio_http_accept_failures_total ")).unwrap();
        failures.parse::<u64>().unwrap() > 0
    })
    .await;
    drop(crowd);
    assert_eq!(get(address, "/health/live", "").await.status, 200, "and newcomers again");
}
