//! What is heard in one conversation, held against what was said: every member hears every message once, all in the same
//! order, and Folio's in the order of its places without a gap.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::speech;

/// One conversation.
pub struct Ledger {
    stream: String,
    members: usize,
    /// Whether places have to rise by one.
    dense: bool,
    /// The place of the first entry that was heard, in the order of hearing.
    first_seq: Option<u64>,
    /// Entries that everybody has heard.
    done: usize,
    kept: VecDeque<Kept>,
    said: HashMap<u64, Instant>,
    /// Messages that came before one with a lower place.
    pub swapped: u64,
}

/// An entry that somebody has not heard yet.
struct Kept {
    text: Box<[u8]>,
    seq: u64,
    said: Option<(u64, Instant)>,
    heard: usize,
}

impl Ledger {
    pub fn new(stream: &str, members: usize, dense: bool) -> Ledger {
        Ledger {
            stream: stream.to_owned(),
            members,
            dense,
            first_seq: None,
            done: 0,
            kept: VecDeque::new(),
            said: HashMap::new(),
            swapped: 0,
        }
    }

    /// Notes what is being said.
    pub fn say(&mut self, number: u64, at: Instant) {
        self.said.insert(number, at);
    }

    /// Takes what one member hears next, who has heard so many entries before. Tells which message it is and since when
    /// it is under way; nothing when it is no message.
    pub fn hear(&mut self, before: &mut usize, text: &[u8]) -> Result<Option<(u64, Instant)>, String> {
        let at = before.checked_sub(self.done).ok_or("heard more than everybody")?;
        if self.kept.get(at).is_none_or(|it| *it.text != *text) && !self.read(at, text)? {
            return Ok(None);
        }
        *before += 1;
        let kept = &mut self.kept[at];
        kept.heard += 1;
        let said = kept.said;
        while self.kept.front().is_some_and(|it| it.heard == self.members) {
            self.kept.pop_front();
            self.done += 1;
        }
        Ok(said)
    }

    /// Reads an entry that comes for the first time, or in other bytes than before. False when it is of another stream.
    fn read(&mut self, at: usize, text: &[u8]) -> Result<bool, String> {
        let shown = || String::from_utf8_lossy(&text[..text.len().min(400)]).into_owned();
        if speech::word(text, br#""stream":"#) != self.stream.as_bytes() {
            return Ok(false);
        }
        let seq = speech::number(text, br#""seq":"#).ok_or_else(|| format!("no place: {}", shown()))?;
        let number = speech::said(text);
        if let Some(kept) = self.kept.get(at) {
            let same = kept.seq == seq && kept.said.map(|it| it.0) == number;
            return if same { Ok(true) } else { Err(format!("{} was expected, not {}", kept.seq, shown())) };
        }
        let first = *self.first_seq.get_or_insert(seq);
        let due = first + (self.done + at) as u64;
        if seq != due {
            if self.dense {
                return Err(format!("place {due} was expected: {}", shown()));
            }
            self.swapped += 1;
        }
        let said = match number {
            Some(number) => {
                let at = self.said.remove(&number).ok_or_else(|| format!("nobody said that now: {}", shown()))?;
                Some((number, at))
            }
            None => None,
        };
        self.kept.push_back(Kept { text: text.into(), seq, said, heard: 0 });
        Ok(true)
    }

    /// The place of the last entry that somebody has heard who has heard so many.
    pub fn seq(&self, heard: usize) -> Option<u64> {
        Some(self.first_seq? + (heard as u64).checked_sub(1)?)
    }
}
