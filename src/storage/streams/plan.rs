//! Who gets which `seq`. Pure: no database, no clock.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::FromRow;

use super::{Append, Appended, Head, Key};
use crate::error::{Error, Result};
use crate::ids::{EntryId, StreamId, UserId};

/// An entry that is stored already under a client id of the batch.
#[derive(Debug, FromRow)]
pub struct Known {
    pub stream_id: StreamId,
    pub sender_id: UserId,
    pub client_id: String,
    pub seq: i64,
    pub id: EntryId,
    pub kind: String,
    pub body: String,
    pub created_at: DateTime<Utc>,
}

/// What a batch comes to: an outcome for each append, in order, and the rows to write.
#[derive(Debug, Default)]
pub struct Plan {
    pub outcomes: Vec<Result<Appended>>,
    /// Index into the batch and `seq` of each row to write.
    pub rows: Vec<(usize, i64)>,
    /// The stretch that each stream grows by: stream, first and last `seq`.
    pub spans: Vec<(StreamId, i64, i64)>,
}

/// What stands under a client id, from before or from earlier in the batch.
struct Said<'a> {
    seq: i64,
    id: EntryId,
    at: DateTime<Utc>,
    content: (&'a str, &'a str),
}

/// Gives out `seq` in order of arrival; a repeat spends none.
pub fn plan(batch: &[&Append], heads: &[Head], known: &[Known]) -> Plan {
    let mut plan = Plan::default();
    let mut ends: BTreeMap<StreamId, (Head, i64)> = heads.iter().map(|it| (it.id, (*it, it.head))).collect();
    let mut seen: HashMap<Key<'_>, Said<'_>> = known
        .iter()
        .map(|it| {
            let key = (it.stream_id, it.sender_id, &*it.client_id);
            (key, Said { seq: it.seq, id: it.id, at: it.created_at, content: (&it.kind, &it.body) })
        })
        .collect();
    for (index, append) in batch.iter().enumerate() {
        let Some((head, last)) = ends.get_mut(&append.stream) else {
            plan.outcomes.push(Err(Error::NotFound("stream")));
            continue;
        };
        let content = (append.kind, &*append.body);
        let first = append.key().and_then(|key| seen.get(&key));
        if let Some(first) = first {
            let repeat = Appended { epoch: head.epoch, seq: first.seq, id: first.id, at: first.at, repeated: true };
            plan.outcomes.push(if first.content == content { Ok(repeat) } else { Err(mismatch()) });
            continue;
        }
        *last += 1;
        if let Some(key) = append.key() {
            seen.insert(key, Said { seq: *last, id: append.id, at: append.at, content });
        }
        plan.rows.push((index, *last));
        let appended = Appended { epoch: head.epoch, seq: *last, id: append.id, at: append.at, repeated: false };
        plan.outcomes.push(Ok(appended));
    }
    plan.spans = ends
        .into_iter()
        .filter(|(_, (head, last))| *last > head.head)
        .map(|(id, (head, last))| (id, head.head + 1, last))
        .collect();
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

    fn says(stream: StreamId, sender: UserId, client_id: &str, body: &str) -> Append {
        let clock = Clock::system();
        Append {
            stream,
            id: EntryId::new(&clock),
            kind: "message",
            sender: Some(sender),
            client_id: Some(client_id.to_owned()),
            body: body.to_owned(),
            at: clock.now(),
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
        let plan = plan(&batch, &[Head { id, epoch: 1, head: 7 }], &[]);
        assert_eq!(plan.rows, [(0, 8), (4, 9)]);
        assert_eq!(plan.spans, [(id, 8, 9)]);
        let at = |seq, it: &Append, repeated| Ok(Appended { epoch: 1, seq, id: it.id, at: it.at, repeated });
        assert_eq!(plan.outcomes[..2], [at(8, &first, false), at(8, &first, true)]);
        assert_eq!(plan.outcomes[2].as_ref().unwrap_err().code(), "idempotency_mismatch");
        assert_eq!(plan.outcomes[3], Err(Error::NotFound("stream")));
    }
}
