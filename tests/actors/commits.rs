//! An actor that commits through the writer, and what is true after it was killed at any moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use folio::actors::kernel::writer::Writer;
use folio::actors::kernel::{Budget, Keyed, Limits, Outcome, Reply, Role, Root, Turn};
use folio::clock::Clock;
use folio::error::{Error, Result};
use folio::ids::{StreamId, UserId};
use folio::storage::db::Db;
use folio::storage::streams::Appended;
use folio::storage::writes::{Write, Written};
use parking_lot::Mutex;

use crate::support::engines::Fresh;
use crate::support::eventually;
use crate::support::streams::{Node, assert_dense, says, stream, user};

crate::on_both_engines! {
    what_an_actor_acknowledged_is_stored_whenever_it_is_killed
    a_tree_that_stops_commits_what_it_took
}

/// What is said in one place, in order.
struct Talk {
    place: StreamId,
    said: i64,
}

enum TalkMsg {
    Say { by: UserId, client_id: String, reply: Reply<Appended> },
    Panic,
}

impl Role for Talk {
    type Key = StreamId;
    type Msg = TalkMsg;
    type Args = (Db, Writer);
    type Owed = Reply<Appended>;
    const NAME: &'static str = "talks";
    const MESSAGES_MAX: u32 = 1_024;

    async fn start(place: &StreamId, (db, _): &(Db, Writer)) -> Result<Self> {
        let head: Option<(i64,)> = db.sql("SELECT head FROM streams WHERE id = $1").bind(*place).optional().await?;
        let (said,) = head.ok_or(Error::NotFound("place"))?;
        Ok(Self { place: *place, said })
    }

    async fn handle(&mut self, msg: TalkMsg, turn: &mut Turn<Self>) -> Outcome {
        match msg {
            TalkMsg::Say { by, client_id, reply } => {
                turn.commit(Write::Entry(says(self.place, by, client_id, "hello")), reply);
            }
            TalkMsg::Panic => return Err("told to fail".into()),
        }
        Ok(())
    }

    fn writer((_, writer): &(Db, Writer)) -> Option<&Writer> {
        Some(writer)
    }

    fn settled(&mut self, outcome: Result<Written>, reply: Reply<Appended>) {
        reply.send(outcome.map(|written| {
            let appended = written.entry().unwrap();
            if !appended.repeated {
                // Those of a life before may still have come in between.
                assert!(appended.seq > self.said, "{appended:?} after {}", self.said);
                self.said = appended.seq;
            }
            appended
        }));
    }

    fn label(msg: &TalkMsg) -> &'static str {
        match msg {
            TalkMsg::Say { .. } => "say",
            TalkMsg::Panic => "panic",
        }
    }
}

async fn house(db: &Db) -> (Root, Keyed<Talk>) {
    let Node { root, writer, .. } = Node::start(db).await;
    let budget =
        Budget { restarts: usize::MAX, wait_min: Duration::ZERO, wait_max: Duration::ZERO, ..Budget::default() };
    let talks = root.keyed((db.clone(), writer), Limits { budget, ..Limits::default() }).await.unwrap();
    (root, talks)
}

/// Says something until it is acknowledged, as a client does that does not know what became of it.
async fn insist(talks: Keyed<Talk>, place: StreamId, by: UserId, client_id: String) -> Appended {
    loop {
        let client_id = client_id.clone();
        let answer = talks.get(&place).ask(|reply| TalkMsg::Say { by, client_id, reply }).await;
        match answer {
            Ok(appended) => return appended,
            Err(Error::Unavailable { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn what_an_actor_acknowledged_is_stored_whenever_it_is_killed(fresh: &Fresh) {
    let db = fresh.open().await;
    let (root, talks) = house(&db).await;
    let place = stream(&db).await;
    let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
    let speakers = (0..8).map(|speaker| {
        let (talks, acknowledged, by) = (talks.clone(), acknowledged.clone(), user());
        root.task("speaker", async move {
            for turn in 0..100 {
                let appended = insist(talks.clone(), place, by, format!("{speaker}-{turn}")).await;
                assert!(acknowledged.lock().insert(appended.seq, (by, turn)).is_none(), "a place is given once");
            }
        })
    });
    let speakers: Vec<_> = speakers.collect();
    for round in 0..40 {
        eventually("they go on", async || acknowledged.lock().len() >= round * 15).await;
        match round % 2 {
            0 => talks.kill(&place),
            _ => drop(talks.get(&place).tell(TalkMsg::Panic)),
        }
    }
    for speaker in speakers {
        speaker.await.unwrap();
    }
    assert!(root.kinds()[0].meter.failed >= 20, "{:?}", root.kinds());
    assert!(root.tasks().iter().all(|it| it.panics == 0), "{:?}", root.tasks());
    let acknowledged = acknowledged.lock().len();
    assert_eq!((acknowledged, assert_dense(&db).await), (800, 800));
}

async fn a_tree_that_stops_commits_what_it_took(fresh: &Fresh) {
    let db = fresh.open().await;
    let (root, talks) = house(&db).await;
    let (place, by) = (stream(&db).await, user());
    let outer = Root::start(Clock::system()).await.unwrap();
    let answers = Arc::new(Mutex::new((0, 0)));
    let callers = (0..200).map(|turn| {
        let (talks, answers) = (talks.clone(), answers.clone());
        outer.task("caller", async move {
            let client_id = turn.to_string();
            let answer = talks.get(&place).ask(|reply| TalkMsg::Say { by, client_id, reply }).await;
            let mut answers = answers.lock();
            if answer.is_ok() { answers.0 += 1 } else { answers.1 += 1 }
        })
    });
    let callers: Vec<_> = callers.collect();
    eventually("it is busy", async || root.kinds()[0].meter.handled > 50).await;
    assert!(root.stop(Duration::from_secs(10)).await);
    for caller in callers {
        caller.await.unwrap();
    }
    let (done, refused) = *answers.lock();
    assert_eq!((done, done + refused), (assert_dense(&db).await, 200));
}
