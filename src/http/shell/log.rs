//! The access log: one line a request up to a number of lines a second; the server's own failures always.

use serde::Serialize;

/// What is said of a request: neither its query nor its body, and nobody's whole address.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    pub(super) target: &'static str,
    pub(super) event: &'static str,
    pub(super) request_id: &'a str,
    pub(super) trace_id: String,
    pub(super) method: &'a str,
    pub(super) route: &'a str,
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    pub(super) duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    pub(super) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
}
