//! What can go wrong, in the words of the product.
//!
//! One closed list for the whole crate. Only `http/error.rs` knows which status each of them has; only the storage
//! file that owns a library turns that library's errors into these.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The result of everything that can be refused.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How long a caller is asked to wait when nothing better is known.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why something was not done. Each kind is answered the same way over every transport.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// What was sent cannot be read at all.
    #[error("{0}")]
    Malformed(&'static str),
    /// Nobody is signed in, or not any more.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The password is right, and there is a second factor whose code is missing, or is not good.
    #[error("{}", if *.given { "the code is wrong, or was used already" } else { "a code of the second factor is needed" })]
    SecondFactor {
        /// Whether there was a code: then it counts as a guess.
        given: bool,
    },
    /// Whoever is signed in may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// There is no such thing, or not for this caller.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The state of things does not allow it now. The first word is the stable code.
    #[error("{detail}")]
    Conflict {
        /// The stable code of the answer, such as `out_of_stock`.
        code: &'static str,
        /// What a person reads.
        detail: &'static str,
    },
    /// More than the limit for this.
    #[error("{0}")]
    TooLarge(&'static str),
    /// A form that is not taken here.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Readable, but not valid: the code, and field by field why.
    #[error("some fields are not valid")]
    Invalid {
        /// The stable code of the answer; `invalid` unless something more exact is known.
        code: &'static str,
        /// Field, then what is wrong with it.
        fields: BTreeMap<String, String>,
    },
    /// Too often; asking again makes sense after a while.
    #[error("too many requests")]
    TooMany {
        /// How long to wait.
        retry_after: Duration,
    },
    /// A part of the system cannot do it now, or nobody knows whether it did. Asking again with the same key tells.
    #[error("{what} is unavailable")]
    Unavailable {
        /// The part, in a word.
        what: &'static str,
        /// How long to wait.
        retry_after: Duration,
    },
    /// It took longer than it may.
    #[error("this took longer than it may")]
    Deadline,
    /// There is no room left to store it.
    #[error("there is no room left")]
    Full,
    /// A defect of ours. It is logged once, where it is answered, and never shown.
    #[error("something went wrong on our side")]
    Internal(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A part that cannot answer now, with the usual time to wait.
    pub const fn unavailable(what: &'static str) -> Error {
        Error::Unavailable { what, retry_after: RETRY_AFTER }
    }

    /// One field that is not valid.
    pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { code: "invalid", fields: BTreeMap::from([(field.into(), why.into())]) }
    }

    /// A defect of ours.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Internal(Arc::from(source.into()))
    }

    /// The stable word for this kind of refusal: clients may compare it, and nothing else.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Malformed(_) => "malformed",
            Error::Unauthenticated(_) => "unauthenticated",
            Error::SecondFactor { given: false } => "second_factor_needed",
            Error::SecondFactor { given: true } => "second_factor_wrong",
            Error::Forbidden(_) => "forbidden",
            Error::NotFound(_) => "not_found",
            Error::Conflict { code, .. } | Error::Invalid { code, .. } => code,
            Error::TooLarge(_) => "too_large",
            Error::Unsupported(_) => "unsupported",
            Error::TooMany { .. } => "too_many_requests",
            Error::Unavailable { .. } => "unavailable",
            Error::Deadline => "deadline",
            Error::Full => "storage_full",
            Error::Internal(_) => "internal",
        }
    }

    /// How long to wait before asking again, where that helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::TooMany { retry_after } | Error::Unavailable { retry_after, .. } => Some(*retry_after),
            Error::Deadline => Some(RETRY_AFTER),
            _ => None,
        }
    }
}

impl PartialEq for Error {
    /// Two refusals are equal when a caller could not tell them apart.
    fn eq(&self, other: &Error) -> bool {
        self.code() == other.code()
            && self.to_string() == other.to_string()
            && self.retry_after() == other.retry_after()
    }
}
