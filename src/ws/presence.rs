//! Who follows whom: what is told of somebody goes to the sessions that asked for it.
//!
//! A session hears how those it names are now, then what changes. Both pass one gate, so that nothing old comes behind
//! something new. What waits for a slow client is replaced by the next of the same person.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::frames::{Batch, Chunk, Protocol, key};
use super::session::Session;
use crate::actors::presence::rules::{Brief, Seen, Step};
use crate::actors::presence::{ASKED_MAX, Presence, Sight, Told};
use crate::error::{Error, Result};
use crate::ids::UserId;

/// Steps that are told before others have a turn.
const STEPS_AT_ONCE: usize = 64;
const TOO_MANY: Error =
    Error::Conflict { code: "too_many_followed", detail: "this connection follows as many people as it may" };

/// Who follows whom, here.
pub struct Followers {
    presence: Presence,
    by_user: DashMap<UserId, Vec<Weak<Session>>>,
    gate: Mutex<()>,
}

impl Followers {
    pub(super) fn new(presence: &Presence) -> Arc<Followers> {
        Arc::new(Followers { presence: presence.clone(), by_user: DashMap::new(), gate: Mutex::new(()) })
    }

    /// Lets a session follow people whom it has not asked for, as long as half of the places are left for those it asks
    /// for.
    ///
    /// # Errors
    /// When they cannot be looked up.
    pub async fn meet(self: &Arc<Self>, session: &Arc<Session>, viewer: UserId, mut users: Vec<UserId>) -> Result<()> {
        let known = session.followed.lock().clone().unwrap_or_default();
        let mut met = HashSet::new();
        users.retain(|it| !known.contains(it) && met.insert(*it));
        users.truncate((self.presence.followed_max() / 2).saturating_sub(known.len()));
        match self.follow(session, viewer, &users, false).await {
            // Meanwhile it has asked for as many as it may, and those come first.
            Err(Error::Conflict { .. }) => Ok(()),
            followed => followed,
        }
    }

    /// Lets a session follow people, and tells it how they are now.
    ///
    /// # Errors
    /// When it follows as many as it may, or they cannot be looked up.
    pub async fn follow(
        self: &Arc<Self>,
        session: &Arc<Session>,
        viewer: UserId,
        users: &[UserId],
        asked: bool,
    ) -> Result<()> {
        for some in users.chunks(ASKED_MAX) {
            let sight = self.presence.see(viewer, some).await?;
            if session.room().await {
                self.enter(session, sight, asked)?;
            }
        }
        Ok(())
    }

    fn enter(self: &Arc<Self>, session: &Arc<Session>, mut sight: Sight, asked: bool) -> Result<()> {
        let open = sight.seen.iter().map(|it| it.user_id).filter(|it| !sight.hidden.contains(it));
        let (wanted, this) = (open.collect::<HashSet<_>>(), Arc::downgrade(session));
        let first = {
            let mut all = session.followed.lock();
            let first = all.is_none();
            let followed = all.get_or_insert_default();
            if followed.union(&wanted).count() > self.presence.followed_max() {
                return Err(TOO_MANY);
            }
            for user in wanted.into_iter().filter(|it| followed.insert(*it)) {
                self.by_user.entry(user).or_default().push(this.clone());
            }
            first
        };
        if first {
            let followers = self.clone();
            session.at_end(move |session| {
                let followed = session.followed.lock().take();
                followed.iter().flat_map(|it| it.iter()).for_each(|it| followers.remove(*it, session));
            });
        }
        let _gate = self.gate.lock();
        self.presence.refresh(&mut sight);
        // Stock clients know of no state: they hear of each who is here.
        if session.protocol == Protocol::SocketIo && !asked {
            let here = sight.seen.iter().filter(|it| it.online);
            here.for_each(|it| session.queue(chunk(Step::Join, it, session.protocol)));
            session.flush();
        } else {
            session.send(&Chunk::told(session.protocol, "presence", &json!({ "state": sight.seen }).to_string()));
        }
        Ok(())
    }

    /// Lets a session hear of somebody no more.
    pub fn unfollow(&self, session: &Session, user: UserId) {
        if session.followed.lock().as_mut().is_some_and(|it| it.remove(&user)) {
            self.remove(user, session);
        }
    }

    fn remove(&self, user: UserId, session: &Session) {
        self.by_user.remove_if_mut(&user, |_, followers| {
            followers.retain(|it| !std::ptr::eq(it.as_ptr(), session));
            followers.is_empty()
        });
    }

    fn of(&self, user: UserId) -> Vec<Arc<Session>> {
        self.by_user.get(&user).iter().flat_map(|it| it.iter()).filter_map(Weak::upgrade).collect()
    }

    /// Tells what is told, to those who follow.
    pub(super) async fn listen(self: Arc<Self>, mut told: Receiver<Told>) {
        loop {
            match told.recv().await {
                Ok(Told::Steps(steps)) => {
                    for some in steps.chunks(STEPS_AT_ONCE) {
                        self.tell(some);
                        tokio::task::yield_now().await;
                    }
                }
                Ok(Told::Parted(one, other)) => {
                    self.part(one, other);
                    self.part(other, one);
                }
                Err(RecvError::Lagged(_)) => self.tell_all(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn tell(&self, steps: &[(Step, Seen)]) {
        let _gate = self.gate.lock();
        let mut touched = HashMap::new();
        for (step, seen) in steps {
            let followers = self.of(seen.user_id);
            let (step, seen) = (*step, seen.clone());
            let batch = Batch::new(move |protocol| vec![chunk(step, &seen, protocol)]);
            for session in followers {
                batch.chunks(session.protocol).iter().for_each(|it| session.queue(it.clone()));
                touched.insert(Arc::as_ptr(&session), session);
            }
        }
        touched.values().for_each(Session::flush);
    }

    /// Tells of everybody as they are now: what changed meanwhile was missed.
    fn tell_all(&self) {
        let nobody = Brief::default();
        let seen = self.by_user.iter().map(|it| Seen::new(*it.key(), &nobody, None)).collect();
        let mut sight = Sight { seen, hidden: Vec::new() };
        self.presence.refresh(&mut sight);
        let step = |it: &Seen| if it.online { Step::Update } else { Step::Leave };
        let steps: Vec<_> = sight.seen.into_iter().map(|it| (step(&it), it)).collect();
        steps.chunks(STEPS_AT_ONCE).for_each(|some| self.tell(some));
    }

    /// Somebody is not here any more, as far as one of those who follow may know.
    fn part(&self, viewer: UserId, user: UserId) {
        let gone = Seen::new(user, &Brief::default(), None);
        for session in self.of(user).iter().filter(|it| it.who().is_some_and(|it| it.user == viewer)) {
            self.unfollow(session, user);
            session.send(&chunk(Step::Leave, &gone, session.protocol));
        }
    }
}

/// One step of somebody: under one of three lists, or by the name that stock clients know.
fn chunk(step: Step, seen: &Seen, protocol: Protocol) -> Chunk {
    let list = |of: Step| if of == step { std::slice::from_ref(seen) } else { &[] };
    let told = match protocol {
        Protocol::SocketIo => Chunk::told(protocol, "user_online", &json!(seen).to_string()),
        _ => {
            let (joins, leaves, updates) = (list(Step::Join), list(Step::Leave), list(Step::Update));
            let lists = json!({ "joins": joins, "leaves": leaves, "updates": updates });
            Chunk::told(protocol, "presence", &lists.to_string())
        }
    };
    Chunk { replaces: Some(key(seen.user_id.0, "presence")), ..told }
}
