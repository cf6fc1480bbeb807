//! Changes that are transactions of their own: the streams they concern are locked in the order of their ids, the rules
//! are asked under that lock, and what happened is told in the same commit.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::rules::{self, Change, EDITED, GONE, MESSAGE, NO_SUCH_CONVERSATION, Said};
use super::talk::TalkArgs;
use crate::actors::users::names;
use crate::error::{Error, Result};
use crate::ids::{ConversationId, EntryId, StreamId, UserId};
use crate::storage::conversations::changes::{self as store, Sign, Standing};
use crate::storage::db::Tx;
use crate::storage::streams::{self, Append, Entered, Head, Told};

const NO_SUCH_MESSAGE: Error = Error::NotFound("message");

/// An entry to be written: in which stream, of what kind, what it says.
pub(super) type News = (StreamId, &'static str, Value);

/// A change under way, with the lock of its conversation.
struct Work<'a> {
    args: &'a TalkArgs,
    tx: Tx<'static>,
    id: ConversationId,
    by: UserId,
    standing: Standing,
    /// The end of the conversation's stream.
    head: Head,
    at: DateTime<Utc>,
}

/// Makes a change and gives what is to be told of it; nothing where everything is so already.
pub(super) async fn change(args: &TalkArgs, id: ConversationId, by: UserId, change: &Change) -> Result<Vec<Told>> {
    let concerned = match change {
        Change::Add(users) => users.iter().map(|it| it.stream()).collect(),
        Change::Remove(user) => vec![user.stream()],
        Change::Depart => vec![by.stream()],
        _ => Vec::new(),
    };
    if matches!(change, Change::Add(_)) {
        args.store.ensure(&concerned, "user").await?;
    }
    let at = args.clock.now();
    let mut tx = args.db.begin().await?;
    let heads = streams::lock(&mut tx, concerned.into_iter().chain([id.stream()])).await?;
    let head = *heads.iter().find(|it| it.id == id.stream()).ok_or(NO_SUCH_CONVERSATION)?;
    let standing = store::standing(&mut tx, id, by).await?.ok_or(NO_SUCH_CONVERSATION)?;
    rules::may(change, by, &standing)?;
    let mut work = Work { args, tx, id, by, standing, head, at };
    let news = work.apply(change).await?;
    tell(args, work.tx, by, news, at).await
}

/// Writes entries and commits; what they are is told afterwards.
pub(super) async fn tell(
    args: &TalkArgs,
    mut tx: Tx<'static>,
    by: UserId,
    news: Vec<News>,
    at: DateTime<Utc>,
) -> Result<Vec<Told>> {
    if news.is_empty() {
        return Ok(Vec::new());
    }
    let append = |(stream, kind, body): News| {
        let (id, sender) = (EntryId::new(&args.clock), Some(by));
        Append { stream, id, kind, sender, client_id: None, body: body.to_string() }
    };
    let appends: Vec<Append> = news.into_iter().map(append).collect();
    let outcomes = streams::append(&mut tx, &appends.iter().collect::<Vec<_>>(), at).await?;
    tx.commit().await?;
    args.committed.notify_one();
    appends.into_iter().zip(outcomes).map(|(append, outcome)| Ok(Told::of(append, &outcome?))).collect()
}

/// What those who come in are told: of a conversation as it stands at the place from which on they see it.
pub(super) fn joined(id: ConversationId, standing: &Standing, epoch: i64, member_count: i64) -> Value {
    let Standing { kind, title, role, joined_seq } = standing;
    json!({
        "conversation_id": id, "kind": kind, "title": title, "role": role, "epoch": epoch, "joined_seq": joined_seq,
        "member_count": member_count,
    })
}

