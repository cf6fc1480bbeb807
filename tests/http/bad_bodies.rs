//! Bodies and queries that no good client sends.

use super::bad_input::Case;
use super::things::ADA;
use crate::support::raw::{ask, send};

fn sized(kind: &str, body: &[u8]) -> Vec<u8> {
    send("POST /api/v1/things", &format!("{ADA}{kind}"), body)
}

fn json(body: impl AsRef<[u8]>) -> Vec<u8> {
    sized("Content-Type: application/json\r\n", body.as_ref())
}

/// JSON, its types, and what is no JSON.
pub fn bodies() -> Vec<Case> {
    let titled = |rest: &str| json(format!(r#"{{"title":"a",{rest}}}"#));
    let keys: String = (0..20_000).map(|number| format!(r#""k{number}":1,"#)).collect();
    vec![
        ("an empty body", json(b""), 400),
        ("null", json(b"null"), 422),
        ("an empty list", json(b"[]"), 422),
        ("a text", json(br#""x""#), 422),
        ("a number", json(b"1"), 422),
        ("a list of objects", json(b"[{}]"), 422),
        ("JSON cut short", json(br#"{"title":"a"#), 400),
        ("two documents", json(br#"{"title":"a"} {}"#), 400),
        ("a comment", json(br#"{"title":"a"} // b"#), 400),
        ("a trailing comma", json(br#"{"title":"a",}"#), 400),
        ("single quotes", json(b"{'title':'a'}"), 400),
        ("NaN", titled(r#""count":NaN"#), 400),
        ("a byte order mark", json(b"\xef\xbb\xbf{}"), 400),
        ("no UTF-8 in a text", json(b"{\"title\":\"\xff\"}"), 400),
        ("half a surrogate pair", json(br#"{"title":"\ud800"}"#), 400),
        ("a bare control character", json(b"{\"title\":\"a\nb\"}"), 400),
        ("the same key twice", json(br#"{"title":"a","title":"b"}"#), 422),
        ("an unknown field", titled(r#""admin":true"#), 422),
        ("__proto__", titled(r#""__proto__":{"admin":true}"#), 422),
        ("an unknown field inside", titled(r#""maker":{"name":"x","admin":true}"#), 422),
        ("a wrong type", json(br#"{"title":1}"#), 422),
        ("a missing field", json(b"{}"), 422),
        ("a number as text", titled(r#""count":"1""#), 422),
        ("true as a number", titled(r#""count":true"#), 422),
        ("1.0 as a whole number", titled(r#""count":1.0"#), 422),
        ("1e0 as a whole number", titled(r#""count":1e0"#), 422),
        ("a negative count", titled(r#""count":-1"#), 422),
        ("a count beyond 32 bits", titled(r#""count":4294967296"#), 422),
        ("a count beyond 64 bits", titled(r#""count":99999999999999999999"#), 422),
        ("a number of 1e999", titled(r#""count":1e999"#), 400),
        ("digits of another script", titled("\"count\":\u{0663}"), 400),
        ("100,000 brackets", titled(&format!(r#""tags":{}"#, "[".repeat(100_000))), 422),
        ("100,000 brackets where all goes", json("[".repeat(100_000)), 422),
        ("51 tags", titled(&format!(r#""tags":[{}]"#, vec![r#""a""#; 51].join(","))), 422),
        ("20,000 keys", json(format!(r#"{{{keys}"title":"a"}}"#)), 422),
        ("too large, said so", json(b" ".repeat(300_000)), 413),
        ("no type", sized("", b"{}"), 415),
        ("text", sized("Content-Type: text/plain\r\n", b"{}"), 415),
        ("XML", sized("Content-Type: application/xml\r\n", b"{}"), 415),
        ("a form", sized("Content-Type: application/x-www-form-urlencoded\r\n", b"title=a"), 415),
        ("UTF-16", sized("Content-Type: application/json; charset=utf-16\r\n", b"{}"), 415),
        ("a compressed body", sized("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", b"{}"), 415),
        ("an unknown coding", sized("Content-Type: application/json\r\nContent-Encoding: x\r\n", b"{}"), 415),
        ("the library's own refusal", ask("POST /test/text", "Content-Type: text/plain\r\n"), 415),
        ("JSON for people", ask("GET /nope", "Accept: text/html\r\n"), 404),
    ]
}

/// Parameters.
pub fn queries() -> Vec<Case> {
    let list = |query: &str| ask(&format!("GET /test/list?{query}"), "");
    vec![
        ("a size that is no number", list("size=abc"), 422),
        ("a size below zero", list("size=-1"), 422),
        ("a size beyond 32 bits", list("size=99999999999"), 422),
        ("a size in full-width digits", list("size=%EF%BC%91"), 422),
        ("an empty size", list("size="), 422),
        ("an unknown parameter", list("email=a"), 422),
        ("a repeated parameter", list("kind=a&kind=b"), 422),
        ("an escape of no hex in the query", list("kind=%zz"), 400),
        ("an escape cut short in the query", list("kind=%f"), 400),
        ("an escape of no UTF-8 in the query", list("kind=%ff"), 400),
        ("1,000 parameters", list(&"a=1&".repeat(1_000)), 422),
    ]
}
