//! The objects port.
