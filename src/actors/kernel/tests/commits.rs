//! An actor commits without waiting, and hears what became of it in order.

use tokio::sync::mpsc;

use super::*;
use crate::actors::kernel::What;
use crate::actors::kernel::writer::{Job, Writer};
use crate::ids::{EntryId, StreamId, UserId};
use crate::storage::streams::{Append, Appended};
use crate::storage::writes::{Write, Written};

/// Knows the numbers that are committed; `starts` plays the database.
struct Ledger {
    clock: Clock,
    seen: Vec<i64>,
}

enum Entered {
    Put(Reply<Vec<i64>>),
    Note,
    Look(Reply<Vec<i64>>),
    Panic,
}

impl Role for Ledger {
    type Key = u32;
    type Msg = Entered;
    type Args = (Writer, AtomicUsize);
    type Owed = Option<Reply<Vec<i64>>>;
    const NAME: &'static str = "ledger";
    const MESSAGES_MAX: u32 = 8;

    async fn start(_: &u32, (_, starts): &Self::Args) -> Result<Self> {
        starts.fetch_add(1, SeqCst);
        Ok(Self { clock: Clock::system(), seen: Vec::new() })
    }

    async fn handle(&mut self, msg: Entered, turn: &mut Turn<Self>) -> Outcome {
        match msg {
            Entered::Put(reply) => turn.commit(write(&self.clock), Some(reply)),
            Entered::Note => turn.commit(write(&self.clock), None),
            Entered::Look(reply) => reply.send(Ok(self.seen.clone())),
            Entered::Panic => panic!("in the middle"),
        }
        Ok(())
    }

    fn writer((writer, _): &Self::Args) -> Option<&Writer> {
        Some(writer)
    }

    fn settled(&mut self, outcome: Result<Written>, reply: Option<Reply<Vec<i64>>>) {
        let answer = outcome.map(|written| {
            let appended = written.entry().unwrap();
            assert!(appended.seq != 13, "an unlucky number");
            self.seen.push(appended.seq);
            self.seen.clone()
        });
        if let Some(reply) = reply {
            reply.send(answer);
        }
    }

    fn label(msg: &Entered) -> &'static str {
        match msg {
            Entered::Put(_) => "put",
            Entered::Note => "note",
            Entered::Look(_) => "look",
            Entered::Panic => "panic",
        }
    }
}

fn write(clock: &Clock) -> Write {
    let (stream, sender) = (StreamId::new(clock), Some(UserId::new(clock)));
    let (id, client_id, body) = (EntryId::new(clock), Some("1".to_owned()), "hello".to_owned());
    Write::Entry(Append { stream, id, kind: "message", sender, client_id, body })
}

fn commits(job: Job, seq: i64) {
    let Write::Entry(append) = job.write else { panic!("not an entry") };
    let appended = Appended { epoch: 1, seq, id: append.id, at: chrono::DateTime::UNIX_EPOCH, repeated: false };
    let _ = job.reply.send(Ok(Written::Entry(appended)));
}

async fn ledger(waiting_max: usize) -> (Root, Keyed<Ledger>, mpsc::Receiver<Job>) {
    let (writer, jobs) = Writer::by_hand(waiting_max);
    let root = Root::start(Clock::system()).await.unwrap();
    let ledger = root.keyed((writer, AtomicUsize::new(0)), endless()).await.unwrap();
    (root, ledger, jobs)
}

#[tokio::test]
async fn commits_are_settled_in_their_order_and_messages_go_on_meanwhile() {
    let (_root, ledger, mut jobs) = ledger(8).await;
    let one = ledger.get(&1);
    let ((a, b, c), ()) = tokio::join!(
        async { tokio::join!(one.ask(Entered::Put), one.ask(Entered::Put), one.ask(Entered::Put)) },
        async {
            let (first, second, third) =
                (jobs.recv().await.unwrap(), jobs.recv().await.unwrap(), jobs.recv().await.unwrap());
            commits(third, 3);
            commits(second, 2);
            assert_eq!(one.ask(Entered::Look).await, Ok(vec![]), "it waits for the first, and answers meanwhile");
            commits(first, 1);
        }
    );
    assert_eq!((a, b, c), (Ok(vec![1]), Ok(vec![1, 2]), Ok(vec![1, 2, 3])));
}

