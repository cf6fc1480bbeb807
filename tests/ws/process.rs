//! Two people talk while the process is killed: afterwards both sides have the same list.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Socket;
use crate::cli::program::{Place, Serving};
use crate::support::people::{PASSWORD, Somebody, post, sign_in};
use crate::support::raw::{say, send_json};
use crate::support::spawn;

const SAID: usize = 40;

fn address(serving: &Serving) -> SocketAddr {
    serving.address.parse().unwrap()
}

/// Somebody new, signed in.
async fn person(at: SocketAddr, name: &str) -> Somebody {
    let body = json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
    assert_eq!(post(at, "/api/v1/auth/register", "", &body).await.status, 201);
    Somebody::of(at, name, &sign_in(at, name, PASSWORD).await.json())
}

/// Says one message after the other from a place on, until one is not answered.
async fn talk(ada: Somebody, conversation: String, acknowledged: Arc<AtomicUsize>) {
    let line = format!("POST /api/v1/chat/conversations/{conversation}/messages");
    while acknowledged.load(SeqCst) < SAID {
        let at = acknowledged.load(SeqCst);
        let body = json!({ "text": at.to_string(), "client_id": format!("message-{at:03}") });
        let answers = say(ada.address, send_json(&line, &ada.bearer(), body.to_string().as_bytes())).await;
        if answers.first().is_none_or(|it| it.status != 201) {
            return;
        }
        acknowledged.fetch_add(1, SeqCst);
    }
}

/// What a client has heard, and where it goes on.
#[derive(Default)]
struct Held {
    heard: Vec<(i64, String)>,
    pid: Option<String>,
    offset: Option<String>,
}

impl Held {
    fn take(&mut self, event: &Value) {
        if event["kind"] == "message" {
            self.heard.push((event["seq"].as_i64().unwrap(), event["body"]["text"].as_str().unwrap().to_owned()));
        }
    }

    /// Comes back with what is held, and hears until it has heard of so many.
    async fn native(&mut self, at: SocketAddr, bob: &Somebody, conversation: &str, until: usize) -> bool {
        let mut socket = Socket::to(at, "/ws").await;
        let seq = self.heard.last().map_or(0, |it| it.0);
        let place = json!([{ "stream": conversation, "epoch": 1, "seq": seq }]);
        socket.says(json!({ "op": "connect", "token": bob.access, "streams": place }).to_string()).await;
        while self.heard.len() < until {
            let Some(text) = socket.next().await.and_then(|it| it.into_text().ok()) else { return false };
            let Ok(told) = serde_json::from_str::<Value>(&text) else { return false };
            assert_ne!(told["op"], "error", "{told}");
            self.take(&told);
        }
        true
    }

    /// The same as a stock client.
    async fn stock(&mut self, at: SocketAddr, bob: &Somebody, until: usize) -> bool {
        let mut socket = Socket::to(at, "/socket.io/?EIO=4&transport=websocket").await;
        let auth = json!({ "token": bob.access, "pid": self.pid, "offset": self.offset });
        socket.says(format!("40{auth}")).await;
        while self.heard.len() < until {
            let Some(text) = socket.next().await.and_then(|it| it.into_text().ok()) else { return false };
            if let Some(welcome) = text.strip_prefix("40") {
                let told: Value = serde_json::from_str(welcome).unwrap();
                let pid = told["pid"].as_str().unwrap().to_owned();
                assert!(self.pid.as_ref().is_none_or(|it| *it == pid), "it is recovered");
                self.pid = Some(pid);
            }
            let Some(event) = text.strip_prefix("42").map(|it| serde_json::from_str::<Value>(it).unwrap()) else {
                continue;
            };
            assert_ne!(event[0], "reset", "{event}");
            if let Some(offset) = event[2].as_str() {
                self.offset = Some(offset.to_owned());
            }
            self.take(&event[1]);
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_in_the_middle_both_sides_have_the_same_list() {
    let place = Place::new();
    let first = place.serve(&["--set", "rate_limit=false", "--set", "bcrypt_cost=10"]);
    let at = address(&first);
    let (ada, bob) = (person(at, "ada").await, person(at, "bob").await);
    let group = json!({ "title": "walks", "user_ids": [bob.id] });
    let begun = ada.sends("POST", "/api/v1/chat/conversations", &group).await;
    let conversation = begun.json()["id"].as_str().unwrap().to_owned();
    let (acknowledged, mut native, mut stock) = (Arc::<AtomicUsize>::default(), Held::default(), Held::default());
    let talking = spawn(talk(ada.clone(), conversation.clone(), acknowledged.clone()));
    assert!(stock.stock(at, &bob, 3).await, "it hears what is said now");
    assert!(native.native(at, &bob, &conversation, 10).await);
    first.signal(Signal::KILL);
    assert_eq!(first.end().code, None);
    // The last one was not answered, or nobody was there to ask.
    let _ = talking.await;

    let second = place.serve(&["--set", "rate_limit=false"]);
    let at = address(&second);
    let ada = Somebody { address: at, ..ada };
    let talking = spawn(talk(ada.clone(), conversation.clone(), acknowledged.clone()));
    let missed = stock.heard[0].1.parse::<usize>().unwrap();
    let (whole, rest) =
        tokio::join!(native.native(at, &bob, &conversation, SAID), stock.stock(at, &bob, SAID - missed));
    talking.await.unwrap();
    assert!(whole && rest && acknowledged.load(SeqCst) == SAID);
    let history =
        ada.gets(&format!("/api/v1/chat/conversations/{conversation}/messages?after=0&size=100")).await.json();
    let stored: Vec<(i64, String)> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["seq"].as_i64().unwrap(), it["text"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(
        stored.iter().map(|it| it.1.clone()).collect::<Vec<_>>(),
        (0..SAID).map(|it| it.to_string()).collect::<Vec<_>>()
    );
    assert_eq!(native.heard, stored, "each once, in order");
    stock.heard.dedup();
    assert_eq!(stock.heard, stored[missed..], "from where it began");
    second.signal(Signal::TERM);
    second.end().with(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_the_process_sends_clients_away_to_come_back_and_ends_well() {
    let place = Place::new();
    let serving = place.serve(&["--set", "bcrypt_cost=10"]);
    let ada = person(address(&serving), "ada").await;
    let mut socket = Socket::to(ada.address, "/ws").await;
    socket.says(json!({ "op": "connect", "token": ada.access }).to_string()).await;
    assert_eq!(socket.hears_json().await["op"], "connected");
    serving.signal(Signal::TERM);
    assert_eq!(socket.hears_json().await["op"], "reconnect");
    assert_eq!(socket.ends().await, 1012);
    drop(socket);
    serving.end().with(0);
}
