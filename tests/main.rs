//! The one test binary: what Folio promises, told from outside.

mod cli;
mod faults;
mod storage;
mod support;
mod tidy;
