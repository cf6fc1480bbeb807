//! What passes in a conversation: how far people have come, and who is typing.

use std::time::Duration;

use serde_json::json;

use super::rules::NO_SUCH_CONVERSATION;
use super::talk::{Talk, TalkArgs};
use crate::error::Result;
use crate::ids::{EntryId, StreamId, UserId};
use crate::storage::conversations::{self, Member, Receipt};
use crate::storage::streams::Append;

/// One person's typing is told at most this often.
const TYPING_EVERY: Duration = Duration::from_secs(1);
/// How long somebody types who is not heard of again.
const TYPING_LASTS: Duration = Duration::from_secs(5);
/// In larger groups nobody is told live who has read what.
const RECEIPTS_TOLD_MAX: usize = 50;

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
        let (delivered, read) = (delivered.max(read).clamp(0, head), read.clamp(0, head));
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
        if self.members.len() <= RECEIPTS_TOLD_MAX {
            let mut value = json!({
                "conversation_id": self.id, "user_id": user, "delivered_seq": member.delivered_seq,
            });
            let sees_all = |it: &&Member| member.shares && it.shares;
            let others = self.members.values().filter(|it| it.user_id != user);
            let (all, some): (Vec<&Member>, Vec<&Member>) = others.partition(sees_all);
            let streams = |them: Vec<&Member>| -> Vec<StreamId> { them.iter().map(|it| it.user_id.stream()).collect() };
            // Each conversation's and each person's has its own last value.
            let kind = format!("receipt:{}:{user}", self.id);
            self.voices.volatile(streams(some), &kind, value.to_string());
            value["read_seq"] = member.read_seq.into();
            self.voices.volatile(streams(all), &kind, value.to_string());
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
