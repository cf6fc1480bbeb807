//! The settings that are about people: how they sign in, how long what is theirs is kept, and their mail.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;

/// How people sign in.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// How long an access token is good for.
    pub access_lives: Duration,
    /// How long a refresh token is good for; each use makes the next.
    pub refresh_lives: Duration,
    /// How long a sign-in lasts at most.
    pub session_lives: Duration,
    /// Sessions that one person has at a time; the one heard of least lately ends for another.
    pub sessions_per_user_max: u32,
    /// How new passwords are hashed.
    pub passwords: PasswordScheme,
    /// Threads that hash; they step back for everybody else.
    pub password_threads: usize,
    /// Passwords that may wait to be hashed; one more is refused.
    pub password_waiting_max: usize,
    /// Wrong passwords for one account from one address before it has to wait.
    pub guesses_per_account: u32,
    /// Wrong passwords from one address before it has to wait.
    pub guesses_per_address: u32,
    /// The time in which guesses come back.
    pub guesses_within: Duration,
    /// Keys of services that are good at a time.
    pub api_keys_max: usize,
}

/// How a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordScheme {
    /// bcrypt with this cost, over a SHA-256 of the password.
    Bcrypt {
        /// Doublings of the work.
        cost: u32,
    },
    /// Argon2id with 19 MiB.
    Argon2id,
}

/// How long things of people are kept.
#[derive(Clone, Copy, Debug)]
pub struct PeopleConfig {
    /// How long a deleted account can be taken back.
    pub delete_after: Duration,
    /// How long a former name leads to its user and is nobody else's.
    pub former_name_lives: Duration,
    /// How long the cache keeps a profile.
    pub profile_cached_for: Duration,
    /// How long somebody waits between two exports.
    pub export_every: Duration,
    /// How many rows of a kind an export holds.
    pub export_rows_max: u32,
    /// How long it is remembered what happened to an account.
    pub audit_lives: Duration,
}

/// What bounds conversations.
#[derive(Clone, Copy, Debug)]
pub struct ChatConfig {
    /// Letters of a message.
    pub letters_max: usize,
    /// People in a group.
    pub members_max: usize,
    /// Attachments of a message.
    pub attachments_max: usize,
    /// Signs of one person under a message.
    pub signs_max: usize,
    /// Messages that are pinned in a conversation.
    pub pins_max: usize,
}

/// How mail leaves.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// `smtp://user:password@host:587`; without it mail stays here to be read by `folio mail`.
    pub server: Option<Secret>,
    /// A file with certificates that vouch for it, beside those that everybody believes.
    pub ca: Option<PathBuf>,
    /// How long the server may take for each step of a conversation.
    pub answer_within: Duration,
    /// How long a letter is tried.
    pub tried_for: Duration,
    /// How long letters are remembered.
    pub lives: Duration,
    /// The sender.
    pub from: String,
    /// Where links in mail lead.
    pub site: String,
}
