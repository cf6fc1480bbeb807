//! How Folio is asked: every route on one screen.
