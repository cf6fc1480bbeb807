//! Actors on a real database.

mod commits;
mod mail;
mod nodes;
