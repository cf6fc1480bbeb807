//! Live connections of people, through the front door: who comes in, with what, and how it ends.

use std::time::Duration;

use folio::actors::auth::Role;
use folio::ids::{StreamId, UserId};
use folio::storage::streams::StreamStore;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Socket;
use super::house::say;
use super::sse::reads;
use crate::support::http::{Server, until};
use crate::support::people::{PASSWORD, Somebody, post};
use crate::support::raw::get;

pub async fn serving() -> Server {
    Server::start(folio::http::routes(), |_| ()).await
}

/// The stream of somebody, and that it is there.
async fn own_stream(server: &Server, somebody: &Somebody) -> StreamId {
    let stream = somebody.id.parse::<UserId>().unwrap().stream();
    StreamStore { db: server.app.storage.db.clone() }.ensure(&[stream], "user").await.unwrap();
    stream
}

/// A native client that shows something, and what it hears first.
pub async fn shows(server: &Server, proof: Value, streams: Value) -> (Socket, Value) {
    let mut socket = Socket::to(server.address, "/ws").await;
    let mut connect = json!({"op": "connect", "id": 1, "streams": streams});
    connect.as_object_mut().unwrap().extend(proof.as_object().unwrap().clone());
    socket.says(connect.to_string()).await;
    let told = socket.hears_json().await;
    (socket, told)
}

pub async fn signed_in(server: &Server, somebody: &Somebody) -> Socket {
    let (socket, told) = shows(server, json!({"token": somebody.access}), json!([])).await;
    assert_eq!((&told["op"], &told["user"]), (&json!("connected"), &json!(somebody.id)));
    socket
}

async fn ticket(somebody: &Somebody) -> String {
    let heard = somebody.sends("POST", "/api/v1/realtime/ticket", &json!({})).await;
    assert_eq!((heard.status, heard.json()["expires_in"].as_i64()), (200, Some(30)), "{}", heard.json());
    heard.json()["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_opens_a_socket_and_ones_own_stream_but_nobody_elses() {
    let server = serving().await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let streams = json!([{"stream": ada.id, "epoch": 1, "seq": 0}, {"stream": bob.id}]);
    let (mut socket, told) = shows(&server, json!({"token": ada.access}), streams).await;
    assert_eq!(told["op"], "connected");
    let own = json!({"op": "resumed", "stream": ada.id, "epoch": 1, "seq": 0});
    assert_eq!(socket.hears_json().await, own, "it is empty until something is said");
    let other = socket.hears_json().await;
    assert_eq!((&other["op"], &other["reason"]), (&json!("reset"), &json!("not_found")));
    let stream = own_stream(&server, &ada).await;
    say(&server.app, stream, None, &json!("hello")).await.unwrap();
    let event = socket.hears_json().await;
    assert_eq!((&event["seq"], &event["body"]["text"]), (&json!(1), &json!("hello")));
    let (mut nobody, refused) = shows(&server, json!({"token": "nonsense"}), json!([])).await;
    assert_eq!((&refused["code"], nobody.ends().await), (&json!("unauthenticated"), 4401));
    let (mut neither, refused) = shows(&server, json!({}), json!([])).await;
    assert_eq!(refused["code"], "invalid");
    neither.says(json!({"op": "connect", "token": ada.access}).to_string()).await;
    assert_eq!(neither.hears_json().await["op"], "connected", "it may try again");
    server.end().await;
}

#[tokio::test]
async fn a_ticket_opens_one_socket_within_half_a_minute() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let first = ticket(&ada).await;
    let (_socket, told) = shows(&server, json!({"ticket": first}), json!([])).await;
    assert_eq!(told["user"], json!(ada.id));
    let (mut again, _) = shows(&server, json!({"ticket": first}), json!([])).await;
    assert_eq!(again.ends().await, 4401, "good once");
    let beside = server.beside(folio::http::routes()).await;
    let (mut elsewhere, _) = shows(&beside, json!({"ticket": first}), json!([])).await;
    assert_eq!(elsewhere.ends().await, 4401, "on every node");
    let (_socket, told) = shows(&beside, json!({"ticket": ticket(&ada).await}), json!([])).await;
    assert_eq!(told["user"], json!(ada.id));
    let late = ticket(&ada).await;
    server.clock.advance(Duration::from_secs(30));
    let (mut socket, _) = shows(&server, json!({"ticket": late}), json!([])).await;
    assert_eq!(socket.ends().await, 4401, "too late");
    for bad in [String::new(), "x.y".to_owned(), format!("{}A", ticket(&ada).await), "A".repeat(5_000)] {
        let (mut socket, _) = shows(&server, json!({"ticket": bad}), json!([])).await;
        assert_eq!(socket.ends().await, 4401, "{bad:.40}");
    }
    let unused = ticket(&ada).await;
    ada.sends("POST", "/api/v1/auth/logout", &json!({})).await;
    let (mut socket, _) = shows(&server, json!({"ticket": unused}), json!([])).await;
    assert_eq!(socket.ends().await, 4401, "the session has ended");
    assert_eq!(post(server.address, "/api/v1/realtime/ticket", "", &json!({})).await.status, 401);
    beside.end().await;
    server.end().await;
}

