//! Where everything is kept: the database and the ports beside it.

pub mod broker;
pub mod bus;
pub mod cache;
pub mod db;
pub mod folder;
pub mod objects;
pub mod streams;
pub mod trouble;
pub mod writes;

/// What a backend says when it is asked how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its name, as `postgresql` or `files`.
    pub backend: &'static str,
    /// Its version, in its own words.
    pub version: String,
    /// What Folio needs to be allowed there, and whether it is.
    pub rights: Vec<(&'static str, bool)>,
}
