//! Actors on a real database.

mod commits;
