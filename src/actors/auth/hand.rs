//! By whose hand something is done: what is noted of them.

use serde_json::Value;

use super::Client;
use crate::clock::Clock;
use crate::ids::{self, UserId};
use crate::storage::audit::Incident;

/// Who does something, from where and by what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hand {
    /// Nobody for the command line, which knows no users.
    pub user: Option<UserId>,
    /// Where it comes from; empty for the command line.
    pub address: String,
    /// What the program calls itself.
    pub device: String,
}

impl Hand {
    /// Whoever has the command line.
    pub fn command_line() -> Hand {
        Hand { device: "folio admin".to_owned(), ..Hand::default() }
    }

    /// What is noted when this hand does something to an account, or to none.
    pub fn incident(&self, clock: &Clock, to: Option<UserId>, what: &str, detail: Value) -> Incident {
        Incident {
            id: ids::v7(clock),
            user_id: to,
            actor_id: self.user.map(|it| it.0),
            what: what.to_owned(),
            address: self.address.clone(),
            device: self.device.clone(),
            detail,
            created_at: clock.now(),
        }
    }
}

impl Client {
    /// The hand that somebody has here.
    pub fn hand(&self, who: impl Into<Option<UserId>>) -> Hand {
        Hand { user: who.into(), address: self.address.to_string(), device: self.device.clone() }
    }
}
