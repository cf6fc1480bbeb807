//! Every stream that somebody here listens to.
//!
//! A topic is there as long as it has members. It is opened where its stream stands in the store; what is published
//! meanwhile is found there too, so nothing falls between.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::timeout;

use super::following::Following;
use super::frames::{Chunk, Mark};
use super::session::Session;
use super::topic::{Join, Topic, one_write};
use crate::actors::kernel::Root;
use crate::actors::kernel::streams::Audience;
use crate::error::{Error, Result};
use crate::ids::StreamId;
use crate::storage::streams::{Entered, Head, StreamStore, Why};

/// Rows that one read of the store brings.
const PAGE_ENTRIES: i64 = 256;
/// How long a node may lag behind what a client has heard on another.
const LAG_WITHIN: Duration = Duration::from_secs(2);

/// A place that a client has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The life of the stream.
    pub epoch: i64,
    /// The last place heard.
    pub seq: i64,
}

/// How a resume ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Everything missed was sent, then the marker; live from here.
    Live,
    /// It was so before.
    Already,
    /// The position cannot be served: the client was told to load afresh.
    Reset,
    /// It follows as many as it may.
    TooMany,
    /// The session ended meanwhile.
    Gone,
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

/// What happens when there is one more stream for a session to hear.
type Joined = Box<dyn Fn(&Arc<Session>, Following) + Send + Sync>;

/// Every topic.
#[derive(Clone)]
pub struct Topics {
    all: Arc<DashMap<StreamId, Arc<Topic>>>,
    pub(super) history: History,
    pub(super) root: Root,
    pub(super) joined: Arc<OnceLock<Joined>>,
    replay_entries_max: i64,
}

impl Topics {
    /// No topic yet.
    pub fn new(root: &Root, history: History, replay_entries_max: i64) -> Topics {
        Topics { all: Arc::default(), history, root: root.clone(), joined: Arc::default(), replay_entries_max }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    fn get(&self, id: StreamId) -> Arc<Topic> {
        self.all.entry(id).or_insert_with(|| Topic::new(id)).clone()
    }

    /// Brings a session from the position it has to live: what it missed, the marker, then every entry once. Without
    /// a position it begins at the end.
    ///
    /// # Errors
    /// When the history cannot be read: the session has to be closed, to come back later.
    pub async fn follow(&self, session: &Arc<Session>, id: StreamId, have: Option<Position>) -> Result<Followed> {
        let (mut have, oldest) = (have, have);
        loop {
            let topic = self.get(id);
            let opened = topic.open(self).await;
            if opened.is_err() {
                self.retire(&topic);
            }
            opened?;
            if !session.room().await {
                return Ok(Followed::Gone);
            }
            match topic.join(session, have) {
                Join::Done(followed) => return Ok(followed),
                Join::Retired => {}
                Join::Reset(why) => return Ok(self.reset(session, &topic, why)),
                Join::Ahead(position) => {
                    if let Some(why) = self.catch_up(&topic, position).await? {
                        return Ok(self.reset(session, &topic, why));
                    }
                }
                Join::Missed { from, up_to } => {
                    if up_to - oldest.map_or(up_to, |it| it.seq) > self.replay_entries_max {
                        return Ok(self.reset(session, &topic, Why::TooMany));
                    }
                    let page = self.history.page(id, from.seq, up_to).await?;
                    if page.is_empty() || page.iter().zip(from.seq + 1..).any(|(entry, seq)| entry.seq != seq) {
                        return Ok(self.reset(session, &topic, Why::Expired));
                    }
                    topic.remember(&page);
                    let Some(reached) = send_all(session, id, from.epoch, &page).await else {
                        return Ok(Followed::Gone);
                    };
                    have = Some(Position { seq: reached, ..from });
                }
            }
        }
    }

    /// A client has heard more than this topic: of another life, or of this one by another node.
    async fn catch_up(&self, topic: &Arc<Topic>, have: Position) -> Result<Option<Why>> {
        let stored = self.history.head(topic.id).await?;
        match stored.epoch == have.epoch {
            false => return Ok(Some(Why::Epoch)),
            true if stored.head < have.seq => return Ok(Some(Why::Ahead)),
            true => topic.hint(self, stored.head),
        }
        let caught_up = timeout(LAG_WITHIN, topic.reaches(have.seq)).await;
        caught_up.map(|()| None).map_err(|_| Error::unavailable("the end of the stream"))
    }

    fn reset(&self, session: &Arc<Session>, topic: &Arc<Topic>, why: Why) -> Followed {
        let (epoch, seq) = topic.head();
        session.send(&Chunk::reset(Mark { stream: topic.id, seq }, epoch, why, session.protocol));
        self.retire(topic);
        Followed::Reset
    }

    /// Whether a session follows a stream.
    pub(super) fn follows(&self, session: &Session, id: StreamId) -> bool {
        self.all.get(&id).is_some_and(|it| session.follows(&it))
    }

    /// Lets a session leave. What it does not follow it need not leave.
    pub fn leave(&self, session: &Arc<Session>, id: StreamId) {
        let topic = self.all.get(&id).map(|it| it.clone());
        if let Some(topic) = topic
            && let Some(page) = session.note_left(&topic)
        {
            self.remove(&topic, session, page);
        }
    }

    pub(super) fn remove(&self, topic: &Arc<Topic>, session: &Session, page: usize) {
        if topic.remove(session, page) {
            self.retire(topic);
        }
    }

    /// Forgets a topic that nobody listens to. Whoever is about to join it opens it anew.
    pub(super) fn retire(&self, topic: &Arc<Topic>) {
        self.all.remove_if(&topic.id, |_, it| Arc::ptr_eq(it, topic) && topic.retire_if_empty());
    }
}

impl Topics {
    /// Forgets a topic that can go on no more.
    pub(super) fn forget(&self, topic: &Arc<Topic>) {
        self.all.remove_if(&topic.id, |_, it| Arc::ptr_eq(it, topic));
    }
}

impl Audience for Topics {
    fn entries(&self, stream: StreamId, epoch: i64, entries: &[Arc<Entered>]) {
        let topic = self.all.get(&stream).map(|it| it.clone());
        if let Some(topic) = topic {
            topic.publish(self, epoch, entries);
        }
    }

    fn volatile(&self, topic: StreamId, kind: &str, value: &str) {
        let topic = self.all.get(&topic).map(|it| it.clone());
        if let Some(topic) = topic {
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
