//! `kill -9` of the whole program in the middle of a talk, again and again: what was acknowledged is there, nothing is
//! there twice, and whoever listened has the same list, in order and without a gap.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use folio::config::DatabaseConfig;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::crash::say;
use crate::cli::program::Serving;
use crate::support::engines::Fresh;
use crate::support::http::until;
use crate::support::people::{PASSWORD, Somebody, post, sign_in};
use crate::support::raw::{Heard, send_json};
use crate::support::spawn;
use crate::support::streams::assert_dense;
use crate::support::talks::at;

crate::on_both_engines! { whoever_talks_through_kills_has_what_was_acknowledged_and_whoever_listens_has_it_in_order }

/// A message that was acknowledged before is sent again now and then.
const AGAIN_EVERY: usize = 5;

/// A life in so many ends at any moment of its beginning.
const IDLE_EVERY: u64 = 5;

/// What one sender knows: the place and id of each message that was acknowledged, by its number.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<(i64, String)>,
    repeats: usize,
}

/// What one listener has heard: ids, the first one at place 1.
#[derive(Default)]
struct Listened {
    ids: Vec<String>,
    resumed: usize,
}

/// A server on the database, in a folder that stays.
fn serve(fresh: &Fresh) -> Serving {
    let mut command = Command::new(env!("CARGO_BIN_EXE_folio"));
    command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(fresh.folder.path()).env_clear();
    command.env("FOLIO_DATA_DIR", fresh.folder.path());
    command.env("FOLIO_RATE_LIMIT", "off").env("FOLIO_BCRYPT_COST", "10").env("FOLIO_LOG", "error");
    if let DatabaseConfig::Postgres { url, .. } = fresh.config() {
        command.env("FOLIO_DATABASE_URL", url.expose());
    }
    Serving::start(&mut command)
}

async fn person(address: SocketAddr, name: &str) -> Somebody {
    let body = json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
    let heard = post(address, "/api/v1/auth/register", "", &body).await;
    assert_eq!(heard.status, 201, "{}", heard.json());
    Somebody::of(address, name, &sign_in(address, name, PASSWORD).await.json())
}

/// Asks a server that may be killed meanwhile: nothing where no whole answer came.
async fn try_to_send(who: &Somebody, path: &str, body: &Value) -> Option<Heard> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(who.address).await.ok()?;
    stream.write_all(&send_json(&format!("POST {path}"), &who.bearer(), body.to_string().as_bytes())).await.ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.ok()?;
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let body = bytes[end + 4..].to_vec();
    serde_json::from_slice::<Value>(&body).ok()?;
    Some(Heard { status: head.get(9..12)?.parse().ok()?, head, body })
}

/// Says one message after the other until the server is gone.
async fn talk(who: Somebody, id: String, sent: Arc<Mutex<Sent>>, stop: Arc<AtomicBool>) {
    let path = at(&id, "/messages");
    let mut turn = 0;
    while !stop.load(Relaxed) {
        turn += 1;
        let next = sent.lock().acknowledged.len();
        let number = if turn % AGAIN_EVERY == 0 { next.saturating_sub(2) } else { next };
        let body =
            json!({ "text": format!("{} {number}", who.name), "client_id": format!("{}-{number:08}", who.name) });
        let Some(heard) = try_to_send(&who, &path, &body).await else { return };
        if heard.status == 503 {
            continue;
        }
        assert_eq!(heard.status, 201, "{}", heard.json());
        let stored = (heard.json()["seq"].as_i64().unwrap(), heard.json()["id"].as_str().unwrap().to_owned());
        let mut sent = sent.lock();
        match sent.acknowledged.get(number) {
            Some(first) => {
                assert_eq!(*first, stored, "a repeat was answered with another message");
                sent.repeats += 1;
            }
            None => sent.acknowledged.push(stored),
        }
    }
}

/// Listens from where it was until the server is gone.
async fn listen(who: Somebody, id: String, heard: Arc<Mutex<Listened>>) {
    let Ok((mut socket, _)) = tokio_tungstenite::connect_async(format!("ws://{}/ws", who.address)).await else {
        return;
    };
    let place = json!({ "stream": id, "epoch": 1, "seq": heard.lock().ids.len() });
    let connect = json!({ "op": "connect", "id": 1, "token": who.access, "streams": [place] });
    if socket.send(Message::text(connect.to_string())).await.is_err() {
        return;
    }
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        let frame: Value = serde_json::from_str(&text).unwrap();
        let mut heard = heard.lock();
        match frame["op"].as_str().unwrap() {
            "event" if frame["stream"] == id.as_str() => {
                assert_eq!(frame["seq"], heard.ids.len() as i64 + 1, "out of order, twice, or a gap: {frame}");
                heard.ids.push(frame["id"].as_str().unwrap().to_owned());
            }
            "resumed" => heard.resumed += 1,
            op @ ("reset" | "error") => panic!("{op}: {frame}"),
            _ => {}
        }
    }
}

