//! Engine.IO and Socket.IO that say back what they hear, for whoever wants to hold the codec against its protocol.

use std::sync::{Arc, OnceLock};

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use folio::error::Result;
use folio::http::error::Refusal;
use folio::http::{App, Policy, Routes};
use folio::ws::requests::{Talk, Turn};
use folio::ws::session::Session;
use folio::ws::socketio::{Args, Client, Engines, Event, Namespaces, Peer, Welcome};
use folio::ws::wire::{self, Close, Incoming};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::value::RawValue;
use utoipa_axum::routes;

/// Says every message back as it came.
pub struct Echo;

impl Talk for Echo {
    fn heard(&self, _: &Arc<Session>, message: Incoming<'_>, turn: &mut Turn) -> Result<(), Close> {
        match message {
            Incoming::Text(text) => turn.answers.put(wire::TEXT, format!("4{text}").as_bytes()),
            Incoming::Binary(bytes) => turn.answers.put(wire::BINARY, bytes),
            _ => {}
        }
        Ok(())
    }
}

/// The namespaces `/` and `/custom`: they tell what a client connected with, and say messages back.
pub struct Rooms;

impl Namespaces for Rooms {
    fn connect(
        &self,
        client: &Client,
        namespace: &str,
        auth: &RawValue,
    ) -> BoxFuture<'static, Result<Option<Welcome>>> {
        if !matches!(namespace, "/" | "/custom") {
            return ready(Ok(None)).boxed();
        }
        client.session.stay();
        let (client, namespace) = (client.clone(), namespace.to_owned());
        let auth = Args { json: auth.get().to_owned(), attachments: Vec::new() };
        let then = async move {
            client.emit(&namespace, "auth", &auth);
            Ok(())
        };
        ready(Ok(Some(Welcome { pid: None, then: then.boxed() }))).boxed()
    }

    fn event(&self, client: &Client, namespace: &str, event: Event) -> BoxFuture<'static, Option<Args>> {
        let (client, namespace) = (client.clone(), namespace.to_owned());
        async move {
            match &*event.name {
                "message" => client.emit(&namespace, "message-back", &event.args),
                "message-with-ack" => return Some(event.args),
                // Asks back, and tells what the answer was.
                "ask-me" => {
                    if let Ok(answer) = client.ask(&namespace, "question", &event.args).await {
                        client.emit(&namespace, "answered", &answer);
                    }
                }
                _ => {}
            }
            None
        }
        .boxed()
    }

    fn left(&self, _: &Client, _: &str) {}
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
            (Engines::new(&app.sockets, plain), Engines::new(&app.sockets, move |it| Peer::new(it, &rooms)))
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

/// The two paths, beside other routes.
pub fn routes(others: Routes) -> Routes {
    let made = Extension(Made::default());
    let with = |(schemas, paths, router): utoipa_axum::router::UtoipaMethodRouter<App>| {
        (schemas, paths, router.layer(made.clone()))
    };
    others.add(Policy::POLLING, with(routes!(engine_io))).add(Policy::POLLING, with(routes!(socket_io)))
}
