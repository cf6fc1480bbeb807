//! What no honest client sends: each is closed or refused, and nothing is left behind.

use std::net::SocketAddr;
use std::time::Duration;

use folio::config::MessageRate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Socket, echoing, get, text};
use crate::support::http::until;

const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

async fn connected(address: SocketAddr) -> Socket {
    let mut socket = Socket::to(address, WEBSOCKET).await;
    socket.hears().await;
    socket.says("40").await;
    socket.hears().await;
    socket.hears().await;
    socket
}

#[tokio::test]
async fn packets_out_of_shape_or_turn_are_closed() {
    let server = echoing(|_| ()).await;
    let before = ["42[\"message\"]", "43", "45-[\"a\"]", "49", "4", "40[]", &format!("40/{},", "n".repeat(65_536))];
    for says in before {
        let mut socket = Socket::to(server.address, WEBSOCKET).await;
        socket.hears().await;
        socket.says(says).await;
        assert_eq!(socket.ends().await, 1002, "{says:.40}");
    }
    let after = [
        "42",
        "42{}",
        "42[]",
        "42[1]",
        "42[\"connect\"]",
        "42[\"disconnect\"]",
        "42[\"a\"",
        "42/custom,[\"a\"]",
        "42-1[\"a\"]",
        "4212345678901234567890123456789012345678901[\"a\"]",
        "42abc[\"a\"]",
        "43[1]",
        "431{}",
        "4533-[\"a\"]",
        "40",
        "7",
    ];
    for says in after {
        let mut socket = connected(server.address).await;
        socket.says(says).await;
        assert_eq!(socket.ends().await, 1002, "{says:.40}");
    }
    server.end().await;
}

#[tokio::test]
async fn attachments_belong_to_their_packet() {
    let server = echoing(|_| ()).await;
    let place = r#"{"_placeholder":true,"num":0}"#;
    let mut socket = connected(server.address).await;
    socket.sends(b"nothing announced me").await;
    assert_eq!(socket.ends().await, 1002);
    let mut socket = connected(server.address).await;
    socket.says(format!(r#"451-["message",{place}]"#)).await;
    socket.says(r#"42["message"]"#).await;
    assert_eq!(socket.ends().await, 1002, "text inside of a binary packet");
    for body in [
        r#"["message"]"#.to_owned(),
        format!(r#"["message",{place},{place}]"#),
        r#"["message",{"_placeholder":true,"num":7}]"#.to_owned(),
    ] {
        let mut socket = connected(server.address).await;
        socket.says(format!("451-{body}")).await;
        socket.sends(b"x").await;
        assert_eq!(socket.ends().await, 1002, "{body}");
    }
    let mut socket = connected(server.address).await;
    socket.says(format!(r#"452-["message",{place},{place}]"#)).await;
    socket.sends(&[0; 600_000]).await;
    socket.sends(&[0; 600_000]).await;
    assert_eq!(socket.ends().await, 1009);
    server.end().await;
}

#[tokio::test]
async fn what_is_too_much_is_told_and_in_the_end_closed() {
    let server = echoing(|config| {
        config.sockets.messages = Some(MessageRate { per_second: 20, burst: 40 });
        config.sockets.message_bytes_max = 65_536;
    });
    let server = server.await;
    let mut socket = connected(server.address).await;
    // Entering was one of forty.
    for _ in 0..39 {
        socket.says(r#"42["message"]"#).await;
        assert_eq!(socket.hears().await, r#"42["message-back"]"#);
    }
    for _ in 0..10 {
        socket.says(r#"42["message"]"#).await;
        assert!(socket.hears().await.contains("too_many_requests"));
    }
    assert_eq!(socket.ends().await, 1008);
    let mut socket = connected(server.address).await;
    socket.says(format!(r#"42["message","{}"]"#, "x".repeat(65_536))).await;
    assert_eq!(socket.ends().await, 1009);
    let mut socket = connected(server.address).await;
    for at in 0..15 {
        socket.says(format!("40/n{at},")).await;
        assert!(socket.hears().await.contains("Invalid namespace"));
    }
    for at in 0..40 {
        socket.says(format!("40/m{at},")).await;
    }
    assert_eq!(socket.ends().await, 1008, "nor is a namespace guessed");
    server.end().await;
}

#[tokio::test]
async fn one_address_has_so_many_sessions_and_gets_its_places_back() {
    let server = echoing(|config| config.sockets.sessions_per_address_max = 3).await;
    let target = "/socket.io/?EIO=4&transport=polling";
    let open = [connected(server.address).await, connected(server.address).await];
    assert_eq!(get(server.address, target).await.status, 200);
    assert_eq!(Socket::try_to(server.address, WEBSOCKET).await.err(), Some(429));
    let refused = get(server.address, target).await;
    assert_eq!((refused.status, refused.json()["error"].as_str()), (429, Some("too_many_requests")));
    drop(open);
    until("the places are free", || server.app.sockets.roll.count() == 1).await;
    connected(server.address).await;
    server.end().await;
}

#[tokio::test]
async fn clients_that_poll_and_never_move_over_are_served_and_forgotten() {
    let server = echoing(|config| config.sockets.sessions_per_address_max = 1_000).await;
    for _ in 0..200 {
        let heard = get(server.address, "/socket.io/?EIO=4&transport=polling").await;
        assert!(text(&heard).starts_with("0{"));
    }
    assert_eq!(server.app.sockets.roll.count(), 200);
    for _ in 0..3 {
        server.clock.advance(Duration::from_secs(25));
        tokio::task::yield_now().await;
    }
    until("nobody is left", || {
        server.clock.advance(Duration::from_secs(5));
        server.app.sockets.roll.count() == 0
    })
    .await;
    server.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_frames_are_closed_with_their_code() {
    let server = echoing(|_| ()).await;
    let masked = |first: u8, payload: &[u8]| [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat();
    for (name, bytes, code) in [
        ("not masked", vec![0x81, 2, b'h', b'i'], 1002_u16),
        ("a reserved bit", masked(0xc1, b"hi"), 1002),
        ("an unknown opcode", masked(0x83, b""), 1002),
        ("a ping of 126 bytes", [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0][..], &[0; 126]].concat(), 1002),
        ("2^63 announced", [&[0x82, 0xff][..], &(1_u64 << 63).to_be_bytes(), &[0; 4]].concat(), 1009),
        ("text that is not UTF-8", masked(0x81, b"4\xff\xfe"), 1007),
        ("a letter that is never finished", [masked(1, b"4\xe2\x82"), masked(0x80, b"")].concat(), 1007),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let path = "/engine.io/?EIO=4&transport=websocket";
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{key}\r\n").as_bytes()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let wanted = [&[0x88][..], &[0], &code.to_be_bytes()].concat();
        let mut heard = Vec::new();
        loop {
            let closes = heard.windows(4).any(|it: &[u8]| it[0] == wanted[0] && it[2..] == wanted[2..]);
            if closes {
                break;
            }
            assert!(stream.read_buf(&mut heard).await.unwrap() > 0, "{name}: no close frame");
        }
    }
    server.end().await;
}
