//! Why a session ends, in numbers: what a client may do about it stands in the code itself.
//!
//! *Come back*: 1001, 1011, 1012, 1013 and 4000 to 4399; connect again, with the positions held. *Do not*: everything
//! else; the same again ends the same way, until something is mended first (4401: another token).

/// Said goodbye.
pub const NORMAL: u16 = 1000;
/// Broke the framing.
pub const PROTOCOL: u16 = 1002;
/// Sent what is not taken here.
pub const UNSUPPORTED: u16 = 1003;
/// Sent text that is not UTF-8.
pub const INVALID: u16 = 1007;
/// Broke a rule too often.
pub const POLICY: u16 = 1008;
/// Sent more than fits.
pub const TOO_BIG: u16 = 1009;
/// The server had a defect: come back.
pub const INTERNAL: u16 = 1011;
/// The server stops: come back, to another node perhaps.
pub const RESTART: u16 = 1012;
/// Did not read as fast as it was told: come back and resume.
pub const SLOW_CONSUMER: u16 = 4008;
/// The history cannot be read at the moment: come back and resume.
pub const STORE: u16 = 4010;
/// The history was replaced: come back, and be told to load afresh.
pub const REPLACED: u16 = 4011;
/// Said something out of turn.
pub const OUT_OF_TURN: u16 = 4400;
/// Nobody is signed in, or not any more.
pub const UNAUTHENTICATED: u16 = 4401;
/// Another device took the place.
pub const DISPLACED: u16 = 4409;

/// Whether a client does well to come back with what it holds.
pub const fn comes_back(code: u16) -> bool {
    matches!(code, 1001 | INTERNAL | RESTART | 1013 | 4000..=4399)
}

/// Whether coming back with the same is in vain, though nothing is wrong with how the client speaks.
pub const fn is_final(code: u16) -> bool {
    matches!(code, UNAUTHENTICATED | DISPLACED)
}
