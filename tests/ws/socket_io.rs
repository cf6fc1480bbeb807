//! Socket.IO 5 by its published behaviour, case by case.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::{Socket, echoing, get, post, text};
use crate::support::http::Server;

const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

async fn serving() -> (Server, SocketAddr) {
    let server = echoing(|_| ()).await;
    let address = server.address;
    (server, address)
}

/// A socket on which Engine.IO has said its word.
async fn raw(address: SocketAddr) -> Socket {
    let mut socket = Socket::to(address, WEBSOCKET).await;
    assert!(socket.hears().await.starts_with("0{"));
    socket
}

/// A socket that has entered the main namespace.
async fn connected(address: SocketAddr) -> Socket {
    let mut socket = raw(address).await;
    socket.says("40").await;
    assert!(socket.hears().await.starts_with("40{"));
    assert_eq!(socket.hears().await, r#"42["auth",{}]"#);
    socket
}

#[tokio::test]
async fn a_client_enters_a_namespace_with_or_without_a_payload() {
    let (server, address) = serving().await;
    for (says, prefix, auth) in [
        ("40", "40", r#"42["auth",{}]"#),
        (r#"40{"token":"123"}"#, "40", r#"42["auth",{"token":"123"}]"#),
        ("40/custom,", "40/custom,", r#"42/custom,["auth",{}]"#),
        (r#"40/custom,{"token":"abc"}"#, "40/custom,", r#"42/custom,["auth",{"token":"abc"}]"#),
    ] {
        let mut socket = raw(address).await;
        socket.says(says).await;
        let heard = socket.hears().await;
        let answer: Value = serde_json::from_str(heard.strip_prefix(prefix).expect("the same namespace")).unwrap();
        assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["sid"]);
        assert_eq!(socket.hears().await, auth);
    }
    let mut socket = raw(address).await;
    socket.says("40/random").await;
    assert_eq!(socket.hears().await, r#"44/random,{"message":"Invalid namespace"}"#);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_enters_nothing_in_time_is_closed() {
    let (server, address) = serving().await;
    let mut socket = raw(address).await;
    server.clock.advance(Duration::from_secs(10));
    assert_eq!(socket.ends().await, 4401);
    let mut socket = raw(address).await;
    socket.says("4abc").await;
    assert_eq!(socket.ends().await, 1002);
    server.end().await;
}

#[tokio::test]
async fn leaving_a_namespace_ends_nothing_else() {
    let (server, address) = serving().await;
    let mut socket = connected(address).await;
    socket.says("40/custom").await;
    assert!(socket.hears().await.starts_with("40/custom,{"));
    assert_eq!(socket.hears().await, r#"42/custom,["auth",{}]"#);
    socket.says("41/custom").await;
    socket.says(r#"42["message","message to main namespace"]"#).await;
    assert_eq!(socket.hears().await, r#"42["message-back","message to main namespace"]"#);
    socket.says("41").await;
    server.clock.advance(Duration::from_secs(25));
    assert_eq!(socket.hears().await, "2", "it may enter again");
    server.end().await;
}

#[tokio::test]
async fn events_and_acknowledgements_carry_json_and_bytes() {
    let (server, address) = serving().await;
    let mut socket = connected(address).await;
    socket.says(r#"42["message",1,"2",{"3":[true]}]"#).await;
    assert_eq!(socket.hears().await, r#"42["message-back",1,"2",{"3":[true]}]"#);
    socket.says(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#).await;
    assert_eq!(socket.hears().await, r#"43456[1,"2",{"3":[false]}]"#);
    let places = r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
    for (says, back) in [
        (format!(r#"452-["message",{places}]"#), format!(r#"452-["message-back",{places}]"#)),
        (format!(r#"452-789["message-with-ack",{places}]"#), format!("462-789[{places}]")),
    ] {
        socket.says(says).await;
        socket.sends(&[1, 2, 3]).await;
        socket.sends(&[4, 5, 6]).await;
        assert_eq!(socket.hears().await, back);
        assert_eq!((socket.hears_bytes().await, socket.hears_bytes().await), (vec![1, 2, 3], vec![4, 5, 6]));
    }
    server.end().await;
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_not_heard() {
    let (server, address) = serving().await;
    let mut socket = connected(address).await;
    socket.says(r#"437["nobody asked"]"#).await;
    socket.says(r#"461-1[{"_placeholder":true,"num":0}]"#).await;
    socket.sends(b"well").await;
    socket.says(r#"42["message","still here"]"#).await;
    assert_eq!(socket.hears().await, r#"42["message-back","still here"]"#);
    server.end().await;
}

#[tokio::test]
async fn polling_carries_the_same() {
    let (server, address) = serving().await;
    let heard = get(address, POLLING).await;
    let opened: Value = serde_json::from_str(&text(&heard)[1..]).unwrap();
    let target = format!("{POLLING}&sid={}", opened["sid"].as_str().unwrap());
    let takes = async |count: usize| {
        let mut all = Vec::new();
        while all.len() < count {
            let heard = get(address, &target).await;
            all.extend(text(&heard).split('\u{1e}').map(str::to_owned));
        }
        all
    };
    assert_eq!(post(address, &target, b"40").await.status, 200);
    let heard = takes(2).await;
    assert!(heard[0].starts_with("40{") && heard[1] == r#"42["auth",{}]"#, "{heard:?}");
    let place = r#"{"_placeholder":true,"num":0}"#;
    let says = format!("42[\"message\",1]\u{1e}451-7[\"message-with-ack\",{place}]\u{1e}bAQID");
    assert_eq!(post(address, &target, says.as_bytes()).await.status, 200);
    assert_eq!(takes(3).await, [r#"42["message-back",1]"#.to_owned(), format!("461-7[{place}]"), "bAQID".to_owned()]);
    server.end().await;
}
