//! The HTTP shell, asked from outside.

mod bad_bodies;
mod bad_input;
mod exhaustion;
mod health;
mod idempotency;
mod limits;
mod openapi;
mod page;
mod seed_paths;
mod shell;
mod stopping;
mod things;
mod upgrade;
