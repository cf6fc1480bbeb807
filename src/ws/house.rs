//! The way from live connections into the capabilities: who signs in, what they follow, what they ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::value::RawValue;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Sockets;
use super::calls::{self, Asked};
use super::following::Following;
use super::frames::{Chunk, Protocol};
use super::presence::Followers;
use super::recall::Offset;
use super::requests::{Proof, Requests};
use super::session::Session;
use super::socketio::{Engines, Lobby, Peer};
use super::topic::BATCH_ENTRIES_MAX;
use super::topics::Position;
use super::wire::Close;
use crate::actors::Actors;
use crate::actors::auth::Person;
use crate::actors::auth::doors::Cut;
use crate::actors::conversations::Progress;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::ids::{ConversationId, StreamId};
use crate::storage::streams::StreamStore;

/// How far the clocks of two nodes may differ.
const SKEW: Duration = Duration::from_secs(3);

/// Conversations about which one question is asked.
const CONVERSATIONS_AT_ONCE: usize = 20;

/// What Folio does, for whoever is connected. Cloning it gives the same.
#[derive(Clone)]
pub struct House(Arc<Inner>);

struct Inner {
    actors: Actors,
    followers: Arc<Followers>,
    streams: StreamStore,
    clock: Clock,
    topics_max: usize,
    /// How far behind the time of a commit others may be that were committed before it.
    behind: TimeDelta,
}

/// What connections are served by: the same house on every transport.
pub struct Live {
    /// For clients of ours and event sources.
    pub house: Arc<House>,
    /// For stock clients.
    pub stock: Arc<Engines<Peer<Lobby<House>>>>,
}

impl Live {
    /// Opens the house, and sends away whoever is cut off.
    pub fn start(sockets: &Arc<Sockets>, actors: &Actors, streams: StreamStore, commit_within: Duration) -> Live {
        let behind = TimeDelta::from_std(commit_within + SKEW).unwrap_or(TimeDelta::MAX);
        let topics_max = sockets.config.topics_max;
        let followers = Followers::new(&actors.presence);
        let (listening, presence) = (followers.clone(), actors.presence.clone());
        sockets.root.keep("followers", move |_| listening.clone().listen(presence.listen()));
        let inner =
            Inner { actors: actors.clone(), followers, streams, clock: sockets.clock.clone(), topics_max, behind };
        let house = Arc::new(House(Arc::new(inner)));
        let (heeding, listening) = (house.clone(), sockets.clone());
        sockets.root.keep("cuts", move |_| heeding.clone().heed(listening.clone(), heeding.0.actors.auth.listen()));
        house.heed_entries(&sockets.topics);
        let lobby = Arc::new(Lobby(house.clone()));
        Live { house, stock: Engines::new(sockets, move |_| Peer::new(&lobby)) }
    }
}

impl House {
    /// What Folio does.
    pub fn actors(&self) -> &Actors {
        &self.0.actors
    }

    /// Who follows whom.
    pub fn followers(&self) -> &Arc<Followers> {
        &self.0.followers
    }

    /// Closes the sessions of whoever is cut off, on this node or another.
    async fn heed(self: Arc<Self>, sockets: Arc<Sockets>, mut cuts: Receiver<Cut>) {
        let (roll, gone) = (&sockets.roll, Close::new(Close::UNAUTHENTICATED, "signed_out"));
        let (auth, mut heard) = (&self.0.actors.auth, Err(RecvError::Lagged(0)));
        loop {
            match heard {
                Ok(Cut::Session(session)) => roll.cut(None, |it| it.person.session == session, &gone),
                Ok(Cut::Person { user, grants }) => roll.cut(Some(user), |it| it.grants < grants, &gone),
                // What was missed, or happened before this began, is looked up.
                Err(RecvError::Lagged(_)) => {
                    roll.cut(None, |it| matches!(auth.still_lets_in(it), Err(Error::Unauthenticated(_))), &gone);
                }
                Err(RecvError::Closed) => return,
            }
            heard = cuts.recv().await;
        }
    }

    async fn sign_in(self, session: Arc<Session>, proof: Proof) -> Result<Person> {
        let (actors, now) = (&self.0.actors, self.0.clock.now());
        let claims = match proof {
            Proof::Token(token) => actors.auth.verify(token.as_bytes(), now)?,
            Proof::Ticket(ticket) => actors.auth.redeem(&ticket).await?,
        };
        let (holder, left) = (claims.holder(), u64::try_from(claims.exp - now.timestamp()).unwrap_or_default());
        session.sign_in(holder, Duration::from_secs(left))?;
        // On the roll now: whoever is cut off from here on is found there.
        let let_in = actors.auth.still_lets_in(&holder);
        let_in.inspect_err(|error| session.close(&Close::new(Close::UNAUTHENTICATED, error.code())))?;
        session.device.get_or_init(|| {
            let (presence, user) = (actors.presence.clone(), holder.person.user);
            let device = presence.arrive(user, *session.kind.lock());
            session.at_end(move |session| presence.leave(user, device, session.silent_for()));
            device
        });
        Ok(holder.person)
    }

