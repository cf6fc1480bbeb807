//! What stock clients and event sources come back with: one opaque position.
//!
//! Its stream resumes exactly; the other streams of the same user from the commit time, less the longest commit, which
//! brings again what was heard shortly before. This node remembers in which order it told things: what came before the
//! position has arrived, so it need not come twice. Another node does not know; then it does.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Weak};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use uuid::Uuid;

use super::following::Following;
use super::frames::Mark;
use super::session::Session;
use super::wire::Close;
use crate::error::Error;
use crate::ids::{StreamId, UserId};

/// How many letters an offset has at most.
pub const LETTERS_MAX: usize = 64;
/// Clients that are remembered.
const CLIENTS_MAX: usize = 20_000;
/// Places that are remembered of each.
const MARKS_MAX: usize = 32;

/// A name that nobody guesses.
pub(super) fn unguessable() -> String {
    let bytes: [u8; 16] = ring::rand::generate(&SystemRandom::new()).expect("the system has chance").expose();
    Uuid::from_bytes(bytes).to_string()
}

/// A place in one stream, and when it was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The stream that was heard last.
    pub stream: StreamId,
    /// Its life.
    pub epoch: i64,
    /// The place in it.
    pub seq: i64,
    /// When that was committed, or a moment earlier.
    pub at: DateTime<Utc>,
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Offset { stream, epoch, seq, at } = self;
        write!(f, "{}.{epoch:x}.{seq:x}.{:x}", stream.0.simple(), at.timestamp_millis())
    }
}

impl FromStr for Offset {
    type Err = Error;

    /// What was never given out is malformed.
    fn from_str(text: &str) -> Result<Offset, Error> {
        let mut words = text.split('.');
        let mut read = || {
            let stream = StreamId(Uuid::try_parse(words.next()?).ok()?);
            let mut number = || i64::from_str_radix(words.next()?, 16).ok().filter(|it| *it >= 0);
            let (epoch, seq, at) = (number()?, number()?, DateTime::from_timestamp_millis(number()?)?);
            words.next().is_none().then_some(Offset { stream, epoch, seq, at })
        };
        read().ok_or(Error::Malformed("the offset is not one that was given out"))
    }
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

/// Stock clients by the name that they come back with, and those names in the order in which they came.
#[derive(Default)]
pub struct Recall(Mutex<(HashMap<String, Client>, VecDeque<String>)>);

impl Recall {
    /// Takes a client in under the name that it shows, or a new one. A session that still has the name has to go: it
    /// is the same client, which gave it up. The first of too many is forgotten: it may hear something twice. Gives the
    /// name and what is remembered.
    pub(super) fn enter(
        &self,
        shown: Option<String>,
        user: UserId,
        session: &Arc<Session>,
    ) -> (String, Arc<Mutex<Marks>>) {
        let mut known = self.0.lock();
        let (clients, names) = &mut *known;
        let own = |it: &String| clients.get(it).is_none_or(|it| it.user == user);
        let pid = shown.filter(own).unwrap_or_else(unguessable);
        let before = clients.remove(&pid);
        let marks = before.as_ref().map(|it| it.marks.clone()).unwrap_or_default();
        clients.insert(pid.clone(), Client { user, session: Arc::downgrade(session), marks: marks.clone() });
        names.push_back(pid.clone());
        let surplus = names.len() > CLIENTS_MAX;
        names.pop_front_if(|_| surplus).map(|it| clients.remove(&it));
        drop(known);
        if let Some(old) = before.and_then(|it| it.session.upgrade()) {
            old.close(&Close::new(Close::DISPLACED, "came back elsewhere"));
        }
        session.outbox(|outbox| outbox.marks = Some(marks.clone()));
        (pid, marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::ws::topics::Position;

    #[test]
    fn an_offset_comes_back_as_it_went_and_anything_else_is_refused() {
        let at = DateTime::from_timestamp_millis(1_795_320_000_123).unwrap();
        let offset = Offset { stream: StreamId::new(&Clock::system()), epoch: 3, seq: i64::MAX, at };
        let text = offset.to_string();
        assert!(text.len() <= LETTERS_MAX, "{text}");
        assert_eq!(text.parse::<Offset>(), Ok(offset));
        let long = format!("{text}.{text}");
        for text in
            ["", "0", "x", &text[1..], &text[..40], &text.replace(".3.", ".-3."), &long, &"A".repeat(1 << 16), "ä"]
        {
            assert_eq!(text.parse::<Offset>().map_err(|it| it.code()), Err("malformed"), "{text:.80}");
        }
    }

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
