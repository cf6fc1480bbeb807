//! Messages over HTTP: say, read, change, take back, react, pin, draft.

use std::num::ParseIntError;

use axum::Json;
use axum::extract::State;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use super::chat::one_of;
use super::chat_views::Message;
use super::extract::{Body, CurrentUser, IdempotencyKey, Path, Query};
use crate::actors::conversations::{Change, Conversations, History, Said};
use crate::error::{Error, Result};
use crate::ids::{ConversationId, UserId};

const SIZE_DEFAULT: i64 = 50;
const SIZE_MAX: i64 = 100;

/// The place of a message, as part of a path.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Seq(i64);

impl TryFrom<String> for Seq {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Seq, ParseIntError> {
        text.parse().map(Seq)
    }
}

/// Which part of the history.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// Messages before this place, the newest first. Without both, the newest there are.
    pub before: Option<i64>,
    /// Messages after this place, the oldest first.
    pub after: Option<i64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 100, default = 50)]
    pub size: Option<i64>,
}

/// A part of the history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Messages {
    /// In the order that was asked for.
    items: Vec<Message>,
    /// The place to go on from, as `before` or `after`; null at the end.
    next: Option<i64>,
}

/// Reads what was said.
#[utoipa::path(get, path = "/api/v1/chat/conversations/{id}/messages", params(Part, ("id" = ConversationId, Path)),
    security(("bearer" = [])), responses((status = 200, body = Messages)))]
pub(super) async fn list(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
    Query(part): Query<Part>,
) -> Result<Json<Messages>> {
    read(&app.actors.conversations, user.0.user, id, part).await.map(Json)
}

/// A part of the history, as it is shown.
pub(crate) async fn read(
    conversations: &Conversations,
    user: UserId,
    id: ConversationId,
    Part { before, after, size }: Part,
) -> Result<Messages> {
    let size = size.unwrap_or(SIZE_DEFAULT);
    if !(1..=SIZE_MAX).contains(&size) {
        return Err(Error::invalid("size", format!("must be from 1 to {SIZE_MAX}")));
    }
    if before.is_some() && after.is_some() {
        return Err(Error::invalid("after", "not together with before"));
    }
    let read = conversations.history(id, user, before, after, size + 1).await?;
    let mut items = Message::all(id, &read);
    let more = items.len() as i64 > size;
    items.truncate(usize::try_from(size).unwrap_or_default());
    Ok(Messages { next: items.last().filter(|_| more).map(Message::seq), items })
}

/// What is said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saying {
    /// The text.
    #[serde(default, alias = "content", alias = "message")]
    pub text: String,
    /// The place of the message that it answers.
    pub reply_to: Option<i64>,
    /// Media by their ids.
    #[serde(default)]
    pub attachments: Vec<Uuid>,
    /// What the client calls it: the same again is the same message. `Idempotency-Key` may stand for it.
    #[schema(min_length = 8, max_length = 64)]
    pub client_id: Option<String>,
}

/// Says something. Sent again under the same `client_id` it is the same message, with the same answer.
#[utoipa::path(post, path = "/api/v1/chat/conversations/{id}/messages", params(("id" = ConversationId, Path)),
    request_body = Saying, security(("bearer" = [])), responses((status = 201, body = Message)))]
pub(super) async fn say(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
    IdempotencyKey(key): IdempotencyKey,
    Body(form): Body<Saying>,
) -> Result<(StatusCode, Json<Message>)> {
    let form = Saying { client_id: one_of(form.client_id, key)?, ..form };
    let message = spoken(&app.actors.conversations, user.0.user, id, form).await?;
    Ok((StatusCode::CREATED, Json(message)))
}

/// Says something, and shows it as it is stored.
pub(crate) async fn spoken(
    conversations: &Conversations,
    by: UserId,
    id: ConversationId,
    it: Saying,
) -> Result<Message> {
    let said = Said { text: it.text, reply_to: it.reply_to, attachments: it.attachments, ..Said::default() };
    Ok(Message::of(id, &*conversations.say(id, by, said, it.client_id).await?))
}

/// What a message says from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// The text.
    #[serde(alias = "content")]
    pub text: String,
}

/// Changes what a message of the caller says.
#[utoipa::path(patch, path = "/api/v1/chat/conversations/{id}/messages/{seq}", request_body = Edit,
    params(("id" = ConversationId, Path), ("seq" = i64, Path)), security(("bearer" = [])),
    responses((status = 200, body = Message)))]
pub(super) async fn edit(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, seq)): Path<(ConversationId, Seq)>,
    Body(to): Body<Edit>,
) -> Result<Json<Message>> {
    let (conversations, user) = (&app.actors.conversations, user.0.user);
    conversations.change(id, user, Change::Edit { seq: seq.0, text: to.text }).await?;
    one(conversations, user, id, seq.0).await.map(Json)
}

