//! Letters, read on the machine where Folio runs.

use std::net::TcpListener;

use folio::clock::Clock;
use folio::config::DatabaseConfig;
use folio::ids::v7;
use folio::storage::db::Db;
use folio::storage::mails::{self, Letter};

use super::program::{Place, ended};
use crate::support::PATIENCE;

#[test]
fn a_letter_is_listed_and_shown_while_folio_runs() {
    let place = Place::new();
    place.run(&["mail"]).with(1).says("folio serve makes it");
    assert!(place.names().is_empty(), "looking makes nothing");
    let _serving = place.serve(&[]);
    place.run(&["mail"]).with(0).says("There are no letters.");
    let id = write(&place, "Hello\u{1b}[2J", "Open\nhttps://folio.example/?t=1");
    let listed = place.run(&["mail"]).with(0).says(&id).says("ada@example.org").says("stays here: no smtp_url");
    listed.hides("\u{1b}").hides("https://");
    place
        .run(&["mail", "show", &id])
        .with(0)
        .says("Subject: Hello")
        .says("\nhttps://folio.example/?t=1\n")
        .hides("\u{1b}");
    place.run(&["mail", "show", &v7(&Clock::system()).to_string()]).with(1).says("there is no letter");
    place.run(&["mail", "show", "nonsense"]).with(64);
    place.run(&["mail", "--last", "0"]).with(64);
}

#[test]
fn doctor_looks_at_the_mail_server() {
    let place = Place::new();
    place.run(&["doctor"]).with(0).says("folio mail shows them");
    let mut command = place.folio(&["doctor"]);
    command.env("FOLIO_SMTP_URL", "smtp://folio:hush-hush-7@127.0.0.1:1");
    ended(&mut command).with(1).says("127.0.0.1:1: nothing listens there").hides("hush-hush-7");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = place.folio(&["doctor"]);
    command.env("FOLIO_SMTP_URL", format!("smtp://{}", silent.local_addr().unwrap()));
    ended(command.env("FOLIO_SMTP_ANSWER_WITHIN", "100ms")).with(1).says("it listens, but");
}

fn write(place: &Place, subject: &str, body: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = place.path("folio-data/folio.db");
        let db = Db::open(&DatabaseConfig::Sqlite { path, readers: 1, acquire_within: PATIENCE }).await.unwrap();
        let clock = Clock::system();
        let letter = Letter {
            id: v7(&clock),
            user_id: None,
            recipient: "ada@example.org".into(),
            subject: subject.into(),
            body: body.into(),
            created_at: clock.now(),
        };
        let mut tx = db.begin().await.unwrap();
        mails::append(&mut tx, &letter).await.unwrap();
        tx.commit().await.unwrap();
        db.close().await;
        letter.id.to_string()
    })
}
