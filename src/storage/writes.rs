//! The closed list of writes that may be committed together.

use crate::storage::streams::{Append, Appended};

/// A write that an actor hands over and does not wait for.
#[derive(Clone, Debug)]
pub enum Write {
    /// An entry at the end of a stream.
    Entry(Append),
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// Where the entry lies.
    Entry(Appended),
}
