//! What Folio tells about itself: logs, and the registry of metrics.
