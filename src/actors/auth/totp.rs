//! Codes that change every half minute (RFC 6238): SHA-1, six digits, one step of drift to each side.

use chrono::{DateTime, Utc};
use ring::hmac;

const STEP_SECONDS: i64 = 30;
const DIGITS: usize = 6;
/// How far a clock may be off, in steps.
const DRIFT: i64 = 1;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The step that a code is good for now, if it is for one after `last`: a step is used once.
pub(super) fn step_of(secret: &[u8], given: &str, last: i64, now: DateTime<Utc>) -> Option<i64> {
    let present = now.timestamp().div_euclid(STEP_SECONDS);
    let given = given.as_bytes();
    let same = |step: i64| {
        let right = code(secret, step);
        // Every digit is looked at, whatever the first ones are.
        given.len() == DIGITS && given.iter().zip(right.as_bytes()).fold(0, |differs, it| differs | (it.0 ^ it.1)) == 0
    };
    (present - DRIFT..=present + DRIFT).filter(|step| *step > last).find(|step| same(*step))
}

/// Whether something has the form of a code, rather than that of a recovery code.
pub(super) fn is_code(given: &str) -> bool {
    given.len() == DIGITS && given.bytes().all(|it| it.is_ascii_digit())
}

fn code(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[tag.len() - 1] & 15);
    let number = tag[at..at + 4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// Bytes as letters and digits that cannot be mistaken for each other.
pub(super) fn base32(bytes: &[u8]) -> String {
    bytes
        .chunks(5)
        .flat_map(|chunk| {
            let number = (0..5).fold(0_u64, |number, at| number << 8 | u64::from(chunk.get(at).copied().unwrap_or(0)));
            let letters = (chunk.len() * 8).div_ceil(5);
            (0..letters).map(move |at| char::from(BASE32[(number >> (35 - 5 * at)) as usize & 31]))
        })
        .collect()
}

/// The address that an authenticator reads from a picture.
pub(super) fn address(name: &str, secret: &str) -> String {
    let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!(
        "otpauth://totp/Folio:{name}?secret={secret}&issuer=Folio&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        // The last six of the eight digits of RFC 6238, appendix B.
        for (seconds, right) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(SECRET, seconds / 30), right);
            assert_eq!(step_of(SECRET, right, 0, at(seconds)), Some(seconds / 30));
        }
    }

    #[test]
    fn a_code_is_good_a_step_early_and_late_and_once() {
        let (right, step) = ("050471", 1_111_111_111 / 30);
        for (late, good) in [(-31, false), (-30, true), (0, true), (30, true), (59, true), (60, false)] {
            let found = step_of(SECRET, right, 0, at(step * 30 + late));
            assert_eq!(found, good.then_some(step), "{late}");
        }
        assert_eq!(step_of(SECRET, right, step, at(step * 30)), None, "used");
        for wrong in ["", "05047", "0504711", "050472", " 50471", "０５０４７１"] {
            assert_eq!(step_of(SECRET, wrong, 0, at(step * 30)), None, "{wrong}");
        }
    }

    #[test]
    fn bytes_are_spelled_as_the_standard_spells_them() {
        for (bytes, text) in
            [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("foobar", "MZXW6YTBOI")]
        {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        assert_eq!(base32(SECRET), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert!(address("Zoë B", "AB").starts_with("otpauth://totp/Folio:Zo%C3%AB%20B?secret=AB&issuer=Folio&"));
    }
}
