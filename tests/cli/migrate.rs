//! `folio migrate`, on the embedded database and on one that refuses.

use std::fs;

use url::Url;

use super::program::{Place, ended};

#[test]
fn an_empty_database_is_brought_up_once() {
    let place = Place::new();
    place.run(&["migrate"]).with(0).says("from version 0 to version");
    place.run(&["migrate"]).with(0).says("already");
    place.run(&["doctor"]).with(0).says("sqlite 3.");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let place = Place::new();
    let text = "this is no database, whatever its name says; it is a letter to somebody".repeat(100);
    place.write("folio-data/folio.db", &text);
    let refused = place.run(&["migrate"]).with(1).says("database").says("folio doctor looks at every backend");
    assert!(!refused.err.contains("panicked"), "{refused:#?}");
    place.run(&["doctor"]).with(1).says("database      FAILED");
    assert_eq!(fs::read_to_string(place.path("folio-data/folio.db")).unwrap(), text);
}

#[test]
fn a_wrong_password_is_told_without_showing_it() {
    let url = std::env::var("TEST_POSTGRES_URL")
        .expect("start the servers: scripts/services up, and run through scripts/test");
    let mut url = Url::parse(&url).unwrap();
    url.set_username("nobody-of-that-name").unwrap();
    url.set_password(Some("hush-hush-7")).unwrap();
    let place = Place::new();
    let cause = "password authentication failed";
    for (command, said) in [("migrate", cause), ("doctor", cause), ("doctor", "check user, password")] {
        let mut command = place.folio(&[command]);
        ended(command.env("FOLIO_DATABASE_URL", url.as_str())).with(1).hides("hush-hush-7").says(said);
    }
    assert!(place.names().is_empty());
}
