//! Conversations over HTTP: begin, list, who takes part, what one keeps for oneself.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::chat_views::{Attendee, Conversation};
use super::extract::{Body, CurrentUser, IdempotencyKey, Path};
use super::page::{Page, PageQuery, Paged};
use crate::actors::conversations::{Change, Conversations};
use crate::error::{Error, Result};
use crate::ids::{ConversationId, UserId};
use crate::storage::conversations::{Asked, Hearing, Member, Participant};
use crate::storage::preferences::Level;

/// People who are shown with a conversation.
const SHOWN_MAX: i64 = 20;

/// Which conversations are wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// What the title, or the name of somebody in it, has in it.
    #[param(max_length = 100)]
    query: Option<String>,
}

/// Lists the caller's conversations, each with what was said last; the liveliest first.
#[utoipa::path(get, path = "/api/v1/chat/conversations", params(PageQuery, Wanted), security(("bearer" = [])),
    responses((status = 200, body = Paged<Conversation>)))]
pub(super) async fn list(
    State(app): State<App>,
    user: CurrentUser,
    page: Page<Wanted>,
) -> Result<Json<Paged<Conversation>>> {
    let asked = Asked { after: page.after()?, rows_max: page.size_read() as i64, ..Asked::default() };
    let shown = some(&app.actors.conversations, user.0.user, page.filters.query.as_deref(), asked).await?;
    page.answer(shown, Conversation::place).map(Json)
}

/// Some of somebody's conversations, as they are shown.
pub(crate) async fn some(
    conversations: &Conversations,
    user: UserId,
    query: Option<&str>,
    asked: Asked,
) -> Result<Vec<Conversation>> {
    let listed = conversations.list(user, query, asked).await?;
    let ids: Vec<ConversationId> = listed.iter().map(|it| it.id).collect();
    let participants = conversations.participants(&ids, None, SHOWN_MAX).await?;
    Ok(listed.into_iter().map(|it| Conversation::of(it, user, &participants)).collect())
}

/// Whom to talk with: one person, or a group under a title.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begin {
    /// The other one of a direct conversation.
    #[serde(alias = "participant_id")]
    user_id: Option<UserId>,
    /// The others of a group.
    #[serde(default, alias = "participant_ids")]
    user_ids: Vec<UserId>,
    /// What the group calls itself.
    #[schema(min_length = 1, max_length = 100)]
    title: Option<String>,
    /// What the client calls a new group: the same again is the same group. `Idempotency-Key` may stand for it.
    #[schema(min_length = 8, max_length = 64)]
    client_id: Option<String>,
}

/// Begins a conversation; a direct one that is there already is given instead.
#[utoipa::path(post, path = "/api/v1/chat/conversations", request_body = Begin, security(("bearer" = [])),
    responses((status = 200, body = Conversation, description = "it was there"), (status = 201, body = Conversation)))]
pub(super) async fn begin(
    State(app): State<App>,
    user: CurrentUser,
    IdempotencyKey(key): IdempotencyKey,
    Body(form): Body<Begin>,
) -> Result<(StatusCode, Json<Conversation>)> {
    let form = Begin { client_id: one_of(form.client_id, key)?, ..form };
    let (it, new) = begun(&app.actors.conversations, user.0.user, form).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(it)))
}

/// Begins a conversation; tells whether it is new.
pub(crate) async fn begun(conversations: &Conversations, by: UserId, it: Begin) -> Result<(Conversation, bool)> {
    let (id, new) = match (it.user_id, it.title) {
        (Some(other), None) if it.user_ids.is_empty() => conversations.direct(by, other).await?,
        (None, Some(title)) => conversations.group(by, &title, it.user_ids, it.client_id).await?,
        _ => return Err(Error::invalid("user_id", "name one person, or give a title and user_ids")),
    };
    one(conversations, by, id).await.map(|it| (it, new))
}

/// What a client calls what it sends: in the body or in the header, which must not say two things.
pub(super) fn one_of(client_id: Option<String>, key: Option<String>) -> Result<Option<String>> {
    match (client_id, key) {
        (Some(one), Some(other)) if one != other => {
            Err(Error::invalid("client_id", "must be what Idempotency-Key says, where both are there"))
        }
        (one, other) => Ok(one.or(other)),
    }
}

/// One of somebody's conversations, as it is shown.
pub(crate) async fn one(conversations: &Conversations, user: UserId, id: ConversationId) -> Result<Conversation> {
    let listed = conversations.get(user, id).await?;
    let participants = conversations.participants(&[id], None, SHOWN_MAX).await?;
    Ok(Conversation::of(listed, user, &participants))
}

/// Shows one of the caller's conversations.
#[utoipa::path(get, path = "/api/v1/chat/conversations/{id}", params(("id" = ConversationId, Path)),
    security(("bearer" = [])), responses((status = 200, body = Conversation)))]
pub(super) async fn show(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
) -> Result<Json<Conversation>> {
    one(&app.actors.conversations, user.0.user, id).await.map(Json)
}

/// What can be changed about a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rename {
    /// What the group calls itself from now on.
    #[schema(min_length = 1, max_length = 100)]
    pub title: String,
}

/// Gives a group another title. Its owners may.
#[utoipa::path(patch, path = "/api/v1/chat/conversations/{id}", params(("id" = ConversationId, Path)),
    request_body = Rename, security(("bearer" = [])), responses((status = 200, body = Conversation)))]
