//! How a session comes to hear streams: asked, joined, asked again.

use std::collections::HashMap;
use std::sync::Arc;

use super::frames::lost;
use super::requests::Requests;
use super::session::Session;
use super::topics::Position;
use super::wire::Close;
use crate::actors::auth::Person;
use crate::error::{Error, Result};
use crate::ids::StreamId;

/// A stream, and the place to go on from.
pub type Following = (StreamId, Option<Position>);

/// Brings a session to live on several streams, one after the other. What cannot be followed is told by its stream.
///
/// # Errors
/// When a history cannot be read: the session comes back later.
pub async fn follow_all<R: Requests>(
    requests: &R,
    session: &Arc<Session>,
    floors: &HashMap<StreamId, i64>,
    streams: Vec<Following>,
) -> Result<(), Close> {
    for following in &streams {
        if let Err(error) = follow(requests, session, floors, *following).await? {
            session.send(&lost(following.0, error.code(), session.protocol));
        }
    }
    settle(requests, session, streams).await
}

/// The same with streams that are somebody's own, from where they may follow them.
///
/// # Errors
/// When a history cannot be read: the session comes back later.
pub async fn follow_own<R: Requests>(
    requests: &R,
    session: &Arc<Session>,
    streams: Vec<Following>,
) -> Result<(), Close> {
    let floors = streams.iter().map(|it| (it.0, 0)).collect();
    follow_all(requests, session, &floors, streams).await
}

/// Brings a session to live on one stream. The inner error says why it may not, the outer one is the end.
pub(super) async fn follow<R: Requests>(
    requests: &R,
    session: &Arc<Session>,
    floors: &HashMap<StreamId, i64>,
    (stream, have): Following,
) -> Result<Result<()>, Close> {
    let who = session.who().ok_or(Close::new(Close::UNAUTHENTICATED, "connect first"))?;
    let floor = match floors.get(&stream) {
        Some(floor) => Ok(*floor),
        None => requests.may_follow(who, stream).await,
    };
    let followed = match floor {
        Ok(floor) => {
            // What was before is not theirs, so nothing of it is missing.
            let have = have.map(|it| Position { seq: it.seq.max(floor), ..it });
            session.sockets.topics.follow(session, stream, have).await
        }
        Err(error) => Err(error),
    };
    match followed {
        Ok(()) => Ok(Ok(())),
        Err(error) if error.retry_after().is_some() || matches!(error, Error::Internal(_)) => Err(away()),
        Err(error) => Ok(Err(error)),
    }
}

/// Looks again at streams that were begun to be followed: whoever was taken out meanwhile was not noticed there yet.
/// Then tells what lies in no stream.
///
/// # Errors
/// When nobody can tell.
pub async fn settle<R: Requests>(
    requests: &R,
    session: &Arc<Session>,
    mut streams: Vec<Following>,
) -> Result<(), Close> {
    let Some(who) = session.who() else { return Ok(()) };
    let floors = floors_of(requests, who, streams.len()).await?;
    streams.retain(|it| session.follows(it.0));
    for (stream, _) in streams.iter().copied().filter(|it| !floors.contains_key(&it.0)) {
        match requests.may_follow(who, stream).await {
            Ok(_) => {}
            Err(error) if error.retry_after().is_some() => return Err(away()),
            Err(_) => {
                session.sockets.topics.leave(session, stream);
                session.send(&lost(stream, "not_found", session.protocol));
            }
        }
    }
    requests.settled(session, streams).await.map_err(|_| away())
}

/// From where on somebody may follow their streams; nothing is read where one question tells.
///
/// # Errors
/// When nobody can tell.
pub(super) async fn floors_of<R: Requests>(
    requests: &R,
    who: Person,
    streams: usize,
) -> Result<HashMap<StreamId, i64>, Close> {
    if streams > 1 { requests.floors(who).await.map_err(|_| away()) } else { Ok(HashMap::new()) }
}

/// What cannot be read now may be read later.
pub(super) fn away() -> Close {
    Close::new(Close::STORE, "history_unavailable")
}
