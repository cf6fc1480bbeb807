//! The cache port.
