//! Removes what has ended, and those who have left: again and again, in small pieces, on whichever node comes first.

use std::time::Duration;

use serde_json::json;

use super::Inner;
use crate::error::Result;
use crate::ids::{UserId, v7};
use crate::storage::sweeps::{Kind, PIECE, sweep};
use crate::storage::{leaving, outbox};

const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Pieces of one kind in one round; the rest waits for the next.
const PIECES_MAX: usize = 200;
/// People in one round.
const PEOPLE_MAX: i64 = 100;

impl Inner {
    pub(super) async fn sweep_again_and_again(&self) {
        let mut beat = self.clock.every(SWEEP_EVERY);
        loop {
            for kind in Kind::ALL {
                if let Err(error) = self.sweep(kind).await {
                    tracing::warn!(event = "people.sweep", ?kind, %error, "what has ended stays for now");
                }
            }
            if let Err(error) = self.remove_those_who_left().await {
                tracing::warn!(event = "people.leaving", %error, "those who left stay for now");
            }
            beat.tick().await;
        }
    }

    async fn sweep(&self, kind: Kind) -> Result<()> {
        let now = self.clock.now();
        let before = match kind {
            Kind::Mails | Kind::UnsentMails => now - self.mail_lives,
            Kind::Audit => now - self.config.audit_lives,
            _ => now,
        };
        let mut gone = 0;
        for _ in 0..PIECES_MAX {
            let piece = sweep(&self.db, kind, before).await?;
            gone += piece;
            if piece < PIECE.unsigned_abs() {
                break;
            }
        }
        if gone > 0 && kind == Kind::UnsentMails {
            tracing::warn!(event = "people.swept", gone, "letters that nobody sent or read are removed");
        } else if gone > 0 {
            tracing::info!(event = "people.swept", ?kind, gone, "what has ended is removed");
        }
        Ok(())
    }

    async fn remove_those_who_left(&self) -> Result<()> {
        for user in leaving::due(&self.db, self.clock.now(), PEOPLE_MAX).await? {
            // One who cannot be removed keeps nobody else from it.
            if let Err(error) = self.remove(user).await {
                tracing::warn!(event = "people.leaving", %user, %error, "somebody who left stays for now");
            }
        }
        Ok(())
    }

    async fn remove(&self, user: UserId) -> Result<()> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let name = leaving::begin(&mut tx, user, now, now + self.config.former_name_lives).await?;
        if let Some(name) = name {
            let event = json!({ "user_id": user, "username": name, "deleted_at": now });
            outbox::append(&mut tx, v7(&self.clock), "user.deleted", user.0, event.to_string(), now).await?;
        }
        tx.commit().await?;
        self.ways.committed.notify_one();
        self.ways.profiles.forget(user).await;
        self.ways.conversations.depart(user).await?;
        while leaving::go_on(&self.db, user).await? {}
        Ok(())
    }
}
