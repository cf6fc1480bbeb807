//! What ties a session to others: the topics that it follows, and what has to be undone at its end.

use std::sync::Arc;

use super::session::Session;
use super::topic::Topic;
use super::topics;

/// A topic, and the page of it that holds the session.
type Joined = (Arc<Topic>, usize);

/// Something to be undone.
type AtEnd = Box<dyn FnOnce(&Session) + Send>;

/// What has to be undone at the end.
#[derive(Default)]
pub(super) struct Bonds {
    pub joined: Vec<Joined>,
    pub at_end: Vec<AtEnd>,
}

impl Session {
    /// Does something when the session ends; at once, if it has ended.
    pub fn at_end(&self, act: impl FnOnce(&Session) + Send + 'static) {
        match self.bonds.lock().as_mut() {
            Some(bonds) => bonds.at_end.push(Box::new(act)),
            None => act(self),
        }
    }

    /// Notes a topic joined. An error means that the session must not be added.
    pub(super) fn note_joined(&self, topic: &Arc<Topic>, page: usize) -> Result<(), topics::Followed> {
        let mut bonds = self.bonds.lock();
        let Some(bonds) = bonds.as_mut() else { return Err(topics::Followed::Gone) };
        match bonds.joined.len() {
            _ if bonds.joined.iter().any(|it| Arc::ptr_eq(&it.0, topic)) => Err(topics::Followed::Already),
            count if count >= self.sockets.config.topics_max => Err(topics::Followed::TooMany),
            _ => {
                bonds.joined.push((topic.clone(), page));
                Ok(())
            }
        }
    }

    pub(super) fn follows(&self, topic: &Arc<Topic>) -> bool {
        self.bonds.lock().iter().any(|bonds| bonds.joined.iter().any(|it| Arc::ptr_eq(&it.0, topic)))
    }

    pub(super) fn note_left(&self, topic: &Arc<Topic>) -> Option<usize> {
        let mut bonds = self.bonds.lock();
        let joined = &mut bonds.as_mut()?.joined;
        let at = joined.iter().position(|it| Arc::ptr_eq(&it.0, topic))?;
        Some(joined.swap_remove(at).1)
    }
}
