//! How conversations begin: one a pair of people, and groups.

use serde_json::json;

use super::rules::{self, CLOSED, NO_SUCH_CONVERSATION};
use super::talk::TalkArgs;
use super::{Conversations, changes};
use crate::actors::users::names;
use crate::error::{Error, Result};
use crate::ids::{ConversationId, StreamId, UserId};
use crate::storage::conversations::changes::Standing;
use crate::storage::conversations::{self as store, Conversation};

/// People whom one change brings in: a statement names each of them several times.
const NEWCOMERS_MAX: usize = 1_000;

impl Conversations {
    /// Gives the direct conversation with somebody, and begins it where there is none; tells whether it was begun.
    pub async fn direct(&self, by: UserId, other: UserId) -> Result<(ConversationId, bool)> {
        if by == other {
            return Err(Error::invalid("user_id", "must be somebody else"));
        }
        let claim = store::pair(by, other);
        if let Some((id, _)) = store::find_claimed(&self.args.db, &claim).await? {
            return Ok((id, false));
        }
        self.reach(by, &[other]).await?;
        let members = [(by, "member"), (other, "member")];
        match self.begin("direct", None, Some((claim.clone(), None)), &members).await? {
            Some(id) => Ok((id, true)),
            // Somebody was quicker.
            None => Ok((self.claimed(&claim).await?.0, false)),
        }
    }

    /// Begins a group; the same key begins the same one.
    pub async fn group(
        &self,
        by: UserId,
        title: &str,
        mut users: Vec<UserId>,
        key: Option<String>,
    ) -> Result<(ConversationId, bool)> {
        let title = rules::title(title)?;
        users.retain(|it| *it != by);
        users.sort_unstable();
        users.dedup();
        let claim = rules::client_id(key)?.map(|key| {
            let hash = rules::hash(&json!([title, users]).to_string());
            (format!("{by}/{key}"), Some(hash))
        });
        self.reach(by, &users).await?;
        let members: Vec<(UserId, &'static str)> =
            [(by, "owner")].into_iter().chain(users.into_iter().map(|it| (it, "member"))).collect();
        match (self.begin("group", Some(title), claim.clone(), &members).await?, claim) {
            (Some(id), _) => Ok((id, true)),
            (None, None) => Err(Error::internal("a group that nobody claimed is not new")),
            (None, Some((claim, hash))) => match self.claimed(&claim).await? {
                (id, first) if first == hash => Ok((id, false)),
                _ => {
                    let fields = [("client_id".to_owned(), "was used for something else".to_owned())].into();
                    Err(Error::Invalid { code: "idempotency_mismatch", fields })
                }
            },
        }
    }

    async fn claimed(&self, claim: &str) -> Result<(ConversationId, Option<String>)> {
        store::find_claimed(&self.args.db, claim).await?.ok_or(NO_SUCH_CONVERSATION)
    }

    /// Makes a conversation of its members, of whom the first begins it; nothing where it is claimed already.
    async fn begin(
        &self,
        kind: &'static str,
        title: Option<String>,
        claim: Option<(String, Option<String>)>,
        members: &[(UserId, &'static str)],
    ) -> Result<Option<ConversationId>> {
        let TalkArgs { db, store: streams, clock, voices, .. } = &self.args;
        let by = members[0].0;
        let own: Vec<StreamId> = members.iter().map(|it| it.0.stream()).collect();
        streams.ensure(&own, "user").await?;
        let (id, at) = (ConversationId::new(clock), clock.now());
        let title_folded = title.as_deref().map(names::fold);
        let new = Conversation { id, kind: kind.to_owned(), title, title_folded, created_by: by, created_at: at };
        let mut tx = db.begin().await?;
        if !store::insert(&mut tx, &new, claim, members).await? {
            return Ok(None);
        }
        let news = members.iter().map(|(user, role)| {
            let (kind, title, role) = (kind.to_owned(), new.title.clone(), (*role).to_owned());
            let standing = Standing { kind, title, role, joined_seq: 0 };
            (user.stream(), "conversation.joined", changes::joined(id, &standing, 1, members.len() as i64))
        });
        voices.entries(&changes::tell(&self.args, tx, by, news.collect(), at).await?);
        Ok(Some(id))
    }

    /// Whether somebody may bring these people in: they are here, and nobody of them blocks or is blocked.
    pub(super) async fn reach(&self, by: UserId, users: &[UserId]) -> Result<()> {
        let members_max = self.args.config.members_max;
        if users.len() >= members_max {
            return Err(Error::invalid("user_ids", format!("a group has at most {members_max} members")));
        }
        if users.len() > NEWCOMERS_MAX {
            let why = format!("at most {NEWCOMERS_MAX} come at a time: add the others after");
            return Err(Error::invalid("user_ids", why));
        }
        match store::reachable(&self.args.db, by, users).await? {
            (here, _) if here < users.len() as i64 => Err(Error::NotFound("user")),
            (_, blocks) if blocks > 0 => Err(CLOSED),
            _ => Ok(()),
        }
    }
}
