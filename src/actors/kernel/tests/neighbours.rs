//! A blocked actor, or ten thousand that move, and nobody else feels it.

use super::*;
use crate::actors::kernel::Mailbox;

/// The median of many answers.
async fn answers(mailbox: &Mailbox<Tally<0>>) -> Duration {
    let mut took = Vec::new();
    for _ in 0..1_000 {
        let start = Instant::now();
        mailbox.ask(Msg::Add).await.unwrap();
        took.push(start.elapsed());
    }
    took.sort_unstable();
    took[500]
}

/// Offers at least 10,000 messages, and on until it is told to end; returns how many and how many were refused.
async fn flood(stuck: Mailbox<Tally<0>>, ends: Arc<AtomicUsize>, sums: Arc<(AtomicUsize, AtomicUsize)>) {
    let mut offers = 0;
    while ends.load(SeqCst) == 0 || offers < 10_000 {
        sums.1.fetch_add((0..20).filter(|_| stuck.tell(Msg::Note).is_err()).count(), SeqCst);
        offers += 20;
        tokio::task::yield_now().await;
    }
    sums.0.fetch_add(offers, SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_actor_stays_bounded_and_its_neighbours_feel_nothing() {
    let (root, likes, world) = tree(Limits::default()).await;
    let (stuck, neighbour) = (likes.get(&1), likes.get(&2));
    // Rounds alternate and medians are compared: the machine may be busy with something else.
    let (mut quiet, mut loud, sums) = (Vec::new(), Vec::new(), Arc::<(AtomicUsize, AtomicUsize)>::default());
    while loud.len() < 11 || sums.0.load(SeqCst) < 100_000 {
        quiet.push(answers(&neighbour).await);
        let blocked = root.task("caller", {
            let stuck = stuck.clone();
            async move { drop(stuck.ask(Msg::Block).await) }
        });
        until_blocked(&likes, 1).await;
        let ends = Arc::<AtomicUsize>::default();
        let flooding = root.task("flood", flood(stuck.clone(), ends.clone(), sums.clone()));
        loud.push(answers(&neighbour).await);
        ends.store(1, SeqCst);
        flooding.await.unwrap();
        let seen = row(&root, 1);
        assert!(seen.depth == seen.depth_max && seen.shed as usize == sums.1.load(SeqCst));
        assert_eq!(seen.meter.doing.unwrap().label, "block");
        world.gate.notify_one();
        blocked.await.unwrap();
        until("all is done", || row(&root, 1).depth == 0).await;
    }
    let (offered, refused) = (sums.0.load(SeqCst), sums.1.load(SeqCst));
    assert_eq!(world.told.load(SeqCst) as usize, offered - refused, "what was accepted is done");
    quiet.sort_unstable();
    loud.sort_unstable();
    let (quiet, loud) = (quiet[quiet.len() / 2], loud[loud.len() / 2]);
    assert!(loud < quiet * 3 + Duration::from_micros(200), "{quiet:?} -> {loud:?}, {offered} offered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_ten_thousand_stops_nobody() {
    let (root, likes, _) = tree(endless()).await;
    for key in 0..10_000 {
        likes.get(&key).tell(Msg::Note).unwrap();
    }
    let moves = Arc::<AtomicU64>::default();
    let mover = root.task("mover", {
        let (likes, moves) = (likes.clone(), moves.clone());
        async move {
            let mut chance = Chance(9);
            loop {
                let one = likes.get(&chance.key(10_000));
                let _ = if chance.below(50) == 0 { one.ask(Msg::Panic).await } else { one.ask(Msg::Add).await };
                moves.fetch_add(1, SeqCst);
            }
        }
    });
    let mut last = 0;
    for _ in 0..20 {
        let seen = root.snapshot();
        assert_eq!((seen.rows.len(), seen.kinds[0].known), (10_000, 10_000));
        assert!(seen.kinds[0].meter.handled >= last);
        last = seen.kinds[0].meter.handled;
        let before = moves.load(SeqCst);
        until("the others move on", || moves.load(SeqCst) > before).await;
    }
    mover.abort();
    let rows = root.snapshot().rows;
    assert!(rows.iter().any(|row| row.meter.handling.counts().iter().any(|count| *count > 0)));
}
