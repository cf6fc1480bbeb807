//! What stock clients have heard, for as long as they may come back.
//!
//! A client that comes back holds one position, of the stream that it heard last. Of the others the time tells where to
//! go on, which brings again what it has heard shortly before. This node remembers in which order it told things: what
//! came before the position has arrived, so it need not come twice. Another node does not know; then it does.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::close;
use super::following::Following;
use super::frames::Mark;
use super::offset::Offset;
use super::session::Session;
use super::socketio::unguessable;
use super::wire::Close;
use crate::clock::Moment;
use crate::ids::UserId;

/// Clients that have left and are remembered.
const LEFT_MAX: usize = 10_000;
/// Places that are remembered of each.
const MARKS_MAX: usize = 32;

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
    /// Of one that has left.
    marks: Marks,
}

#[derive(Default)]
struct State {
    clients: HashMap<String, Client>,
    /// Those that have left, and when; some of them are back.
    left: VecDeque<(Moment, String)>,
}

/// Stock clients by the name that they come back with.
#[derive(Default)]
pub struct Recall(Arc<Mutex<State>>);

impl Recall {
    /// Takes a client in under the name that it shows, or a new one. A session that still has the name has to go: it
    /// is the same client, which gave it up. Gives the name and what is remembered.
    pub(super) fn enter(&self, shown: Option<String>, user: UserId, session: &Arc<Session>) -> (String, Marks) {
        let mut state = self.0.lock();
        let own = |it: &String| state.clients.get(it).is_none_or(|it| it.user == user);
        let pid = shown.filter(own).unwrap_or_else(unguessable);
        let this = Arc::downgrade(session);
        let client = Client { user, session: this.clone(), marks: Marks::default() };
        let before = state.clients.insert(pid.clone(), client);
        drop(state);
        session.outbox(|outbox| outbox.remember());
        let marks = before.map(|it| match it.session.upgrade() {
            Some(old) => {
                let marks = old.outbox(|outbox| outbox.marks());
                old.close(&Close::new(close::DISPLACED, "came back elsewhere"));
                marks.unwrap_or(it.marks)
            }
            None => it.marks,
        });
        let (all, name, within) = (self.0.clone(), pid.clone(), session.sockets.config.recovers_within);
        session.at_end(move |session| {
            let now = session.sockets.clock.moment();
            let mut state = all.lock();
            let client = state.clients.get_mut(&name).filter(|it| it.session.ptr_eq(&this));
            if let (Some(client), Some(marks)) = (client, session.outbox(|outbox| outbox.marks())) {
                client.marks = marks;
                state.left.push_back((now, name));
            }
            state.forget(now, within);
        });
        (pid, marks.unwrap_or_default())
    }
}

impl State {
    /// Forgets those that have left too long ago, and those that are too many.
    fn forget(&mut self, now: Moment, within: Duration) {
        while let Some((_, pid)) = self
            .left
            .pop_front_if(|it| now.since(it.0) > within)
            .or_else(|| self.surplus().then(|| self.left.pop_front())?)
        {
            if self.clients.get(&pid).is_some_and(|it| it.session.strong_count() == 0) {
                self.clients.remove(&pid);
            }
        }
    }

    fn surplus(&self) -> bool {
        self.left.len() > LEFT_MAX
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
