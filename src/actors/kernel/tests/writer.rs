//! The lane of the writer is supervised.

use super::*;
use crate::actors::kernel::writer::Writer;
use crate::config::{DatabaseConfig, WriterConfig};
use crate::ids::{EntryId, StreamId};
use crate::storage::db::Db;
use crate::storage::streams::{Append, StreamStore};
use crate::storage::writes::Write;

#[tokio::test]
async fn a_lane_that_panics_comes_back_and_keeps_its_queue() {
    let (folder, clock) = (tempfile::TempDir::new().unwrap(), Clock::system());
    let config = DatabaseConfig::Sqlite {
        path: folder.path().join("folio.db"),
        readers: 1,
        acquire_within: Duration::from_secs(2),
    };
    let (db, stream) = (Db::open(&config).await.unwrap(), StreamId::new(&clock));
    db.migrate().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    StreamStore::create(&mut tx, stream, "conversation").await.unwrap();
    tx.commit().await.unwrap();
    let root = Root::start(clock.clone()).await.unwrap();
    let config = WriterConfig { batch_max: 2, ..WriterConfig::default() };
    let writer = Writer::start(&root, &db, &config, Arc::default());
    let (id, body) = (EntryId::new(&clock), "{}".to_owned());
    let append = Append { stream, id, kind: "test", sender: None, client_id: None, body };
    writer.stats().fail_next.store(true, SeqCst);
    let hand = || writer.write(Write::Entry(Append { id: EntryId::new(&clock), ..append.clone() })).unwrap();
    let answers = [hand(), hand(), hand(), hand()];
    let mut seqs = Vec::new();
    for answer in answers {
        seqs.push(answer.await.map(|it| it.entry().unwrap().seq));
    }
    let gone = || Err(Error::unavailable("writer"));
    assert_eq!(seqs, [gone(), gone(), Ok(1), Ok(2)]);
    assert_eq!(root.tasks()[0].panics, 1);
    assert_eq!(writer.stats().bytes.load(SeqCst), 0);
}
