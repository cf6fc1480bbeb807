//! Profiles and preferences in their tables.

use folio::clock::Clock;
use folio::storage::preferences::{self, Level, Notifications, Preferences, Theme};
use folio::storage::profiles::{self, About, Contact, Link, Visibility};

use crate::support::accounts::account;
use crate::support::engines::Fresh;

crate::on_both_engines! {
    a_profile_is_what_was_written_by_whoever_saw_the_version_before
    preferences_that_a_row_does_not_name_are_as_by_default
}

fn about() -> About {
    About {
        display_name: "Ada Lovelace".to_owned(),
        headline: "Poetical science".to_owned(),
        bio: "One line,\nand \"another\" 🦊".to_owned(),
        location: "London".to_owned(),
        age: Some(36),
        links: vec![Link { label: "Home".to_owned(), url: "https://example.org/ä".to_owned() }],
        expertise: vec!["engines".to_owned(), "verse".to_owned()],
        contact: vec![Contact {
            kind: "email".to_owned(),
            value: "ada@example.org".to_owned(),
            visibility: Visibility::SignedIn,
        }],
        theme_music_url: Some("https://example.org/waltz.mp3".to_owned()),
        avatar_url: None,
    }
}

async fn a_profile_is_what_was_written_by_whoever_saw_the_version_before(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let ada = account(&db, "Ada").await;
    let empty = profiles::find(&db, ada).await.unwrap().unwrap();
    assert_eq!((empty.username.as_str(), empty.username_folded.as_str(), empty.version), ("Ada", "ada", 1));
    for (seen, wins) in [(1, true), (1, false), (3, false), (2, true)] {
        let mut tx = db.begin().await.unwrap();
        let about = About { headline: format!("after {seen}"), ..about() };
        assert_eq!(profiles::update(&mut tx, ada, seen, &about, clock.now()).await.unwrap(), wins, "{seen}");
        let within = profiles::find_within(&mut tx, ada).await.unwrap().unwrap();
        assert!(within.about == about || !wins);
        tx.commit().await.unwrap();
    }
    let profile = profiles::find(&db, ada).await.unwrap().unwrap();
    assert_eq!((profile.version, &profile.about), (3, &About { headline: "after 2".to_owned(), ..about() }));
    let copy: profiles::Profile = serde_json::from_slice(&serde_json::to_vec(&profile).unwrap()).unwrap();
    assert_eq!(copy, profile, "the cache keeps all of it");
}

async fn preferences_that_a_row_does_not_name_are_as_by_default(fresh: &Fresh) {
    let (db, clock) = (fresh.open().await, Clock::manual());
    let ada = account(&db, "ada").await;
    let set = preferences::find(&db, ada).await.unwrap().unwrap();
    assert_eq!((set.version, &set.body), (1, &Preferences::default()));
    let quiet = Preferences {
        notifications: Notifications { likes: Level::Nothing, ..Notifications::default() },
        read_receipts: false,
        theme: Theme::Dark,
        ..Preferences::default()
    };
    for wins in [true, false] {
        let mut tx = db.begin().await.unwrap();
        assert_eq!(preferences::update(&mut tx, ada, 1, &quiet, clock.now()).await.unwrap(), wins);
        tx.commit().await.unwrap();
    }
    let set = preferences::find(&db, ada).await.unwrap().unwrap();
    assert_eq!((set.version, set.body), (2, quiet));
}
