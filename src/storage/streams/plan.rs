//! Who gets which `seq`, and when it is said. Pure: no database, no clock.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Append, Appended, Entered, Head, Key};
use crate::error::{Error, Result};
use crate::ids::StreamId;

/// An entry that is stored already under a client id of the batch.
#[derive(Debug, FromRow)]
pub struct Known {
    pub stream_id: StreamId,
    #[sqlx(flatten)]
    pub entry: Entered,
}

/// What a batch comes to: an outcome for each append, in order, and the rows to write.
#[derive(Debug, Default)]
pub struct Plan {
    pub outcomes: Vec<Result<Appended>>,
    /// Index into the batch, `seq` and time of each row to write.
    pub rows: Vec<(usize, i64, DateTime<Utc>)>,
    /// The stretch that each stream grows by: stream, first and last `seq`, and the time of the last.
    pub spans: Vec<(StreamId, i64, i64, DateTime<Utc>)>,
}

/// Gives out `seq` in order of arrival; a repeat spends none. Within a stream time never goes back, whatever the clock
/// does.
pub fn plan<'k>(batch: &[&'k Append], heads: &[Head], known: &'k [Known], now: DateTime<Utc>) -> Plan {
    let mut plan = Plan::default();
    let mut ends: BTreeMap<StreamId, (Head, i64)> = heads.iter().map(|it| (it.id, (*it, it.head))).collect();
    // What stands under a client id, from before or from earlier in the batch.
    let said = |Known { stream_id, entry: it }: &'k Known| {
        let first = Appended { epoch: 0, seq: it.seq, id: it.id, at: it.created_at, repeated: true };
        Some(((*stream_id, it.sender_id?, it.client_id.as_deref()?), (first, (&*it.kind, &*it.body))))
    };
    let mut seen: HashMap<Key<'_>, _> = known.iter().filter_map(said).collect();
    for (index, append) in batch.iter().enumerate() {
        let Some((head, last)) = ends.get_mut(&append.stream) else {
            plan.outcomes.push(Err(Error::NotFound("stream")));
            continue;
        };
        let content = (append.kind, &*append.body);
        if let Some((first, said)) = append.key().and_then(|key| seen.get(&key)) {
            let repeat = Appended { epoch: head.epoch, ..*first };
            plan.outcomes.push(if *said == content { Ok(repeat) } else { Err(mismatch()) });
            continue;
        }
        *last += 1;
        let (epoch, seq, at) = (head.epoch, *last, now.max(head.head_at));
        let appended = Appended { epoch, seq, id: append.id, at, repeated: false };
        if let Some(key) = append.key() {
            seen.insert(key, (Appended { repeated: true, ..appended }, content));
        }
        plan.rows.push((index, seq, at));
        plan.outcomes.push(Ok(appended));
    }
    let grown = ends.into_iter().filter(|(_, (head, last))| *last > head.head);
    plan.spans = grown.map(|(id, (head, last))| (id, head.head + 1, last, now.max(head.head_at))).collect();
    plan
}

fn mismatch() -> Error {
    let fields = BTreeMap::from([("client_id".to_owned(), "was used for something else".to_owned())]);
    Error::Invalid { code: "idempotency_mismatch", fields }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::ids::{EntryId, UserId};

    fn says(stream: StreamId, sender: UserId, client_id: &str, body: &str) -> Append {
        let clock = Clock::system();
        Append {
            stream,
            id: EntryId::new(&clock),
            kind: "message",
            sender: Some(sender),
            client_id: Some(client_id.to_owned()),
            body: body.to_owned(),
        }
    }

    #[test]
    fn a_repeat_or_an_unknown_stream_spends_no_seq() {
        let clock = Clock::system();
        let (id, ada) = (StreamId::new(&clock), UserId::new(&clock));
        let first = says(id, ada, "a", "hi");
        let (other, lost) = (says(id, ada, "a", "ho"), says(StreamId::new(&clock), ada, "b", "hi"));
        let second = says(id, ada, "b", "hi");
        let batch = [&first, &first, &other, &lost, &second];
        let now = clock.now();
        let plan = plan(&batch, &[Head { id, epoch: 1, head: 7, head_at: now }], &[], now);
        assert_eq!(plan.rows, [(0, 8, now), (4, 9, now)]);
        assert_eq!(plan.spans, [(id, 8, 9, now)]);
        let at = |seq, it: &Append, repeated| Ok(Appended { epoch: 1, seq, id: it.id, at: now, repeated });
        assert_eq!(plan.outcomes[..2], [at(8, &first, false), at(8, &first, true)]);
        assert_eq!(plan.outcomes[2].as_ref().unwrap_err().code(), "idempotency_mismatch");
        assert_eq!(plan.outcomes[3], Err(Error::NotFound("stream")));
    }

    #[test]
    fn within_a_stream_time_never_goes_back_though_the_clock_does() {
        let (clock, minute) = (Clock::manual(), chrono::TimeDelta::minutes(1));
        let (behind, ahead) = (StreamId::new(&clock), StreamId::new(&clock));
        let (now, ada) = (clock.now(), UserId::new(&clock));
        let head = |id, head_at| Head { id, epoch: 1, head: 1, head_at };
        let (first, second) = (says(behind, ada, "a", "hi"), says(ahead, ada, "a", "hi"));
        let plan = plan(&[&first, &second], &[head(behind, now - minute), head(ahead, now + minute)], &[], now);
        assert_eq!(plan.rows, [(0, 2, now), (1, 2, now + minute)]);
        assert_eq!(plan.spans, [(behind, 2, 2, now), (ahead, 2, 2, now + minute)]);
    }
}
