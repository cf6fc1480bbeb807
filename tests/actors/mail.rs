//! Letters on their way to a server that takes them, does not, or is not there.

use std::time::Duration;

use folio::config::{Config, Secret};
use folio::http::Routes;
use folio::ids::v7;
use folio::storage::mails::{self, Kept, Letter};
use uuid::Uuid;

use crate::support::http::Server;
use crate::support::letters::{Arrived, MailServer, Says, Tls};
use crate::support::raw::get;
use crate::support::vouched::vouched_for;
use crate::support::{eventually, soon};

async fn serving(url: Option<String>) -> Server {
    Server::start_with(Routes::default(), |it| it.mail.server = url.map(Secret::new)).await
}

async fn write(server: &Server, recipient: &str) -> Uuid {
    let (id, created_at) = (v7(&server.clock), server.clock.now());
    let (recipient, subject, body) =
        (recipient.to_owned(), "Grüße".to_owned(), "Open https://folio.example/?t=1".to_owned());
    let letter = Letter { id, user_id: None, recipient, subject, body, created_at };
    let mut tx = server.app.storage.db.begin().await.unwrap();
    mails::append(&mut tx, &letter).await.unwrap();
    tx.commit().await.unwrap();
    server.app.actors.mail.written();
    id
}

async fn kept(server: &Server, id: Uuid) -> Kept {
    mails::find(&server.app.storage.db, id).await.unwrap().unwrap()
}

async fn arrives(post: &mut MailServer) -> Arrived {
    soon("a letter arrives", post.arrived.recv()).await.unwrap()
}

/// Moves the clock on until something holds.
async fn in_time(server: &Server, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, async || {
        server.clock.advance(Duration::from_secs(30));
        holds().await
    })
    .await;
}

#[tokio::test]
async fn a_letter_goes_as_soon_as_it_is_committed_and_its_text_is_not_kept() {
    let mut post = MailServer::start().await;
    let server = serving(Some(post.url())).await;
    let id = write(&server, "ada@example.org").await;
    let arrived = arrives(&mut post).await;
    assert_eq!((arrived.from.as_str(), arrived.to.as_str()), ("folio@localhost", "ada@example.org"));
    let text = arrived.text;
    assert!(
        text.contains(&format!("Message-ID: <{id}@localhost>")) && text.contains("https://folio.example/?t"),
        "{text}"
    );
    eventually("it is noted", async || kept(&server, id).await.sent_at.is_some()).await;
    assert_eq!(kept(&server, id).await.letter.body, "");
    let metrics = String::from_utf8(get(server.address, "/metrics", "").await.body).unwrap_or_default();
    assert!(metrics.is_empty() || !metrics.contains("ada@"), "{metrics}");
    server.end().await;
    assert!(post.arrived.try_recv().is_err(), "once");
}

