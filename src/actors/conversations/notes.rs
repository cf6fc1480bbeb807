//! What passes in a conversation: how far people have come, and who is typing.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Conversations;
use super::rules::NO_SUCH_CONVERSATION;
use super::talk::{Talk, TalkArgs};
use crate::error::{Error, Result};
use crate::ids::{ConversationId, EntryId, StreamId, UserId};
use crate::storage::conversations::{self, Member, Neighbour, Receipt};
use crate::storage::streams::Append;

/// One person's typing is told at most this often.
const TYPING_EVERY: Duration = Duration::from_secs(1);
/// How long somebody types who is not heard of again.
const TYPING_LASTS: Duration = Duration::from_secs(5);
/// In larger groups nobody is told who has read what, nor who is here, without asking.
const SMALL_MEMBERS_MAX: usize = 50;

/// How far somebody has come in a conversation, as another one may know it.
#[derive(Clone, Debug, Serialize)]
pub struct Progress {
    /// Where.
    pub conversation_id: ConversationId,
    /// Who.
    pub user_id: UserId,
    /// The last entry that reached them.
    pub delivered_seq: i64,
    /// The last entry they have seen, where both let others know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_seq: Option<i64>,
}

impl Conversations {
    /// Tells how far the others are in those of somebody's conversations that are small.
    pub async fn neighbours(&self, user: UserId, ids: &[ConversationId]) -> Result<Vec<Progress>> {
        let (mine, others): (Vec<Neighbour>, Vec<Neighbour>) =
            conversations::neighbours(&self.args.db, ids, SMALL_MEMBERS_MAX)
                .await?
                .into_iter()
                .partition(|it| it.user_id == user);
        let progress = |it: Neighbour| {
            let own = mine.iter().find(|own| own.conversation_id == it.conversation_id)?;
            let Neighbour { conversation_id, user_id, delivered_seq, .. } = it;
            let read_seq = Some(it.read_seq).filter(|_| own.shares && it.shares);
            Some(Progress { conversation_id, user_id, delivered_seq, read_seq })
        };
        Ok(others.into_iter().filter_map(progress).collect())
    }
}

impl Talk {
    /// What is to be written of a receipt, and what the person's own stream tells of it. What is so already is nothing.
    pub(super) async fn receipt(
        &mut self,
        by: UserId,
        delivered: i64,
        read: i64,
        args: &TalkArgs,
    ) -> Result<Option<(Receipt, Option<Append>)>> {
        if delivered.max(read) > self.head {
            self.look_up_head(args).await?;
        }
        let (known, head) = (self.member(by)?, self.head);
        for (field, seq) in [("delivered_seq", delivered), ("read_seq", read)] {
            if !(0..=head).contains(&seq) {
                return Err(Error::invalid(field, "nothing is there"));
            }
        }
        let delivered = delivered.max(read);
        if delivered <= known.delivered_seq && read <= known.read_seq {
            return Ok(None);
        }
        let mut told = None;
        if read > known.read_seq {
            let (unread, head) = conversations::unread(&args.db, self.id, by, read).await?;
            let body = json!({ "conversation_id": self.id, "read_seq": read, "head": head, "unread": unread });
            let id = EntryId::new(&self.clock);
            let (stream, kind) = (by.stream(), "conversation.read");
            told = Some(Append { stream, id, kind, sender: Some(by), client_id: None, body: body.to_string() });
        }
        Ok(Some((Receipt { conversation: self.id, user: by, delivered, read }, told)))
    }

    /// The cursors as they stand after a receipt. Others see them move; what is read only if both let others know.
    pub(super) fn raise(&mut self, receipt: &Receipt) -> Result<Member> {
        let user = receipt.user;
        let member = self.members.get_mut(&user).ok_or(NO_SUCH_CONVERSATION)?;
        member.read_seq = member.read_seq.max(receipt.read);
        member.delivered_seq = member.delivered_seq.max(receipt.delivered).max(member.read_seq);
        let member = member.clone();
        if self.members.len() <= SMALL_MEMBERS_MAX {
            let (conversation_id, delivered_seq) = (self.id, member.delivered_seq);
            let value =
                |read_seq| json!(Progress { conversation_id, user_id: user, delivered_seq, read_seq }).to_string();
            let sees_all = |it: &&Member| member.shares && it.shares;
            let others = self.members.values().filter(|it| it.user_id != user);
            let (all, some): (Vec<&Member>, Vec<&Member>) = others.partition(sees_all);
            let streams = |them: Vec<&Member>| -> Vec<StreamId> { them.iter().map(|it| it.user_id.stream()).collect() };
            // Each conversation's and each person's has its own last value.
            let kind = format!("receipt:{}:{user}", self.id);
            self.voices.volatile(streams(some), &kind, value(None));
            self.voices.volatile(streams(all), &kind, value(Some(member.read_seq)));
        }
        Ok(member)
    }

    /// Tells everybody who is typing: all of them, because one value replaces the other.
    pub(super) fn type_on(&mut self, by: UserId) {
        let now = self.clock.moment();
        let again = self.typing.get(&by).is_some_and(|it| now.since(*it) < TYPING_EVERY);
        if again || self.may_say(by).is_err() {
            return;
        }
        self.typing.retain(|_, it| now.since(*it) < TYPING_LASTS);
        self.typing.insert(by, now);
        let everybody: Vec<&UserId> = self.typing.keys().collect();
        let value = json!({
            "conversation_id": self.id, "user_id": by, "user_ids": everybody, "expires_ms": TYPING_LASTS.as_millis(),
        });
        self.voices.volatile(vec![self.id.stream()], "typing", value.to_string());
    }
}