    async fn settled(self, session: Arc<Session>, streams: Vec<Following>) -> Result<()> {
        let Some(who) = session.who() else { return Ok(()) };
        let (native, mut people) = (session.protocol == Protocol::Native, Vec::new());
        let streams: Vec<&Following> =
            streams.iter().filter(|it| it.0 != who.user.stream() && (!native || it.1.is_some())).collect();
        for some in streams.chunks(CONVERSATIONS_AT_ONCE) {
            let ids: Vec<ConversationId> = some.iter().map(|it| ConversationId(it.0.0)).collect();
            let near = self.0.actors.conversations.neighbours(who.user, &ids).await?;
            let resumed = |it: &Progress| some.iter().any(|at| at.0 == it.conversation_id.stream() && at.1.is_some());
            let told: Vec<&Progress> = near.iter().filter(|it| it.delivered_seq > 0 && resumed(it)).collect();
            for some in told.chunks(BATCH_ENTRIES_MAX) {
                if !session.room().await {
                    return Ok(());
                }
                for it in some {
                    let told = serde_json::to_string(it).map_err(Error::internal)?;
                    let chunk = Chunk::volatile(who.user.stream(), "receipt", &told, session.protocol);
                    // It takes nobody's place: what waits may be newer.
                    session.queue(Chunk { replaces: None, ..chunk });
                }
                session.flush();
            }
            people.extend(near.iter().map(|it| it.user_id));
        }
        if native { Ok(()) } else { self.0.followers.meet(&session, who.user, people).await }
    }

    async fn floors(self, who: Person) -> Result<HashMap<StreamId, i64>> {
        let streams = self.0.actors.conversations.streams(who.user, self.0.topics_max).await?;
        Ok(streams.into_iter().collect())
    }

    async fn following(self, who: Person, since: Option<Offset>) -> Result<Vec<Following>> {
        let streams = self.0.actors.conversations.streams(who.user, self.0.topics_max).await?;
        let Some(since) = since else { return Ok(streams.into_iter().map(|it| (it.0, None)).collect()) };
        let ids: Vec<StreamId> = streams.iter().map(|it| it.0).collect();
        let places = self.0.streams.places_at(&ids, since.at - self.0.behind).await?;
        let place = |stream: StreamId, floor: i64| {
            let (epoch, seq) = match stream == since.stream {
                true => (since.epoch, since.seq),
                false => places.iter().find(|it| it.id == stream).map(|it| (it.epoch, it.head))?,
            };
            Some(Position { epoch, seq: seq.max(floor) })
        };
        Ok(streams.into_iter().map(|(stream, floor)| (stream, place(stream, floor))).collect())
    }
}

impl Requests for House {
    fn sign_in(&self, session: &Arc<Session>, proof: Proof) -> BoxFuture<'static, Result<Person>> {
        self.clone().sign_in(session.clone(), proof).boxed()
    }

    fn may_follow(&self, who: Person, stream: StreamId) -> BoxFuture<'static, Result<i64>> {
        let conversations = self.0.actors.conversations.clone();
        async move { conversations.may_see(who.user, stream).await }.boxed()
    }

    fn floors(&self, who: Person) -> BoxFuture<'static, Result<HashMap<StreamId, i64>>> {
        self.clone().floors(who).boxed()
    }

    fn streams(&self, who: Person, since: Option<Offset>) -> BoxFuture<'static, Result<Vec<Following>>> {
        self.clone().following(who, since).boxed()
    }

    fn settled(&self, session: &Arc<Session>, streams: Vec<Following>) -> BoxFuture<'static, Result<()>> {
        self.clone().settled(session.clone(), streams).boxed()
    }

    fn call(&self, from: &Arc<Session>, name: &str, body: &RawValue) -> BoxFuture<'static, Result<String>> {
        // Asked again with each request: a hint may be late.
        let let_in = from.holder().ok_or(Error::Unauthenticated("nobody is signed in"));
        match let_in.and_then(|it| self.0.actors.auth.still_lets_in(&it).map(|()| it.person)) {
            Ok(who) => calls::answer(Asked { house: self.clone(), session: from.clone(), who }, name, body),
            Err(refusal) => ready(Err(refusal)).boxed(),
        }
    }
}
