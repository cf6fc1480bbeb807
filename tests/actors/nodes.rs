//! Two Folios on one PostgreSQL and one Redis: what one changes the other never shows for long, and never undoes.

use std::sync::Arc;

use folio::Folio;
use folio::actors::Actors;
use folio::actors::auth::Hand;
use folio::actors::profiles::rules::Change;
use folio::actors::users::names::Name;
use folio::clock::Clock;
use folio::config::LogFormat;
use folio::error::Result;
use folio::http::Routes;
use folio::ids::UserId;
use folio::storage::db::Engine;
use folio::storage::profiles::Profile;
use folio::telemetry::Log;

use crate::support::accounts::{account, crowd};
use crate::support::engines::Fresh;
use crate::support::{eventually, http};

/// Two nodes whose clocks stand still: nothing is forgotten because of its age.
struct Nodes {
    fresh: Fresh,
    clock: Clock,
    both: [Folio; 2],
}

impl Nodes {
    async fn start() -> Nodes {
        let (fresh, clock) = (Fresh::new(Engine::Postgres).await, Clock::manual());
        let config = http::config(&fresh, true);
        let start = async || {
            let log = Log::to(std::io::sink(), LogFormat::Json, &clock);
            Box::pin(Folio::start(config.clone(), clock.clone(), log, Routes::default())).await.unwrap()
        };
        let both = [start().await, start().await];
        Nodes { both, fresh, clock }
    }

    fn actors(&self) -> [&Actors; 2] {
        [&self.both[0].app.actors, &self.both[1].app.actors]
    }

    async fn end(self) {
        for node in self.both {
            node.app.actors.stop(std::time::Duration::from_secs(5)).await;
            node.app.storage.db.close().await;
        }
        self.fresh.end().await;
    }
}

fn bio(text: &str) -> Change {
    Change { bio: Some(text.to_owned()), ..Change::default() }
}

async fn shows(actors: &Actors, user: UserId, bio: &str) -> bool {
    actors.profiles.get(user).await.unwrap().about.bio == bio
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_changes_the_other_shows() {
    let nodes = Nodes::start().await;
    let ada = account(&nodes.both[0].app.storage.db, "ada").await;
    let [one, other] = nodes.actors();
    for (turn, writer, reader) in [(1, one, other), (2, other, one), (3, one, other)] {
        reader.profiles.get(ada).await.unwrap();
        let text = format!("turn {turn}");
        writer.users.change_profile(ada, turn, bio(&text)).await.unwrap();
        assert!(shows(writer, ada, &text).await, "whoever wrote reads it at once");
        eventually("the other node shows it", async || shows(reader, ada, &text).await).await;
    }
    one.users.rename(ada, Name::read("countess").unwrap(), Hand::command_line()).await.unwrap();
    eventually("the other node knows the name", async || other.profiles.near_by_name("ada").is_none()).await;
    let found = other.profiles.get_by_name("countess").await.unwrap();
    assert!(matches!(found, folio::actors::profiles::Named::Present(it) if it.user_id == ada));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_that_saw_one_version_one_wins() {
    let nodes = Nodes::start().await;
    let ada = account(&nodes.both[0].app.storage.db, "ada").await;
    let [one, other] = nodes.actors();
    for seen in 1..=10 {
        let (here, there) = tokio::join!(
            one.users.change_profile(ada, seen, bio(&format!("here {seen}"))),
            other.users.change_profile(ada, seen, bio(&format!("there {seen}"))),
        );
        let outcomes: [Result<Arc<Profile>>; 2] = [here, there];
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.iter().partition(|it| it.is_ok());
        assert_eq!((won.len(), lost.len()), (1, 1), "{outcomes:?}");
        assert_eq!(lost[0].as_ref().unwrap_err().code(), "version_conflict");
        let text = won[0].as_ref().unwrap().about.bio.clone();
        for node in [one, other] {
            eventually("both show the one that won", async || shows(node, ada, &text).await).await;
        }
    }
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_people_who_want_one_name_on_two_nodes_one_gets_it() {
    let nodes = Nodes::start().await;
    let people = crowd(&nodes.both[0].app.storage.db, &["ada", "bob"].map(str::to_owned)).await;
    let [one, other] = nodes.actors();
    let name = || Name::read("countess").unwrap();
    let (ada, bob) = tokio::join!(
        one.users.rename(people[0], name(), Hand::command_line()),
        other.users.rename(people[1], name(), Hand::command_line())
    );
    assert!(ada.is_ok() != bob.is_ok(), "{ada:?} {bob:?}");
    assert_eq!(ada.and(bob).unwrap_err().code(), "username_taken");
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_behind_its_commit_leaves_nothing_old() {
    let nodes = Nodes::start().await;
    let db = &nodes.both[0].app.storage.db;
    let ada = account(db, "ada").await;
    let [one, other] = nodes.actors();
    one.profiles.get(ada).await.unwrap();
    // What a change does up to the commit, and nothing behind it.
    one.profiles.withdraw(ada).await;
    db.write("UPDATE profiles SET bio = 'new', version = 2 WHERE user_id = $1").bind(ada).execute().await.unwrap();
    assert!(shows(other, ada, "new").await, "the cache was emptied before");
    assert!(!shows(one, ada, "new").await, "this node still has it near");
    nodes.clock.advance(std::time::Duration::from_secs(5));
    assert!(shows(one, ada, "new").await, "for seconds");
    nodes.end().await;
}