impl Work<'_> {
    async fn apply(&mut self, change: &Change) -> Result<Vec<News>> {
        let stream = self.id.stream();
        match change {
            Change::Edit { seq, text } => self.edit(*seq, text).await,
            Change::Delete { seq } => self.delete(*seq).await,
            Change::React { seq, emoji, on } => self.react(*seq, &rules::emoji(emoji)?, *on).await,
            Change::Pin { seq, on } => self.pin(*seq, *on).await,
            Change::Add(users) => self.add(users).await,
            Change::Remove(user) => self.take_out(*user).await,
            Change::Depart => self.take_out(self.by).await,
            Change::Appoint { user, owner } => self.appoint(*user, *owner).await,
            Change::Rename(title) => {
                let title = rules::title(title)?;
                let renamed = store::rename(&mut self.tx, self.id, &title, &names::fold(&title)).await?;
                Ok(news_if(renamed, (stream, "conversation.renamed", json!({ "title": title }))))
            }
        }
    }

    /// A message that the one who asks may see.
    async fn message(&mut self, seq: i64) -> Result<Entered> {
        let found = store::message(&mut self.tx, self.id, seq).await?;
        found.filter(|it| it.seq > self.standing.joined_seq).ok_or(NO_SUCH_MESSAGE)
    }

    async fn edit(&mut self, seq: i64, text: &str) -> Result<Vec<News>> {
        let message = self.message(seq).await?;
        if message.sender_id != Some(self.by) {
            return Err(Error::Forbidden("only its sender may change a message"));
        }
        let before = Said::of(&message.body);
        if before.text == text {
            return Ok(Vec::new());
        }
        let said = Said {
            text: text.to_owned(),
            edited_at: Some(self.at),
            edited_seq: Some(self.head.head + 1),
            sent_hash: before.sent_hash.clone().or_else(|| Some(rules::hash(&message.body))),
            ..before.clone()
        };
        let said = rules::said(said, &self.args.config)?;
        self.forget_edit(seq, &before).await?;
        store::rewrite(&mut self.tx, self.id, seq, MESSAGE, said.body()).await?;
        let body = json!({ "seq": seq, "text": said.text, "edited_at": self.at });
        Ok(vec![(self.id.stream(), EDITED, body)])
    }

    async fn delete(&mut self, seq: i64) -> Result<Vec<News>> {
        let message = self.message(seq).await?;
        if message.sender_id != Some(self.by) && !rules::may_delete_any(&self.standing) {
            return Err(Error::Forbidden("only its sender or an owner may take a message back"));
        }
        let before = Said::of(&message.body);
        let sent_hash = before.sent_hash.clone().or_else(|| Some(rules::hash(&message.body)));
        self.forget_edit(seq, &before).await?;
        let gone = Said { sent_hash, ..Said::default() }.body();
        store::rewrite(&mut self.tx, self.id, seq, GONE, gone).await?;
        store::strip(&mut self.tx, self.id, seq).await?;
        let body = json!({ "seq": seq, "sender_id": message.sender_id });
        Ok(vec![(self.id.stream(), "message.deleted", body)])
    }

    /// What a message said before is nowhere any more: neither in itself, nor in the entry that told of its last change.
    async fn forget_edit(&mut self, seq: i64, before: &Said) -> Result<()> {
        if let Some(edited) = before.edited_seq {
            let body = json!({ "seq": seq }).to_string();
            store::rewrite(&mut self.tx, self.id, edited, EDITED, body).await?;
        }
        Ok(())
    }

    async fn react(&mut self, seq: i64, emoji: &str, on: bool) -> Result<Vec<News>> {
        self.message(seq).await?;
        let (sign, at) = (Sign { id: self.id, seq, user: self.by, emoji, told_seq: self.head.head + 1 }, self.at);
        let signs_max = self.args.config.signs_max as i64;
        let (kind, changed) = match on {
            true => ("reaction.added", store::react(&mut self.tx, &sign, at, signs_max).await?),
            false => ("reaction.removed", Some(store::unreact(&mut self.tx, &sign).await?)),
        };
        let changed = changed.ok_or(Error::Conflict { code: "too_many_signs", detail: "no more signs fit here" })?;
        let body = json!({ "seq": seq, "emoji": emoji, "user_id": self.by });
        Ok(news_if(changed, (self.id.stream(), kind, body)))
    }

    async fn pin(&mut self, seq: i64, on: bool) -> Result<Vec<News>> {
        self.message(seq).await?;
        let (pins_max, told) = (self.args.config.pins_max as i64, (self.head.head + 1, self.at));
        let (kind, changed) = match on {
            true => ("message.pinned", store::pin(&mut self.tx, self.id, seq, self.by, told, pins_max).await?),
            false => ("message.unpinned", Some(store::unpin(&mut self.tx, self.id, seq).await?)),
        };
        let changed = changed.ok_or(Error::Conflict { code: "too_many_pins", detail: "no more pins fit here" })?;
        Ok(news_if(changed, (self.id.stream(), kind, json!({ "seq": seq, "user_id": self.by }))))
    }

    async fn add(&mut self, users: &[UserId]) -> Result<Vec<News>> {
        let new = store::strangers(&mut self.tx, self.id, users).await?;
        let members_max = self.args.config.members_max;
        let count = store::count(&mut self.tx, self.id).await?;
        if count + new.len() as i64 > members_max as i64 {
            return Err(Error::invalid("user_ids", format!("a group has at most {members_max} members")));
        }
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<(UserId, &'static str)> = new.iter().map(|it| (*it, "member")).collect();
        store::add(&mut self.tx, self.id, &rows, self.head.head, self.at).await?;
        let standing = Standing { role: "member".to_owned(), joined_seq: self.head.head, ..self.standing.clone() };
        let about = joined(self.id, &standing, self.head.epoch, count);
        let each = new.iter().map(|it| (it.stream(), "conversation.joined", about.clone()));
        Ok([(self.id.stream(), "member.added", json!({ "user_ids": new }))].into_iter().chain(each).collect())
    }

    /// The last owner who goes leaves the group to whoever is there longest.
    async fn take_out(&mut self, user: UserId) -> Result<Vec<News>> {
        if !store::take_out(&mut self.tx, self.id, user, self.at).await? {
            return Err(Error::NotFound("member"));
        }
        let mut heir = None;
        if self.standing.kind == "group" {
            heir = store::heir(&mut self.tx, self.id).await?;
        }
        if let Some(heir) = heir {
            store::set_role(&mut self.tx, self.id, heir, "owner").await?;
        }
        let gone = json!({ "user_id": user, "owner_id": heir });
        Ok(vec![
            (self.id.stream(), "member.removed", gone),
            (user.stream(), "conversation.left", json!({ "conversation_id": self.id })),
        ])
    }

    async fn appoint(&mut self, user: UserId, owner: bool) -> Result<Vec<News>> {
        let role = if owner { "owner" } else { "member" };
        store::standing(&mut self.tx, self.id, user).await?.ok_or(Error::NotFound("member"))?;
        let changed = store::set_role(&mut self.tx, self.id, user, role).await?;
        if changed && store::heir(&mut self.tx, self.id).await?.is_some() {
            return Err(Error::Conflict { code: "last_owner", detail: "a group has an owner: name another one first" });
        }
        let body = json!({ "user_id": user, "role": role });
        Ok(news_if(changed, (self.id.stream(), "member.changed", body)))
    }
}

fn news_if(changed: bool, news: News) -> Vec<News> {
    if changed { vec![news] } else { Vec::new() }
}
