//! The one test binary: what Folio promises, told from outside.
