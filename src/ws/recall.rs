//! What stock clients have heard, for as long as they may come back.
//!
//! A client that comes back holds one position, of the stream that it heard last. Of the others the time tells where to
//! go on, which brings again what it has heard shortly before. This node remembers in which order it told things: what
//! came before the position has arrived, so it need not come twice. Another node does not know; then it does.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};

use super::following::Following;
use super::frames::Mark;
use super::offset::Offset;
use super::session::Session;
use super::wire::Close;
use crate::ids::UserId;

/// Clients that have left and are remembered.
const LEFT_MAX: usize = 10_000;
/// Places that are remembered of each.
const MARKS_MAX: usize = 32;

/// A name that nobody guesses.
pub(super) fn unguessable() -> String {
    let mut bytes = [0; 18];
    SystemRandom::new().fill(&mut bytes).expect("the system has chance");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The last places that a client was told, in the order in which it was.
#[derive(Clone, Debug, Default)]
pub struct Marks(VecDeque<Mark>);

impl Marks {
    /// Notes one more.
    pub(super) fn note(&mut self, mark: Mark) {
        if self.0.len() == MARKS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(mark);
    }

    /// Moves places on to what was told before the position that a client holds.
    pub(super) fn raise(&self, streams: &mut [Following], held: &Offset) {
        let at = self.0.iter().position(|it| it.stream == held.stream && it.seq >= held.seq).unwrap_or_default();
        for mark in self.0.range(..at).filter(|it| it.stream != held.stream) {
            let place = streams.iter_mut().find(|it| it.0 == mark.stream).and_then(|it| it.1.as_mut());
            if let Some(place) = place {
                place.seq = place.seq.max(mark.seq);
            }
        }
    }
}

struct Client {
    user: UserId,
    session: Weak<Session>,
    marks: Arc<Mutex<Marks>>,
}

#[derive(Default)]
struct State {
    clients: HashMap<String, Client>,
    /// Those that have left; some of them are back.
    left: VecDeque<String>,
}

/// Stock clients by the name that they come back with.
#[derive(Default)]
pub struct Recall(Arc<Mutex<State>>);

impl Recall {
    /// Takes a client in under the name that it shows, or a new one. A session that still has the name has to go: it
    /// is the same client, which gave it up. Gives the name and what is remembered.
    pub(super) fn enter(
        &self,
        shown: Option<String>,
        user: UserId,
        session: &Arc<Session>,
    ) -> (String, Arc<Mutex<Marks>>) {
        let mut state = self.0.lock();
        let own = |it: &String| state.clients.get(it).is_none_or(|it| it.user == user);
        let pid = shown.filter(own).unwrap_or_else(unguessable);
        let before = state.clients.remove(&pid);
        let marks = before.as_ref().map(|it| it.marks.clone()).unwrap_or_default();
        let client = Client { user, session: Arc::downgrade(session), marks: marks.clone() };
        state.clients.insert(pid.clone(), client);
        drop(state);
        if let Some(old) = before.and_then(|it| it.session.upgrade()) {
            old.close(&Close::new(Close::DISPLACED, "came back elsewhere"));
        }
        session.outbox(|outbox| outbox.marks = Some(marks.clone()));
        let (all, name) = (self.0.clone(), pid.clone());
        session.at_end(move |_| all.lock().leaves(name));
        (pid, marks)
    }
}

impl State {
    /// Remembers one that leaves, and forgets the first of too many.
    fn leaves(&mut self, pid: String) {
        self.left.push_back(pid);
        let surplus = self.left.len() > LEFT_MAX;
        let first = if surplus { self.left.pop_front() } else { None };
        if let Some(first) = first.filter(|it| self.clients.get(it).is_some_and(|it| it.session.strong_count() == 0)) {
            self.clients.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::Clock;
    use crate::ids::StreamId;
    use crate::ws::topics::Position;

    #[test]
    fn what_was_told_before_the_position_that_is_held_does_not_come_again() {
        let stream = |number| StreamId(Uuid::from_u128(number));
        let mut marks = Marks::default();
        for (number, seq) in [(1, 5), (2, 9), (1, 6), (3, 4), (2, 12)] {
            marks.note(Mark { stream: stream(number), seq });
        }
        let place = |number, seq| (stream(number), Some(Position { epoch: 1, seq }));
        let held = Offset { stream: stream(1), epoch: 1, seq: 6, at: Clock::manual().now() };
        let mut streams = vec![place(1, 6), place(2, 7), place(3, 2), (stream(4), None)];
        marks.raise(&mut streams, &held);
        assert_eq!(streams, [place(1, 6), place(2, 9), place(3, 2), (stream(4), None)], "12 and 4 may be lost");
        let unknown = Offset { seq: 7, ..held };
        marks.raise(&mut streams, &unknown);
        assert_eq!(streams[2], place(3, 2), "a position that was never told says nothing");
    }
}
