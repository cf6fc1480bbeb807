//! What a bounded, measured mailbox costs against ractor's own, which is neither, and against a task at the end of a
//! bounded channel, which is nothing else.
//!
//! Rounds alternate, so that both sides meet the same machine; what counts is the ratio of the medians.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use folio::actors::kernel::{Keyed, Limits, Mailbox, Outcome, Reply, Role, Root, Turn};
use folio::clock::Clock;
use folio::error::Result;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{mpsc, oneshot};

const ROUNDS: usize = 9;
const ASKS: u32 = 40_000;
const TELLS: u32 = 200_000;
const CHANNEL_MAX: usize = 64;

struct Tally(u64);

enum Msg {
    Add(Reply<u64>),
    Note,
}

impl Role for Tally {
    type Key = u128;
    type Msg = Msg;
    type Args = ();
    type Owed = ();
    const NAME: &'static str = "tally";
    const MESSAGES_MAX: u32 = 1 << 20;

    async fn start(_: &u128, (): &()) -> Result<Self> {
        Ok(Self(0))
    }

    async fn handle(&mut self, msg: Msg, _: &mut Turn<Self>) -> Outcome {
        self.0 += 1;
        if let Msg::Add(reply) = msg {
            reply.send(Ok(self.0));
        }
        Ok(())
    }

    fn label(msg: &Msg) -> &'static str {
        match msg {
            Msg::Add(_) => "add",
            Msg::Note => "note",
        }
    }
}

enum Plain {
    Count(oneshot::Sender<u64>),
    Note,
}

struct Bare;

enum BareMsg {
    Add(RpcReplyPort<u64>),
    Note,
}

impl Actor for Bare {
    type Msg = BareMsg;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<BareMsg>, (): ()) -> std::result::Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<BareMsg>,
        msg: BareMsg,
        count: &mut u64,
    ) -> std::result::Result<(), ActorProcessingErr> {
        *count += 1;
        if let BareMsg::Add(reply) = msg {
            let _ = reply.send(*count);
        }
        Ok(())
    }
}

async fn asks(mailbox: &Mailbox<Tally>) -> Duration {
    let start = Instant::now();
    for _ in 0..ASKS {
        black_box(mailbox.ask(Msg::Add).await).expect("it answers");
    }
    start.elapsed() / ASKS
}

async fn calls(bare: &ActorRef<BareMsg>) -> Duration {
    let start = Instant::now();
    for _ in 0..ASKS {
        black_box(bare.call(BareMsg::Add, Some(Duration::from_secs(2))).await).expect("it answers");
    }
    start.elapsed() / ASKS
}

async fn tells(mailbox: &Mailbox<Tally>) -> Duration {
    let start = Instant::now();
    for _ in 0..TELLS {
        mailbox.tell(Msg::Note).expect("there is room");
    }
    mailbox.ask(Msg::Add).await.expect("it answers");
    start.elapsed() / TELLS
}

async fn casts(bare: &ActorRef<BareMsg>) -> Duration {
    let start = Instant::now();
    for _ in 0..TELLS {
        bare.cast(BareMsg::Note).expect("it lives");
    }
    bare.call(BareMsg::Add, Some(Duration::from_secs(2))).await.expect("it answers");
    start.elapsed() / TELLS
}

/// Starts a task that counts what a channel brings.
fn channel(root: &Root) -> mpsc::Sender<Plain> {
    let (tell, mut told) = mpsc::channel(CHANNEL_MAX);
    root.task("bench", async move {
        let mut count = 0_u64;
        while let Some(plain) = told.recv().await {
            count += 1;
            if let Plain::Count(reply) = plain {
                let _ = reply.send(count);
            }
        }
    });
    tell
}

async fn sends(plain: &mpsc::Sender<Plain>) -> Duration {
    let start = Instant::now();
    for _ in 0..TELLS {
        plain.send(Plain::Note).await.expect("it runs");
    }
    let (reply, answer) = oneshot::channel();
    plain.send(Plain::Count(reply)).await.expect("it runs");
    answer.await.expect("it answers");
    start.elapsed() / TELLS
}

fn ratio(name: &str, mut ours: Vec<Duration>, mut theirs: Vec<Duration>) {
    ours.sort_unstable();
    theirs.sort_unstable();
    let (ours, theirs) = (ours[ROUNDS / 2], theirs[ROUNDS / 2]);
    println!("{name}: {ours:?} against {theirs:?}");
    println!("FLOOR mailbox.{name}_ratio={:.2}", ours.as_secs_f64() / theirs.as_secs_f64());
}

async fn compare(mailbox: Mailbox<Tally>, bare: ActorRef<BareMsg>, plain: mpsc::Sender<Plain>) {
    let (mut ask, mut call, mut tell, mut cast, mut send) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        ask.push(asks(&mailbox).await);
        call.push(calls(&bare).await);
        tell.push(tells(&mailbox).await);
        cast.push(casts(&bare).await);
        send.push(sends(&plain).await);
    }
    ratio("ask", ask, call);
    ratio("tell", tell.clone(), cast);
    ratio("channel", tell, send);
}

/// Measures and prints.
pub fn run() {
    let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = workers.expect("a runtime starts");
    let (root, tallies, bare) = runtime.block_on(async {
        let root = Root::start(Clock::system()).await.expect("a tree starts");
        let tallies: Keyed<Tally> = root.keyed((), Limits::default()).await.expect("a kind starts");
        let (bare, _) = Actor::spawn(None, Bare, ()).await.expect("an actor starts");
        (root, tallies, bare)
    });
    let mailbox = tallies.get(&1);
    let mut criterion = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(1));
    criterion.bench_function("mailbox/ask", |b| b.to_async(&runtime).iter(|| mailbox.ask(Msg::Add)));
    criterion.bench_function("mailbox/ractor call", |b| {
        b.to_async(&runtime).iter(|| bare.call(BareMsg::Add, Some(Duration::from_secs(2))));
    });
    runtime
        .block_on(async { root.task("bench", compare(mailbox, bare, channel(&root))).await })
        .expect("the bench ends");
    criterion.final_summary();
}