#[tokio::test]
async fn a_letter_that_is_not_taken_now_is_tried_again_and_stops_no_other() {
    let mut post = MailServer::start().await;
    let server = serving(Some(post.url())).await;
    for (word, says) in [
        ("RCPT", Says::Line("451 greylisted")),
        ("MAIL", Says::Line("421 too busy")),
        ("DATA", Says::HangsUp),
        (".", Says::Nothing),
        ("", Says::Line("554 no service")),
        ("AUTH", Says::Line("535 who are you")),
        ("EHLO", Says::Nothing),
        ("MAIL", Says::Line("nonsense")),
    ] {
        post.once(word, says);
        let id = write(&server, "ada@example.org").await;
        in_time(&server, word, async || post.is_calm()).await;
        let other = write(&server, "bob@example.org").await;
        in_time(&server, "both go", async || {
            kept(&server, id).await.sent_at.is_some() && kept(&server, other).await.sent_at.is_some()
        })
        .await;
        let mut to = [arrives(&mut post).await.to, arrives(&mut post).await.to];
        to.sort();
        assert_eq!(to, ["ada@example.org", "bob@example.org"], "{word}: {says:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_letter_that_is_refused_for_good_is_kept_with_the_reason() {
    let mut post = MailServer::start().await;
    let server = serving(Some(post.url())).await;
    post.once("RCPT", Says::Line("550 5.1.1 nobody of that name"));
    for recipient in ["gone@example.org", "no address at all"] {
        let id = write(&server, recipient).await;
        eventually("it is given up", async || kept(&server, id).await.refused_at.is_some()).await;
        let kept = kept(&server, id).await;
        assert!(kept.error.is_some_and(|it| it.contains("nobody of that name") || it.contains("address")));
        assert!(kept.letter.body.contains("https://"), "it stays to be seen");
    }
    write(&server, "ada@example.org").await;
    assert_eq!(arrives(&mut post).await.to, "ada@example.org");
    server.end().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_seen_in_health_and_letters_wait_a_day_for_it() {
    let server = serving(Some("smtp://127.0.0.1:1".to_owned())).await;
    let id = write(&server, "ada@example.org").await;
    eventually("it was tried", async || kept(&server, id).await.error.is_some()).await;
    let checks = get(server.address, "/health", "").await;
    assert!(checks.status == 404 || checks.json()["status"] != "unhealthy", "Folio works without mail");
    assert!(server.app.health.checks().iter().any(|it| it.name == "mail" && it.state == "down" && !it.required));
    assert!(server.app.health.is_ready());
    eventually("it is given up", async || {
        server.clock.advance(Duration::from_secs(3_600));
        kept(&server, id).await.refused_at.is_some()
    })
    .await;
    let kept = kept(&server, id).await;
    // How often depends on how far the clock runs ahead of the one who sends.
    assert!((server.clock.now() - kept.letter.created_at).num_hours() >= 22 && kept.attempts > 1, "{kept:?}");
    server.end().await;
}

/// A Folio that talks to a mail server, and believes a certificate beside those that everybody believes.
async fn believing(url: String, pem: Option<&str>) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let ca = pem.map(|pem| {
        let path = dir.path().join("authority.pem");
        std::fs::write(&path, pem).unwrap();
        path
    });
    let settings = |it: &mut Config| (it.mail.server, it.mail.ca) = (Some(Secret::new(url)), ca);
    (Server::start_with(Routes::default(), settings).await, dir)
}

#[tokio::test]
async fn letters_go_to_a_server_that_an_authority_of_ones_own_vouches_for_and_nobody_listens() {
    let (pem, acceptor) = vouched_for("127.0.0.1");
    for (tls, scheme, query) in
        [(Tls::Asked(acceptor.clone()), "smtp", "?tls=on"), (Tls::AtOnce(acceptor), "smtps", "")]
    {
        let mut post = MailServer::start_with(tls).await;
        let url = format!("{scheme}://folio:hush-hush-7@{}{query}", post.address);
        let (server, _dir) = believing(url, Some(&pem)).await;
        write(&server, "ada@example.org").await;
        let arrived = arrives(&mut post).await;
        assert_eq!((arrived.to.as_str(), arrived.sealed), ("ada@example.org", true), "{scheme}");
        let clear = post.overheard.lock().clone();
        assert!(clear.iter().all(|it| ["", "EHLO", "STAR"].contains(&it.as_str())), "{scheme}: {clear:?}");
        server.end().await;
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_hears_nothing_and_letters_wait_for_a_better_one() {
    let ((pem, ours), (_, strange), (_, other)) =
        (vouched_for("127.0.0.1"), vouched_for("127.0.0.1"), vouched_for("mail.example"));
    for (case, tls, scheme, query, believed) in [
        ("nobody is told of its authority", Tls::Asked(ours.clone()), "smtp", "?tls=on", None),
        ("the same, at once", Tls::AtOnce(ours), "smtps", "", None),
        ("another authority", Tls::Asked(strange), "smtp", "?tls=on", Some(&*pem)),
        ("another name", Tls::AtOnce(other), "smtps", "", Some(&*pem)),
        ("no encryption to be had", Tls::Never, "smtp", "?tls=on", Some(&*pem)),
    ] {
        let mut post = MailServer::start_with(tls).await;
        let (server, _dir) = believing(format!("{scheme}://folio:hush-hush-7@{}{query}", post.address), believed).await;
        let id = write(&server, "ada@example.org").await;
        eventually(case, async || kept(&server, id).await.error.is_some()).await;
        let kept = kept(&server, id).await;
        assert!(kept.sent_at.is_none() && kept.refused_at.is_none(), "{case}: {kept:?}");
        assert!(kept.letter.body.contains("https://"), "{case}: it can still be read");
        let warned = || server.app.health.checks().iter().any(|it| it.name == "mail" && it.state == "down");
        eventually("health tells", async || warned()).await;
        let clear = post.overheard.lock().clone();
        assert!(!clear.iter().any(|it| ["AUTH", "MAIL", "DATA"].contains(&it.as_str())), "{case}: {clear:?}");
        assert!(post.arrived.try_recv().is_err(), "{case}");
        server.end().await;
    }
}

#[tokio::test]
async fn without_a_server_a_letter_stays_to_be_read() {
    let server = serving(None).await;
    let id = write(&server, "ada@example.org").await;
    server.clock.advance(Duration::from_secs(24 * 3_600));
    assert!(server.app.health.checks().iter().all(|it| it.name != "mail"));
    let kept = kept(&server, id).await;
    assert_eq!((kept.attempts, kept.letter.body.as_str()), (0, "Open https://folio.example/?t=1"));
    server.end().await;
}