#[tokio::test]
async fn who_signs_out_is_banned_or_changes_roles_is_cut_off_on_every_node() {
    let server = serving().await;
    let beside = server.beside(folio::http::routes()).await;
    let (admin, ada) = (server.with_role("root1", Role::Admin).await, server.with_user("ada").await);
    let other = ada.again().await;
    let (mut here, mut there) = (signed_in(&server, &ada).await, signed_in(&beside, &ada).await);
    let (mut kept, mut stock) = (signed_in(&server, &other).await, stock(&beside, &ada).await);
    ada.sends("POST", "/api/v1/auth/logout", &json!({})).await;
    assert_eq!(here.ends().await, 4401);
    beside.clock.advance(Duration::from_secs(1));
    assert_eq!((there.ends().await, stock.ends().await), (4401, 4401));
    kept.says(r#"{"op":"ping"}"#).await;
    assert_eq!(kept.hears_json().await["op"], "pong", "another session of hers");
    let role = admin.sends("PUT", &format!("/api/v1/admin/users/{}/role", ada.id), &json!({"role": "seller"})).await;
    assert!(role.status < 300, "{} {}", role.status, role.json());
    assert_eq!(kept.ends().await, 4401, "what she may do has changed: she comes with a new token");
    let again = ada.again().await;
    let mut back = signed_in(&server, &again).await;
    let ban = admin.sends("PUT", &format!("/api/v1/admin/users/{}/ban", ada.id), &json!({"reason": "spam"})).await;
    assert!(ban.status < 300, "{} {}", ban.status, ban.json());
    assert_eq!(back.ends().await, 4401);
    let (mut banned, _) = shows(&server, json!({"token": again.access}), json!([])).await;
    assert_eq!(banned.ends().await, 4401);
    beside.end().await;
    server.end().await;
}

/// A stock client, as it speaks on a socket, let in.
pub async fn stock(server: &Server, somebody: &Somebody) -> Socket {
    let mut socket = Socket::to(server.address, "/socket.io/?EIO=4&transport=websocket").await;
    assert!(socket.hears().await.starts_with('0'));
    socket.says(format!("40{}", json!({"token": somebody.access}))).await;
    let told = socket.hears().await;
    assert!(told.starts_with(r#"40{"sid":"#) && told.contains(r#""pid":"#), "{told}");
    assert!(socket.hears().await.starts_with(r#"42["resumed",{"#), "its own stream is followed unasked");
    socket
}

#[tokio::test]
async fn a_stock_client_hears_its_stream_renews_its_token_and_is_refused_by_name() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let stream = own_stream(&server, &ada).await;
    let mut socket = stock(&server, &ada).await;
    say(&server.app, stream, None, &json!("hello")).await.unwrap();
    let event: Value = serde_json::from_str(&socket.hears().await[2..]).unwrap();
    assert_eq!((&event[0], &event[1]["body"]["text"]), (&json!("new_message"), &json!("hello")));
    assert!(event[2].as_str().is_some_and(|it| it.len() <= 64), "{event}");
    socket.says(format!(r#"421["token",{}]"#, json!({"token": ada.again().await.access}))).await;
    assert_eq!(socket.hears().await, "431[{}]");
    let (long, many) =
        (format!(r#"422["{}",{{}}]"#, "n".repeat(10_240)), format!(r#"422["token"{}]"#, ",0".repeat(255)));
    for (says, code) in [
        (r#"422["fly",{}]"#, "unknown_request"),
        (&long, "unknown_request"),
        (&many, "unsupported"),
        (r#"422["token",{"key":1}]"#, "invalid"),
    ] {
        socket.says(says).await;
        let told: Value = serde_json::from_str(&socket.hears().await[3..]).unwrap();
        assert_eq!(told[0]["error"]["data"]["code"], code, "{told}");
    }
    let mut nobody = Socket::to(server.address, "/socket.io/?EIO=4&transport=websocket").await;
    nobody.hears().await;
    nobody.says(r#"40{"token":"nonsense"}"#).await;
    assert!(nobody.hears().await.starts_with(r#"44{"message":"the token is not valid","data":{"code":"unauth"#));
    server.end().await;
}

/// An event source with these headers.
pub async fn source(server: &Server, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn an_event_source_signs_in_by_header_or_cookie_and_comes_back_where_it_was() {
    let server = serving().await;
    let ada = server.with_user("ada").await;
    let stream = own_stream(&server, &ada).await;
    let mut first = source(&server, &ada.bearer()).await;
    reads(&mut first, "event: resumed\n").await;
    say(&server.app, stream, None, &json!("one")).await.unwrap();
    let heard = reads(&mut first, "\"one\"").await;
    let id = heard.lines().find_map(|it| it.strip_prefix("id: ")).expect("an id").to_owned();
    drop(first);
    say(&server.app, stream, None, &json!("two")).await.unwrap();
    let body = json!({ "username": "ada", "password": PASSWORD, "cookies": true });
    let heard = post(server.address, "/api/v1/auth/login", "", &body).await;
    let cookie = heard.head.lines().find_map(|it| it.strip_prefix("set-cookie: folio_access=")).unwrap();
    let cookie = format!("Cookie: folio_access={}\r\n", cookie.split(';').next().unwrap());
    let mut back = source(&server, &format!("{cookie}Last-Event-ID: {id}\r\n")).await;
    let heard = reads(&mut back, "event: resumed\n").await;
    assert!(heard.contains("\"two\"") && !heard.contains("\"one\""), "{heard}");
    server.clock.advance(Duration::from_secs(16 * 60));
    let mut late = source(&server, &format!("{cookie}Last-Event-ID: {id}\r\n")).await;
    let heard = reads(&mut late, "event: resumed\n").await;
    assert!(heard.contains("\"reason\":\"expired\"") && !heard.contains("\"two\""), "{heard}");
    ada.sends("POST", "/api/v1/auth/logout-all", &json!({})).await;
    let heard = reads(&mut back, "event: close\n").await;
    assert!(heard.contains("event: close\n"), "{heard}");
    assert_eq!(get(server.address, "/api/v1/events", &cookie).await.status, 401);
    assert_eq!(get(server.address, "/api/v1/events", "").await.status, 401);
    server.end().await;
}

#[tokio::test]
async fn a_token_that_runs_out_takes_its_socket_along_unless_another_is_shown() {
    let server = Server::start_with(folio::http::routes(), |it| it.auth.access_lives = Duration::from_secs(70)).await;
    let ada = server.with_user("ada").await;
    let (mut kept, mut left) = (signed_in(&server, &ada).await, signed_in(&server, &ada).await);
    server.clock.advance(Duration::from_secs(11));
    for socket in [&mut kept, &mut left] {
        assert_eq!(socket.hears_json().await["op"], "auth_expiring");
    }
    let next = Somebody::of(server.address, "ada", &ada.refreshes().await.json());
    kept.says(json!({"op": "token", "id": 2, "token": next.access}).to_string()).await;
    assert_eq!(kept.hears_json().await["op"], "reply");
    for _ in 0..6 {
        server.clock.advance(Duration::from_secs(10));
        kept.says(r#"{"op":"pong"}"#).await;
        left.says(r#"{"op":"pong"}"#).await;
    }
    assert_eq!(left.ends().await, 4401);
    kept.says(r#"{"op":"ping"}"#).await;
    while kept.hears_json().await["op"] != "pong" {}
    server.end().await;
}

#[tokio::test]
async fn a_stop_sends_everybody_away_and_they_resume_on_another_node() {
    let mut server = serving().await;
    let ada = server.with_user("ada").await;
    let stream = own_stream(&server, &ada).await;
    let beside = server.beside(folio::http::routes()).await;
    let streams = json!([{"stream": stream, "epoch": 1, "seq": 0}]);
    let (mut socket, _) = shows(&server, json!({"token": ada.access}), streams).await;
    assert_eq!(socket.hears_json().await["op"], "resumed");
    say(&server.app, stream, None, &json!("one")).await.unwrap();
    assert_eq!(socket.hears_json().await["seq"], 1);
    let address = server.address;
    server.begin_to_stop();
    let told = socket.hears_json().await;
    assert_eq!(told["op"], "reconnect");
    assert!(told["after_ms"].as_u64().is_some_and(|it| it <= 10_000), "{told}");
    assert_eq!(socket.ends().await, 1012);
    drop(socket);
    until("nobody listens any more", || std::net::TcpStream::connect(address).is_err()).await;
    say(&beside.app, stream, None, &json!("two")).await.unwrap();
    let held = json!([{"stream": stream, "epoch": 1, "seq": 1}]);
    let (mut socket, _) = shows(&beside, json!({"token": ada.access}), held).await;
    assert_eq!(socket.hears_json().await["seq"], 2);
    assert_eq!(socket.hears_json().await["op"], "resumed");
    assert!(server.stopped().await);
    drop(socket);
    beside.end().await;
    server.end().await;
}
