//! What clients ask by name, whatever their transport: the calls of the capabilities that REST makes too.
//!
//! A call is a function from a form to an answer; its name is what a native client puts into `name`, and the event of a
//! stock client.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::chat_calls;
use super::house::House;
use super::requests::{Proof, Requests, unknown};
use super::session::Session;
use crate::actors::auth::Person;
use crate::error::{Error, Result};
use crate::ids::{ConversationId, UserId};

/// Who asks, and on which session.
pub struct Asked {
    /// What can be asked for.
    pub house: House,
    /// Where the answer goes.
    pub session: Arc<Session>,
    /// Who asks.
    pub who: Person,
}

pub(super) type Answer = BoxFuture<'static, Result<String>>;
pub(super) type Call = fn(Asked, &RawValue) -> Answer;

/// Every request on one screen.
const CALLS: &[(&str, Call)] = &[
    ("token", |asked, body| typed(asked, body, renew)),
    ("presence.follow", |asked, body| typed(asked, body, follow)),
    ("presence.unfollow", |asked, body| typed(asked, body, unfollow)),
    ("presence.set", |asked, body| typed(asked, body, set)),
];

/// The names of all of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    CALLS.iter().chain(chat_calls::CALLS).map(|it| it.0)
}

/// Answers a request by its name.
pub(super) fn answer(asked: Asked, name: &str, body: &RawValue) -> Answer {
    match CALLS.iter().chain(chat_calls::CALLS).find(|it| it.0 == name) {
        Some((_, call)) => call(asked, body),
        None => ready(Err(unknown())).boxed(),
    }
}

/// Reads the form, makes the call, writes the answer.
pub(super) fn typed<B, A, F>(asked: Asked, body: &RawValue, call: fn(Asked, B) -> F) -> Answer
where
    B: DeserializeOwned,
    A: Serialize,
    F: Future<Output = Result<A>> + Send + 'static,
{
    let form = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(body.get()));
    match form.map(|form| call(asked, form)) {
        Ok(answer) => answer.map(|it| serde_json::to_string(&it?).map_err(Error::internal)).boxed(),
        Err(error) => {
            let field = Some(error.path().to_string()).filter(|it| it != ".").unwrap_or_else(|| "body".to_owned());
            ready(Err(Error::invalid(field, error.inner().to_string()))).boxed()
        }
    }
}

/// Nothing more to say than that it is done.
#[derive(Serialize)]
pub(super) struct Done {}

/// Another token, before the first one ends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Renewal {
    token: Option<String>,
    ticket: Option<String>,
}

/// Goes on with another token, for clients whose protocol has no frame for that.
async fn renew(asked: Asked, form: Renewal) -> Result<Done> {
    Requests::sign_in(&asked.house, &asked.session, Proof::either(form.token, form.ticket)?).await?;
    Ok(Done {})
}

/// Whom it is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct People {
    users: Vec<UserId>,
}

/// Whom to hear of: people by their ids, or who takes part in a conversation now.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Circle {
    #[serde(default)]
    users: Vec<UserId>,
    conversation_id: Option<ConversationId>,
}

/// Hears how people are, and what changes about it.
async fn follow(asked: Asked, form: Circle) -> Result<Done> {
    let (actors, user) = (asked.house.actors(), asked.who.user);
    let mut users = form.users;
    if let Some(id) = form.conversation_id {
        actors.conversations.may_see(user, id.stream()).await?;
        let members_max = actors.presence.followed_max() as i64;
        let members = actors.conversations.participants(&[id], None, members_max).await?;
        users.extend(members.iter().map(|it| it.user_id).filter(|it| *it != user));
    }
    asked.house.followers().follow(&asked.session, user, &users, true).await?;
    Ok(Done {})
}

/// Hears it no more.
async fn unfollow(asked: Asked, form: People) -> Result<Done> {
    form.users.iter().for_each(|it| asked.house.followers().unfollow(&asked.session, *it));
    Ok(Done {})
}

/// How somebody wants to be seen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    state: Wish,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Wish {
    Online,
    Away,
    Invisible,
}

/// Says how one is: online or away at this device, or invisible as a whole, which stays until one says otherwise.
async fn set(asked: Asked, form: State) -> Result<Done> {
    let (actors, user) = (asked.house.actors(), asked.who.user);
    actors.users.show(user, form.state != Wish::Invisible).await?;
    if let Some(device) = asked.session.device.get() {
        actors.presence.set_away(user, *device, form.state == Wish::Away);
    }
    Ok(Done {})
}