async fn whoever_talks_through_kills_has_what_was_acknowledged_and_whoever_listens_has_it_in_order(fresh: &Fresh) {
    let kills: u64 = std::env::var("CRASH_KILLS").map_or(30, |it| it.parse().unwrap());
    let mut serving = serve(fresh);
    let address: SocketAddr = serving.address.parse().unwrap();
    let mut people = Vec::new();
    for name in ["ada", "bob", "eve"] {
        people.push(person(address, name).await);
    }
    let id = people[0].gathers("Ledger", &[&people[1], &people[2]]).await;
    let sent: Vec<Arc<Mutex<Sent>>> = people.iter().map(|_| Arc::default()).collect();
    let heard: Vec<Arc<Mutex<Listened>>> = people.iter().map(|_| Arc::default()).collect();
    for kill in 0..=kills {
        let address = serving.address.parse().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let now = |who: &Somebody| Somebody { address, ..who.clone() };
        let talks =
            people.iter().zip(&sent).map(|(who, sent)| spawn(talk(now(who), id.clone(), sent.clone(), stop.clone())));
        let talks: Vec<_> = talks.collect();
        let listens: Vec<_> =
            people.iter().zip(&heard).map(|(who, heard)| spawn(listen(now(who), id.clone(), heard.clone()))).collect();
        // Now and then it is killed before it has done anything.
        if kill % IDLE_EVERY > 0 || kill == kills {
            let before = count(&sent);
            until("somebody was heard", || count(&sent) > before).await;
        }
        // The moment is any moment: that is what is tried.
        tokio::time::sleep(Duration::from_millis((kill * 7_919) % 280)).await;
        if kill == kills {
            stop.store(true, Relaxed);
            for talk in talks {
                talk.await.unwrap();
            }
            let end = now(&people[0]).talk(&id).await["head"].as_i64().unwrap() as usize;
            let all = || heard.iter().all(|it| it.lock().ids.len() == end);
            until("everybody has heard everything", all).await;
            let history = all_messages(&now(&people[1]), &id).await;
            assert!(heard.iter().all(|it| it.lock().ids == history), "what was heard is what is there");
            serving.signal(Signal::KILL);
            let _ = serving.end();
            for task in listens {
                task.await.unwrap();
            }
            break;
        }
        serving.signal(Signal::KILL);
        let _ = serving.end();
        for task in talks.into_iter().chain(listens) {
            task.await.unwrap();
        }
        serving = serve(fresh);
    }
    let db = fresh.open().await;
    assert_dense(&db).await;
    let stored = account(&people, &sent, &heard[0].lock().ids);
    db.close().await;
    let resumed: usize = heard.iter().map(|it| it.lock().resumed).sum();
    say(format_args!("{:?}: {kills} kills, {stored}, {resumed} resumes", fresh.engine)).unwrap();
}

/// How many messages were acknowledged so far, again or for the first time.
fn count(sent: &[Arc<Mutex<Sent>>]) -> usize {
    let one = |it: &Sent| it.acknowledged.len() + it.repeats;
    sent.iter().map(|it| one(&it.lock())).sum()
}

/// Every message, the oldest first.
async fn all_messages(who: &Somebody, id: &str) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), 0);
    loop {
        let page = who.reads(id, &format!("?size=100&after={after}")).await;
        let Some(last) = page.last() else { return ids };
        after = last["seq"].as_i64().unwrap();
        ids.extend(page.iter().map(|it| it["id"].as_str().unwrap().to_owned()));
    }
}

/// Compares what was acknowledged with what is there.
fn account(people: &[Somebody], sent: &[Arc<Mutex<Sent>>], stored: &[String]) -> String {
    let places: HashMap<&String, i64> = stored.iter().zip(1..).collect();
    let (mut acknowledged, mut repeats) = (0, 0);
    for (who, sent) in people.iter().zip(sent) {
        let sent = sent.lock();
        for (number, (seq, id)) in sent.acknowledged.iter().enumerate() {
            assert_eq!(places.get(id), Some(seq), "{} {number} was acknowledged and is not there", who.name);
        }
        acknowledged += sent.acknowledged.len();
        repeats += sent.repeats;
    }
    assert_eq!(places.len(), stored.len(), "an id is there twice");
    // One message of each may have been stored by the last kill but one and never asked for again.
    assert!(stored.len() - acknowledged <= people.len(), "{} are stored, {acknowledged} acknowledged", stored.len());
    format!("{acknowledged} acknowledged, {} stored, {repeats} repeats", stored.len())
}
