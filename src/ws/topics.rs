//! Every stream that somebody here listens to.
//!
//! A topic is there as long as it has members. It is opened where its stream stands in the store; what is published
//! meanwhile is found there too, so nothing falls between.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::sleep;

use super::fanout::Heed;
use super::frames::Chunk;
use super::session::Session;
use super::topic::{Join, Topic, one_write};
use crate::actors::kernel::Root;
use crate::actors::kernel::streams::Audience;
use crate::error::{Error, Result};
use crate::ids::StreamId;
use crate::storage::streams::{Entered, Head, StreamStore};

/// Rows that one read of the store brings.
const PAGE_ENTRIES: i64 = 256;
/// How often a node that lags behind what a client has heard on another is looked at again: for two seconds.
const LOOKS_MAX: u32 = 20;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// A place that a client has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The life of the stream.
    pub epoch: i64,
    /// The last place heard.
    pub seq: i64,
}

/// Where history is read.
#[derive(Clone)]
pub enum History {
    /// The database.
    Store(StreamStore),
    /// What a test tells.
    #[cfg(test)]
    Told(super::tests::Told),
}

impl History {
    pub(super) async fn head(&self, stream: StreamId) -> Result<Head> {
        match self {
            History::Store(store) => store.head(stream).await,
            #[cfg(test)]
            History::Told(told) => told.head(stream).await,
        }
    }

    /// Entries with `after < seq <= up_to`, oldest first: all of them, or the first page.
    pub(super) async fn page(&self, stream: StreamId, after: i64, up_to: i64) -> Result<Vec<Arc<Entered>>> {
        let up_to = up_to.min(after + PAGE_ENTRIES);
        let page = match self {
            History::Store(store) => store.page(stream, after, up_to).await?,
            #[cfg(test)]
            History::Told(told) => told.page(after, up_to).await?,
        };
        Ok(page.into_iter().map(Arc::new).collect())
    }
}

/// Every topic.
#[derive(Clone)]
pub struct Topics {
    all: Arc<DashMap<StreamId, Arc<Topic>>>,
    pub(super) history: History,
    pub(super) root: Root,
    /// What some entries mean for those who hear them.
    pub(super) heed: Arc<OnceLock<Heed>>,
    replay_entries_max: i64,
}

impl Topics {
    /// No topic yet.
    pub fn new(root: &Root, history: History, replay_entries_max: i64) -> Topics {
        Topics { all: Arc::default(), history, root: root.clone(), heed: Arc::default(), replay_entries_max }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    fn get(&self, id: StreamId) -> Option<Arc<Topic>> {
        self.all.get(&id).map(|it| it.clone())
    }

    /// Brings a session from the position it has to live: what it missed, the marker, then every entry once; or tells it
    /// why the position cannot be served. Without a position it begins at the end.
    ///
    /// # Errors
    /// When it follows as many as it may, or the history cannot be read: then it has to come back later.
    pub async fn follow(&self, session: &Arc<Session>, id: StreamId, have: Option<Position>) -> Result<()> {
        let followed = self.resume(session, id, have).await;
        self.retire(id);
        if let Some((topic, why)) = followed? {
            session.send(&Chunk::place(id, topic.head(), Some(why), session.protocol));
        }
        Ok(())
    }

    /// Returns why a position cannot be served.
    async fn resume(
        &self,
        session: &Arc<Session>,
        id: StreamId,
        mut have: Option<Position>,
    ) -> Result<Option<(Arc<Topic>, &'static str)>> {
        let (oldest, mut looks) = (have, 0);
        loop {
            let topic = self.all.entry(id).or_insert_with(|| Topic::new(id)).clone();
            topic.open(self).await?;
            if !session.room().await {
                return Ok(None);
            }
            // Nobody joins a topic that was forgotten meanwhile.
            let here = self.all.get(&id).filter(|it| Arc::ptr_eq(it, &topic));
            let Some(joined) = here.map(|it| it.join(session, have)) else { continue };
            match joined? {
                Join::Done => {
                    session.flush();
                    return Ok(None);
                }
                Join::Reset(why) => return Ok(Some((topic, why))),
                // Of another life, or of this one by another node.
                Join::Ahead(position) => match self.history.head(id).await? {
                    it if it.epoch != position.epoch => return Ok(Some((topic, "epoch"))),
                    it if it.head < position.seq => return Ok(Some((topic, "ahead"))),
                    _ if looks == LOOKS_MAX => return Err(Error::unavailable("the end of the stream")),
                    it => {
                        topic.hint(self, it.head);
                        looks += 1;
                        sleep(LOOK_AGAIN_AFTER * looks).await;
                    }
                },
                Join::Missed(from, up_to) => {
                    if up_to - oldest.map_or(up_to, |it| it.seq) > self.replay_entries_max {
                        return Ok(Some((topic, "too_many")));
                    }
                    let page = self.history.page(id, from.seq, up_to).await?;
                    if page.is_empty() || page.iter().zip(from.seq + 1..).any(|(entry, seq)| entry.seq != seq) {
                        return Ok(Some((topic, "expired")));
                    }
                    topic.remember(&page);
                    let Some(seq) = send_all(session, id, from.epoch, &page).await else { return Ok(None) };
                    have = Some(Position { seq, ..from });
                }
            }
        }
    }

    /// Lets a session leave. What it does not follow it need not leave.
    pub fn leave(&self, session: &Session, id: StreamId) {
        session.note_left(id).iter().for_each(|(topic, member)| self.remove(topic, *member));
    }

    pub(super) fn remove(&self, topic: &Topic, member: u64) {
        topic.state.lock().members.remove(&member);
        self.retire(topic.id);
    }

    /// Forgets a topic that can go on no more.
    pub(super) fn forget(&self, topic: &Arc<Topic>) {
        self.all.remove_if(&topic.id, |_, it| Arc::ptr_eq(it, topic));
    }

    /// Forgets a topic that nobody listens to. Whoever is about to join it opens it anew.
    pub(super) fn retire(&self, id: StreamId) {
        self.all.remove_if(&id, |_, it| it.state.lock().members.is_empty());
    }
}

impl Audience for Topics {
    fn entries(&self, stream: StreamId, epoch: i64, entries: &[Arc<Entered>]) {
        if let Some(topic) = self.get(stream) {
            topic.publish(self, epoch, entries);
        }
    }

    fn volatile(&self, topic: StreamId, kind: &str, value: &str) {
        if let Some(topic) = self.get(topic) {
            topic.tell(self, kind, value);
        }
    }

    fn missed(&self) {
        let topics = self.clone();
        self.root.task("topics", async move {
            let all: Vec<Arc<Topic>> = topics.all.iter().map(|it| it.clone()).collect();
            for topic in all {
                match topics.history.head(topic.id).await {
                    Ok(stored) => topic.hint(&topics, stored.head),
                    Err(error) => tracing::warn!(event = "topics.missed", %error, "a stream is not looked up"),
                }
            }
        });
    }

    fn listens_to(&self, stream: StreamId) -> bool {
        self.all.contains_key(&stream)
    }
}

/// Sends what was read, each write when there is room for it. Returns the last place, or nothing when the session ended.
async fn send_all(session: &Arc<Session>, id: StreamId, epoch: i64, page: &[Arc<Entered>]) -> Option<i64> {
    let (mut rest, mut reached) = (page, None);
    while let (now @ [.., last], later) = rest.split_at(one_write(rest.iter())) {
        if !session.room().await {
            return None;
        }
        session.send(&Chunk::of(id, epoch, now.iter().map(AsRef::as_ref), session.protocol));
        (reached, rest) = (Some(last.seq), later);
    }
    reached
}
