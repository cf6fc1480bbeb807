//! What Folio does: one folder a capability, on the kernel of actors.

pub mod kernel;