pub(super) async fn rename(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
    Body(to): Body<Rename>,
) -> Result<Json<Conversation>> {
    app.actors.conversations.change(id, user.0.user, Change::Rename(to.title)).await?;
    one(&app.actors.conversations, user.0.user, id).await.map(Json)
}

/// Lists who takes part.
#[utoipa::path(get, path = "/api/v1/chat/conversations/{id}/members", params(PageQuery, ("id" = ConversationId, Path)),
    security(("bearer" = [])), responses((status = 200, body = Paged<Attendee>)))]
pub(super) async fn members(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
    page: Page,
) -> Result<Json<Paged<Attendee>>> {
    let (conversations, user) = (&app.actors.conversations, user.0.user);
    let shares = conversations.get(user, id).await?.shares;
    let read = conversations.participants(&[id], page.after()?, page.size_read() as i64).await?;
    let paged = page.answer(read, |it: &Participant| it.user_id)?;
    Ok(Json(paged.map(|it| Attendee::of(&it, user, shares))))
}

/// Who comes in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Newcomers {
    /// Their ids.
    pub user_ids: Vec<UserId>,
}

/// Takes people into a group. Its owners may.
#[utoipa::path(post, path = "/api/v1/chat/conversations/{id}/members", params(("id" = ConversationId, Path)),
    request_body = Newcomers, security(("bearer" = [])), responses((status = 200, body = Conversation)))]
pub(super) async fn add(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
    Body(new): Body<Newcomers>,
) -> Result<Json<Conversation>> {
    app.actors.conversations.change(id, user.0.user, Change::Add(new.user_ids)).await?;
    one(&app.actors.conversations, user.0.user, id).await.map(Json)
}

/// Takes somebody out of a group: its owners may, and everybody may go.
#[utoipa::path(delete, path = "/api/v1/chat/conversations/{id}/members/{user_id}", security(("bearer" = [])),
    params(("id" = ConversationId, Path), ("user_id" = UserId, Path)),
    responses((status = 204, description = "takes no part")))]
pub(super) async fn remove(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, member)): Path<(ConversationId, UserId)>,
) -> Result<StatusCode> {
    app.actors.conversations.change(id, user.0.user, Change::Remove(member)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a member becomes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Office {
    /// Owner or member.
    pub role: Position,
}

/// What somebody can be in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Position {
    Owner,
    Member,
}

/// Gives a member of a group another role. Its owners may.
#[utoipa::path(put, path = "/api/v1/chat/conversations/{id}/members/{user_id}", security(("bearer" = [])),
    params(("id" = ConversationId, Path), ("user_id" = UserId, Path)), request_body = Office,
    responses((status = 204, description = "so it is")))]
pub(super) async fn appoint(
    State(app): State<App>,
    user: CurrentUser,
    Path((id, member)): Path<(ConversationId, UserId)>,
    Body(it): Body<Office>,
) -> Result<StatusCode> {
    let change = Change::Appoint { user: member, owner: it.role == Position::Owner };
    app.actors.conversations.change(id, user.0.user, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How far the caller is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursors {
    /// The last entry that reached a device of the caller.
    #[serde(default)]
    pub delivered_seq: i64,
    /// The last entry that the caller has seen.
    #[serde(default)]
    pub read_seq: i64,
}

/// Notes how far the caller has come. Cursors only rise; the answer says where they are.
#[utoipa::path(put, path = "/api/v1/chat/conversations/{id}/receipt", params(("id" = ConversationId, Path)),
    request_body = Cursors, security(("bearer" = [])), responses((status = 200, body = Cursors)))]
pub(super) async fn receipt(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
    Body(at): Body<Cursors>,
) -> Result<Json<Cursors>> {
    let receipt = app.actors.conversations.receipt(id, user.0.user, at.delivered_seq, at.read_seq);
    let Member { delivered_seq, read_seq, .. } = receipt.await?;
    Ok(Json(Cursors { delivered_seq, read_seq }))
}

/// Tells the others that the caller is typing: for five seconds, kept nowhere.
#[utoipa::path(post, path = "/api/v1/chat/conversations/{id}/typing", params(("id" = ConversationId, Path)),
    security(("bearer" = [])), responses((status = 204, description = "told, or soon told again")))]
pub(super) async fn typing(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
) -> Result<StatusCode> {
    app.actors.conversations.typing(id, user.0.user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How somebody wants to hear of a conversation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HearingForm {
    /// What to be told of.
    pub notify: Level,
    /// Until when it is silent.
    pub muted_until: Option<DateTime<Utc>>,
}

/// Sets how the caller wants to hear of a conversation.
#[utoipa::path(put, path = "/api/v1/chat/conversations/{id}/settings", params(("id" = ConversationId, Path)),
    request_body = HearingForm, security(("bearer" = [])), responses((status = 204, description = "set")))]
pub(super) async fn set(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<ConversationId>,
    Body(to): Body<HearingForm>,
) -> Result<StatusCode> {
    let hearing = Hearing { notify: to.notify.name(), muted_until: to.muted_until };
    app.actors.conversations.set_hearing(id, user.0.user, hearing).await?;
    Ok(StatusCode::NO_CONTENT)
}
