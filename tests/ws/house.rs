//! A capability of the tests' own, on streams of the real store: saying and hearing.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use folio::actors::auth::tokens::Holder;
use folio::actors::auth::{Person, Role};
use folio::actors::kernel::streams::Audience;
use folio::error::{Error, Result};
use folio::http::error::Refusal;
use folio::http::{App, Policy, Routes};
use folio::ids::{SessionId, StreamId, UserId};
use folio::routes;
use folio::storage::streams::{Append, Entered, Head};
use folio::storage::writes::Write;
use folio::ws::following::Following;
use folio::ws::frames::Protocol;
use folio::ws::recall::Offset;
use folio::ws::requests::{Proof, Requests, unknown};
use folio::ws::session::Session;
use folio::ws::socketio::{Engines, Lobby, Peer};
use folio::ws::topics::Position;
use folio::ws::{Upgrade, native, sse};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use hyper::header::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::echo::with;
use crate::support::streams::happens;

/// Answers requests: `say` appends to a stream, `wait` never ends, anything else is unknown.
pub struct House(App);

/// A stream that nobody may see.
pub const PRIVATE: StreamId = StreamId(Uuid::from_u128(0x0199_c1de_7c1a_7a30_8a60_0123_4567_89ab));

pub fn holder(number: u128) -> Holder {
    Holder { person: person(number), grants: 1 }
}

pub fn person(number: u128) -> Person {
    let (user, session) = (UserId(Uuid::from_u128(number)), SessionId(Uuid::from_u128(number + 100)));
    Person { user, session, role: Role::User }
}

impl Requests for House {
    fn sign_in(&self, session: &Arc<Session>, proof: Proof) -> BoxFuture<'static, Result<Person>> {
        let holder = match proof {
            Proof::Token(token) if token == "ada" => Ok(holder(1)),
            Proof::Ticket(ticket) if ticket == "bob" => Ok(holder(2)),
            Proof::Token(token) if token == "later" => Err(Error::unavailable("sign-in")),
            _ => Err(Error::Unauthenticated("the token is not valid")),
        };
        let lives = Duration::from_secs(300);
        ready(holder.and_then(|it| session.sign_in(it, lives).map(|()| it.person))).boxed()
    }

    fn may_follow(&self, _: Person, stream: StreamId) -> BoxFuture<'static, Result<i64>> {
        ready(if stream == PRIVATE { Err(Error::NotFound("stream")) } else { Ok(0) }).boxed()
    }

    fn floors(&self, _: Person) -> BoxFuture<'static, Result<HashMap<StreamId, i64>>> {
        ready(Ok(HashMap::new())).boxed()
    }

    fn streams(&self, _: Person, since: Option<Offset>) -> BoxFuture<'static, Result<Vec<Following>>> {
        let db = self.0.storage.db.clone();
        async move {
            let all: Vec<Head> = db.sql("SELECT id, epoch, head, head_at FROM streams ORDER BY id").all().await?;
            let place = |id| since.filter(|it| it.stream == id).map(|it| Position { epoch: it.epoch, seq: it.seq });
            Ok(all.iter().map(|it| (it.id, place(it.id))).collect())
        }
        .boxed()
    }

    fn settled(&self, _: &Arc<Session>, _: Vec<Following>) -> BoxFuture<'static, Result<()>> {
        ready(Ok(())).boxed()
    }

    fn call(&self, from: &Arc<Session>, name: &str, body: &RawValue) -> BoxFuture<'static, Result<String>> {
        let (app, who) = (self.0.clone(), from.who().map(|it| it.user));
        let body: Value = serde_json::from_str(body.get()).unwrap();
        match name {
            "say" => async move {
                let stream = body["stream"].as_str().unwrap_or_default().parse()?;
                say(&app, stream, who, &body["text"]).await.map(|seq| json!({ "seq": seq }).to_string())
            }
            .boxed(),
            "wait" => std::future::pending().boxed(),
            _ => ready(Err(unknown())).boxed(),
        }
    }
}

/// Commits what somebody says, then tells.
pub async fn say(app: &App, stream: StreamId, who: Option<UserId>, text: &Value) -> Result<i64> {
    tell(app, Append { sender: who, ..happens(stream, "message") }, &json!({ "text": text })).await
}

/// Commits an entry, then tells.
pub async fn tell(app: &App, append: Append, body: &Value) -> Result<i64> {
    let (append, stream) = (Append { body: body.to_string(), ..append }, append.stream);
    let written = app.actors.writer.write(Write::Entry(append.clone()))?.await?;
    let it = written.entry().expect("an entry makes one");
    let entered = Entered {
        seq: it.seq,
        id: it.id,
        kind: append.kind.to_owned(),
        sender_id: append.sender,
        client_id: None,
        body: append.body,
        created_at: it.at,
    };
    app.sockets.topics.entries(stream, it.epoch, &[Arc::new(entered)]);
    Ok(it.seq)
}

#[derive(Clone, Default)]
struct Made(Arc<OnceLock<(Arc<House>, Arc<Stock>)>>);

/// Stock clients of the house.
type Stock = Engines<Peer<Lobby<House>>>;

impl Made {
    fn of(&self, app: &App) -> &(Arc<House>, Arc<Stock>) {
        self.0.get_or_init(|| {
            let house = Arc::new(House(app.clone()));
            let rooms = Arc::new(Lobby(house.clone()));
            (house, Engines::new(&app.sockets, move |_| Peer::new(&rooms)))
        })
    }
}

#[utoipa::path(method(get, post, put), path = "/socket.io/", responses((status = 200)))]
async fn stock(
    State(app): State<App>,
    Extension(made): Extension<Made>,
    request: Request,
) -> Result<Response, Refusal> {
    made.of(&app).1.clone().serve(request).await
}

#[utoipa::path(get, path = "/ws", responses((status = 101)))]
async fn socket(
    State(app): State<App>,
    Extension(made): Extension<Made>,
    upgrade: Upgrade,
) -> Result<Response, Refusal> {
    native::serve(upgrade, &app.sockets, &made.of(&app).0)
}

/// Follows the stream of the query, from the last event heard or from its end.
#[utoipa::path(get, path = "/events/{stream}", responses((status = 200)))]
async fn events(
    State(app): State<App>,
    folio::http::extract::Path(stream): folio::http::extract::Path<StreamId>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let have = sse::last_event_id(&headers)?.map(|it| Position { epoch: it.epoch, seq: it.seq });
    let session = Session::open(&app.sockets, Protocol::Sse, [127, 0, 0, 1].into())?;
    session.sign_in(holder(3), Duration::from_secs(300))?;
    let following = session.clone();
    app.actors.root.task("follow", async move {
        let topics = following.sockets.topics.clone();
        topics.follow(&following, stream, have).await.unwrap();
    });
    Ok(sse::answer(session))
}

pub fn routes() -> Routes {
    let made = Made::default();
    Routes::default()
        .add(Policy::READ, with(routes!(socket), &made))
        .add(Policy::POLLING, with(routes!(stock), &made))
        .add(Policy::READ, routes!(events))
}
