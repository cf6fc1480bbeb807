//! The one test binary: what Folio promises, told from outside.

mod faults;
mod storage;
mod support;