#[tokio::test]
async fn a_full_mailbox_sheds_messages_but_nothing_that_was_committed() {
    let (root, ledger, mut jobs) = ledger(64).await;
    let one = ledger.get(&1);
    let accepted = (0..20).filter(|_| one.tell(Entered::Note).is_ok()).count();
    assert_eq!(accepted, 8);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(jobs.recv().await.unwrap());
    }
    assert_eq!(row(&root, 1).depth, 8, "a commit keeps its place until it is settled");
    assert!(is_unavailable(&one.ask(Entered::Look).await));
    held.into_iter().zip(1..).for_each(|(job, seq)| commits(job, seq));
    until("all is settled", || row(&root, 1).depth == 0).await;
    assert_eq!(one.ask(Entered::Look).await, Ok((1..=8).collect()));
}

#[tokio::test]
async fn an_actor_neither_sleeps_nor_stops_while_a_commit_is_on_its_way() {
    let (root, ledger, mut jobs) = ledger(8).await;
    let one = ledger.get(&1);
    one.tell(Entered::Note).unwrap();
    let job = jobs.recv().await.unwrap();
    ledger.sleep_idle();
    assert_eq!(row(&root, 1).phase, Phase::Awake);
    commits(job, 1);
    until("it may sleep", || {
        ledger.sleep_idle();
        ledger.lives() == 0
    })
    .await;
    let (answer, drained) = tokio::join!(one.ask(Entered::Put), async {
        let job = jobs.recv().await.unwrap();
        tokio::join!(root.stop(Duration::from_secs(5)), async {
            until("it closes", || ledger.0.closing.load(SeqCst)).await;
            commits(job, 2);
        })
        .0
    });
    assert_eq!((answer, drained), (Ok(vec![1, 2]), true));
}

#[tokio::test]
async fn the_callers_of_an_actor_that_dies_between_hear_at_once_that_nobody_knows() {
    let (_root, ledger, mut jobs) = ledger(8).await;
    let one = ledger.get(&1);
    let ((a, b), ()) = tokio::join!(async { tokio::join!(one.ask(Entered::Put), one.ask(Entered::Put)) }, async {
        let (first, second) = (jobs.recv().await.unwrap(), jobs.recv().await.unwrap());
        one.tell(Entered::Panic).unwrap();
        until("both are withdrawn", || first.reply.is_closed() && second.reply.is_closed()).await;
    });
    assert!(is_unavailable(&a) && is_unavailable(&b));
    assert_eq!(one.ask(Entered::Look).await, Ok(vec![]), "the next life starts from storage");
    assert_eq!(ledger.0.args.1.load(SeqCst), 2);
}

#[tokio::test]
async fn a_kill_withdraws_what_is_on_its_way() {
    let (_root, ledger, mut jobs) = ledger(8).await;
    let one = ledger.get(&1);
    let (answer, ()) = tokio::join!(one.ask(Entered::Put), async {
        let job = jobs.recv().await.unwrap();
        ledger.kill(&1);
        until("it is withdrawn", || job.reply.is_closed()).await;
    });
    assert!(is_unavailable(&answer));
}

#[tokio::test]
async fn a_full_writer_refuses_in_the_order_of_the_commits() {
    let (_root, ledger, mut jobs) = ledger(1).await;
    let one = ledger.get(&1);
    let ((a, b), ()) = tokio::join!(async { tokio::join!(one.ask(Entered::Put), one.ask(Entered::Put)) }, async {
        until("both are handed over", || ledger.0.slot(&1).unwrap().inner.lock().meter.handled == 2).await;
        commits(jobs.recv().await.unwrap(), 1);
    });
    assert_eq!(a, Ok(vec![1]));
    assert!(is_unavailable(&b));
}

#[tokio::test]
async fn a_panic_while_settling_is_a_failure_like_any_other() {
    let (root, ledger, mut jobs) = ledger(8).await;
    let one = ledger.get(&1);
    let (answer, ()) = tokio::join!(one.ask(Entered::Put), async { commits(jobs.recv().await.unwrap(), 13) });
    assert!(is_unavailable(&answer));
    until("it is noted", || root.history().len() == 1).await;
    let What::Failed(incident) = root.history().remove(0).what else { panic!("{:?}", root.history()) };
    assert_eq!(incident.doing.unwrap().label, "settled");
    assert_eq!(one.ask(Entered::Look).await, Ok(vec![]));
}
