//! What it costs to know whose access token it is: seen before, and for the first time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::median::median;
use folio::actors::auth::doors::Doors;
use folio::actors::auth::tokens::{Claims, Tokens};
use folio::actors::auth::{Person, Role};
use folio::clock::Clock;
use folio::config::Secret;
use folio::ids::{self, SessionId, UserId};
use folio::storage::signing_keys::SigningKey;

const TOKENS: usize = 1_000;
const ROUNDS: usize = 21;
const ROUND: usize = 100_000;

/// Microseconds a call: the median of many rounds, over many tokens in turn.
fn measure(tokens: &[Vec<u8>], mut call: impl FnMut(&[u8])) -> f64 {
    let round = |call: &mut dyn FnMut(&[u8])| {
        let began = Instant::now();
        tokens.iter().cycle().take(ROUND).for_each(|it| call(black_box(it)));
        began.elapsed().as_secs_f64() * 1e6 / ROUND as f64
    };
    median((0..ROUNDS).map(|_| round(&mut call)).collect())
}

/// Measures and prints.
pub fn run() {
    let clock = Clock::system();
    let (verifier, doors) =
        (Tokens::new(&Secret::new("a secret of at least thirty-two bytes".into())), Doors::default());
    verifier.set_keys(vec![SigningKey { id: ids::v7(&clock), created_at: clock.now(), ends_at: None }]);
    let sign = |_| {
        let person = Person { user: UserId::new(&clock), session: SessionId::new(&clock), role: Role::User };
        let (now, ends_at) = (clock.now(), clock.now() + Duration::from_secs(1_800));
        verifier.sign(&Claims::new(person, "ada lovelace", 1, now, ends_at), now).expect("there is a key").into_bytes()
    };
    let tokens: Vec<Vec<u8>> = (0..TOKENS).map(sign).collect();
    let now = clock.now();
    let first = measure(&tokens, |token| {
        let claims = verifier.verify(token, now).expect("the token is good");
        doors.let_in(&claims.holder()).expect("no door is closed");
        black_box(claims);
    });
    for token in &tokens {
        verifier.remember(token, &verifier.verify(token, now).expect("the token is good"), 0);
    }
    // A few share a place, and one of two is forgotten for the other.
    let kept = |it: &&Vec<u8>| verifier.known(it, now.timestamp(), 0, |_| Ok(())).is_some();
    let kept: Vec<Vec<u8>> = tokens.iter().filter(kept).cloned().collect();
    let cached = measure(&kept, |token| {
        let doors = doors.version().expect("no door is closed");
        let known = verifier.known(token, now.timestamp(), doors, |_| Ok(()));
        assert!(black_box(known).is_some());
    });
    println!("{} of {TOKENS} tokens kept; {cached:.3} us cached, {first:.3} us for the first time", kept.len());
    println!("FLOOR tokens.cached_us={cached:.3}");
    println!("FLOOR tokens.first_us={first:.3}");
}
