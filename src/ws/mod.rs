//! How Folio is heard: the live connections.
