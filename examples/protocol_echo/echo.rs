//! Engine.IO and Socket.IO that say back what they hear, for whoever wants to hold the codec against its protocol.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use folio::error::Result;
use folio::http::error::Refusal;
use folio::http::shell::{Handled, Run};
use folio::http::{App, Policy, Routes};
use folio::routes;
use folio::ws::frames::Chunk;
use folio::ws::requests::Talk;
use folio::ws::session::Session;
use folio::ws::socketio::packet::emit;
use folio::ws::socketio::{Args, Engines, Namespaces, Peer, Welcome};
use folio::ws::wire::{self, Close, Incoming};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::value::RawValue;

/// Says every message back as it came.
pub struct Echo;

impl Talk for Echo {
    fn heard(&self, from: &Arc<Session>, message: Incoming<'_>) -> Result<(), Close> {
        let frame = match message {
            Incoming::Text(text) => wire::frame(wire::TEXT, format!("4{text}").as_bytes()),
            Incoming::Binary(bytes) => wire::frame(wire::BINARY, bytes),
            _ => return Ok(()),
        };
        from.queue(Chunk::new(frame, 1));
        Ok(())
    }
}

/// How long after a connect is answered `auth` follows.
const APART: Duration = Duration::from_millis(20);

/// The namespaces `/` and `/custom`: they tell what a client connected with, and say messages back.
pub struct Rooms;

impl Namespaces for Rooms {
    const NAMES: &'static [&'static str] = &["/", "/custom"];

    fn connect(&self, from: &Arc<Session>, to: &'static str, auth: &RawValue) -> BoxFuture<'static, Result<Welcome>> {
        from.stay();
        let (session, auth) = (from.clone(), Args { json: auth.get().to_owned(), attachments: Vec::new() });
        let then = async move {
            // A frame of its own in time too: the published suites wait for one message after the other.
            tokio::time::sleep(APART).await;
            session.send(&emit(to, "auth", &auth));
            Ok(())
        };
        ready(Ok(Welcome { pid: None, then: then.boxed() })).boxed()
    }

    fn event(&self, from: &Arc<Session>, to: &'static str, name: &str, args: Args) -> BoxFuture<'static, Option<Args>> {
        if name == "message" {
            from.queue(emit(to, "message-back", &args));
        }
        ready(Some(args).filter(|_| name == "message-with-ack")).boxed()
    }

    fn left(&self, _: &Arc<Session>) {}
}

/// Both, on their paths.
type Both = (Arc<Engines<Echo>>, Arc<Engines<Peer<Rooms>>>);

/// Made with the first request, when there is a Folio to make it of.
#[derive(Clone, Default)]
pub struct Made(Arc<OnceLock<Both>>);

impl Made {
    fn of(&self, app: &App) -> &Both {
        self.0.get_or_init(|| {
            let rooms = Arc::new(Rooms);
            let plain = |session: &Arc<Session>| {
                session.stay();
                Echo
            };
            (Engines::new(&app.sockets, plain), Engines::new(&app.sockets, move |_| Peer::new(&rooms)))
        })
    }
}

#[utoipa::path(method(get, post, put), path = "/engine.io/", responses((status = 200)))]
async fn engine_io(
    State(app): State<App>,
    Extension(made): Extension<Made>,
    request: Request,
) -> Result<Response, Refusal> {
    made.of(&app).0.clone().serve(request).await
}

#[utoipa::path(method(get, post, put), path = "/socket.io/", responses((status = 200)))]
async fn socket_io(
    State(app): State<App>,
    Extension(made): Extension<Made>,
    request: Request,
) -> Result<Response, Refusal> {
    made.of(&app).1.clone().serve(request).await
}

/// Hands a handler what it works with along with each request.
pub fn with<T: Clone + Send + Sync + 'static>([(described, run)]: [Handled; 1], made: &T) -> [Handled; 1] {
    let made = made.clone();
    let run: Run = Arc::new(move |mut request, app| {
        request.extensions_mut().insert(made.clone());
        run(request, app)
    });
    [(described, run)]
}

/// The two paths, beside other routes.
pub fn routes(others: Routes) -> Routes {
    let made = Made::default();
    others.add(Policy::POLLING, with(routes!(engine_io), &made)).add(Policy::POLLING, with(routes!(socket_io), &made))
}
