//! Signing in: who somebody is, and what they may do.

pub mod rules;

pub use self::rules::{Caller, Person, Right, Role, Scope, Scopes, Service};
