//! What has ended and is of no use to anybody: it goes in small pieces, whichever node comes first.

use chrono::{DateTime, Utc};

use super::db::Db;
use crate::error::Result;

/// Rows that go at a time.
pub const PIECE: i64 = 500;

/// A kind of rows, and until when they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Refresh tokens, used or not, behind their end.
    RefreshTokens,
    /// Sign-ins behind their end.
    Sessions,
    /// Links in mail behind their end.
    Tickets,
    /// Revocations of tokens that have ended by themselves.
    Revocations,
    /// Former names that are free again.
    Names,
    /// Letters that were sent or given up.
    Mails,
    /// Letters that no server was there for.
    UnsentMails,
    /// Keys that sign tokens, and whose last tokens have ended.
    SigningKeys,
    /// What happened to accounts.
    Audit,
}

impl Kind {
    /// Every kind; tokens go before the sign-ins that they belong to.
    pub const ALL: [Kind; 9] = [
        Kind::RefreshTokens,
        Kind::Sessions,
        Kind::Tickets,
        Kind::Revocations,
        Kind::Names,
        Kind::Mails,
        Kind::UnsentMails,
        Kind::SigningKeys,
        Kind::Audit,
    ];

    const fn text(self) -> &'static str {
        match self {
            Kind::RefreshTokens => {
                "DELETE FROM refresh_tokens
                  WHERE hash IN (SELECT hash FROM refresh_tokens WHERE ends_at <= $1 ORDER BY ends_at LIMIT $2)"
            }
            Kind::Sessions => {
                "DELETE FROM sessions
                  WHERE id IN (SELECT id FROM sessions WHERE ends_at <= $1 ORDER BY ends_at LIMIT $2)"
            }
            Kind::Tickets => {
                "DELETE FROM tickets
                  WHERE hash IN (SELECT hash FROM tickets WHERE ends_at <= $1 ORDER BY ends_at LIMIT $2)"
            }
            Kind::Revocations => {
                "DELETE FROM revocations WHERE id IN (SELECT id FROM revocations WHERE ends_at <= $1 LIMIT $2)"
            }
            Kind::Names => {
                "DELETE FROM names WHERE free_after IS NOT NULL AND folded IN
                    (SELECT folded FROM names WHERE free_after IS NOT NULL AND free_after <= $1
                      ORDER BY free_after LIMIT $2)"
            }
            Kind::Mails => {
                "DELETE FROM mails
                  WHERE id IN (SELECT id FROM mails WHERE created_at <= $1
                                  AND (sent_at IS NOT NULL OR refused_at IS NOT NULL) ORDER BY created_at LIMIT $2)"
            }
            Kind::UnsentMails => {
                "DELETE FROM mails
                  WHERE id IN (SELECT id FROM mails WHERE created_at <= $1 AND sent_at IS NULL AND refused_at IS NULL
                                ORDER BY created_at LIMIT $2)"
            }
            Kind::SigningKeys => {
                "DELETE FROM signing_keys WHERE id IN (SELECT id FROM signing_keys WHERE ends_at <= $1 LIMIT $2)"
            }
            Kind::Audit => {
                "DELETE FROM audit
                  WHERE id IN (SELECT id FROM audit WHERE created_at <= $1 ORDER BY created_at LIMIT $2)"
            }
        }
    }
}

/// Removes a piece of what ended before a point in time. Tells how many rows went.
pub async fn sweep(db: &Db, kind: Kind, before: DateTime<Utc>) -> Result<u64> {
    Ok(db.write(kind.text()).bind(before).bind(PIECE).execute().await?)
}