/// Shows one message.
#[utoipa::path(get, path = "/api/v1/chat/conversations/{id}/messages/{seq}", security(("bearer" = [])),
    params(("id" = ConversationId, Path), ("seq" = i64, Path)), responses((status = 200, body = Message)))]
pub(super) async fn show(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, seq)): Path<(ConversationId, Seq)>,
) -> Result<Json<Message>> {
    one(&app.actors.conversations, user.0.user, id, seq.0).await.map(Json)
}

/// One message, as it is shown.
pub(crate) async fn one(conversations: &Conversations, user: UserId, id: ConversationId, seq: i64) -> Result<Message> {
    let found = conversations.message(id, user, seq).await?;
    Message::all(id, &found).pop().ok_or(Error::NotFound("message"))
}

/// Takes a message back: its place stays, what it said does not. The owner of a group may for any.
#[utoipa::path(delete, path = "/api/v1/chat/conversations/{id}/messages/{seq}", security(("bearer" = [])),
    params(("id" = ConversationId, Path), ("seq" = i64, Path)), responses((status = 204, description = "taken back")))]
pub(super) async fn delete(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, seq)): Path<(ConversationId, Seq)>,
) -> Result<StatusCode> {
    change(&app, user, id, Change::Delete { seq: seq.0 }).await
}

/// Sets a sign under a message. Repeating it changes nothing.
#[utoipa::path(put, path = "/api/v1/chat/conversations/{id}/messages/{seq}/reactions/{emoji}",
    params(("id" = ConversationId, Path), ("seq" = i64, Path), ("emoji" = String, Path)), security(("bearer" = [])),
    responses((status = 204, description = "it is there")))]
pub(super) async fn react(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, seq, emoji)): Path<(ConversationId, Seq, String)>,
) -> Result<StatusCode> {
    change(&app, user, id, Change::React { seq: seq.0, emoji, on: true }).await
}

/// Takes a sign away. Repeating it changes nothing.
#[utoipa::path(delete, path = "/api/v1/chat/conversations/{id}/messages/{seq}/reactions/{emoji}",
    params(("id" = ConversationId, Path), ("seq" = i64, Path), ("emoji" = String, Path)), security(("bearer" = [])),
    responses((status = 204, description = "it is not there")))]
pub(super) async fn unreact(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, seq, emoji)): Path<(ConversationId, Seq, String)>,
) -> Result<StatusCode> {
    change(&app, user, id, Change::React { seq: seq.0, emoji, on: false }).await
}

/// What is pinned, the newest pin first.
#[utoipa::path(get, path = "/api/v1/chat/conversations/{id}/pins", params(("id" = ConversationId, Path)),
    security(("bearer" = [])), responses((status = 200, body = Vec<Message>)))]
pub(super) async fn pins(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
) -> Result<Json<Vec<Message>>> {
    let pinned: History = app.actors.conversations.pinned(id, user.0.user).await?;
    Ok(Json(Message::all(id, &pinned)))
}

/// Pins a message for everybody. Repeating it changes nothing.
#[utoipa::path(put, path = "/api/v1/chat/conversations/{id}/pins/{seq}", security(("bearer" = [])),
    params(("id" = ConversationId, Path), ("seq" = i64, Path)), responses((status = 204, description = "pinned")))]
pub(super) async fn pin(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, seq)): Path<(ConversationId, Seq)>,
) -> Result<StatusCode> {
    change(&app, user, id, Change::Pin { seq: seq.0, on: true }).await
}

/// Takes a pin out. Repeating it changes nothing.
#[utoipa::path(delete, path = "/api/v1/chat/conversations/{id}/pins/{seq}", security(("bearer" = [])),
    params(("id" = ConversationId, Path), ("seq" = i64, Path)), responses((status = 204, description = "not pinned")))]
pub(super) async fn unpin(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, seq)): Path<(ConversationId, Seq)>,
) -> Result<StatusCode> {
    change(&app, user, id, Change::Pin { seq: seq.0, on: false }).await
}

async fn change(app: &App, user: CurrentUser, id: ConversationId, change: Change) -> Result<StatusCode> {
    app.actors.conversations.change(id, user.0.user, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What was begun to write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    /// The text; empty takes the draft away.
    pub text: String,
}

/// Keeps what the caller began to write, for their other devices.
#[utoipa::path(put, path = "/api/v1/chat/conversations/{id}/draft", params(("id" = ConversationId, Path)),
    request_body = Draft, security(("bearer" = [])), responses((status = 204, description = "kept")))]
pub(super) async fn keep_draft(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
    Body(draft): Body<Draft>,
) -> Result<StatusCode> {
    app.actors.conversations.keep_draft(id, user.0.user, draft.text).await?;
    Ok(StatusCode::NO_CONTENT)
}
