//! The HTTP shell, asked from outside.

mod admin;
mod auth;
mod bad_bodies;
mod bad_input;
mod credentials;
mod exhaustion;
mod guesses;
mod health;
mod hostile_tokens;
mod idempotency;
mod keys;
mod limits;
mod me;
mod openapi;
mod page;
mod profiles;
mod seed_paths;
mod sessions;
mod shell;
mod stopping;
mod things;
mod upgrade;
mod users;
