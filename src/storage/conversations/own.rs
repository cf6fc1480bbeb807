//! What somebody keeps for themselves of a conversation: how they hear of it, and what they began to write.

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::ids::{ConversationId, UserId};
use crate::storage::db::Tx;

/// How somebody wants to hear of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// `all`, `mentions` or `nothing`.
    pub notify: &'static str,
    /// Until when it is silent.
    pub muted_until: Option<DateTime<Utc>>,
}

/// Sets how somebody wants to hear of a conversation. Tells whether they take part.
pub async fn set_hearing(tx: &mut Tx<'_>, id: ConversationId, user: UserId, to: &Hearing) -> Result<bool> {
    let text = "UPDATE members SET notify = $1, muted_until = $2
                 WHERE conversation_id = $3 AND user_id = $4 AND left_at IS NULL";
    Ok(tx.sql(text).bind(to.notify).bind(to.muted_until).bind(id).bind(user).execute().await? > 0)
}

/// Keeps what somebody has begun to write, or nothing. Tells whether they take part.
pub async fn set_draft(tx: &mut Tx<'_>, id: ConversationId, user: UserId, draft: Option<&str>) -> Result<bool> {
    let text = "UPDATE members SET draft = $1 WHERE conversation_id = $2 AND user_id = $3 AND left_at IS NULL";
    Ok(tx.sql(text).bind(draft.map(str::to_owned)).bind(id).bind(user).execute().await? > 0)
}
