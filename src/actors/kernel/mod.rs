//! How actors live: bounded, measured, supervised, and how they write.
