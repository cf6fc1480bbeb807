//! Tokens that are good, and every way in which one is not.

use std::collections::HashSet;

use super::*;
use crate::clock::Clock;
use crate::ids;

/// Tokens with one grown key, and somebody's claims that end in half an hour.
fn one() -> (Tokens, Claims, Clock) {
    let clock = Clock::manual();
    let tokens = Tokens::new(&Secret::new("a secret of at least thirty-two bytes".into()));
    tokens.set_keys(vec![SigningKey { id: ids::v7(&clock), created_at: clock.now(), ends_at: None }]);
    (tokens, claims(&clock), clock)
}

fn claims(clock: &Clock) -> Claims {
    let person = Person { user: UserId::new(clock), session: SessionId::new(clock), role: Role::User };
    Claims::new(person, "ada", 1, clock.now(), clock.now() + TimeDelta::minutes(30))
}

fn code(tokens: &Tokens, token: &str, clock: &Clock) -> &'static str {
    tokens.verify(token.as_bytes(), clock.now()).map_or_else(|it| it.code(), |_| "good")
}

/// Signs whatever is given, as only the key's owner can.
fn signed(tokens: &Tokens, header: Option<&str>, claims: &serde_json::Value) -> String {
    let keys = tokens.keys.read();
    let encode = |it: &str| BASE64_URL_SAFE_NO_PAD.encode(it);
    let signed = format!("{}.{}", header.map_or(keys[0].header.clone(), encode), encode(&claims.to_string()));
    let signature = hmac::sign(&keys[0].key, signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_token_says_what_it_was_made_of_until_it_ends() {
    let (tokens, claims, clock) = one();
    let token = tokens.sign(&claims, clock.now()).unwrap();
    assert_eq!(tokens.verify(token.as_bytes(), clock.now()), Ok(claims));
    clock.advance(std::time::Duration::from_secs(1_799));
    assert_eq!(code(&tokens, &token, &clock), "good");
    clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(code(&tokens, &token, &clock), "unauthenticated");
}

#[test]
fn every_other_header_is_refused_though_the_signature_is_right() {
    let (tokens, claims, clock) = one();
    let (claims, kid) = (serde_json::to_value(claims).unwrap(), tokens.keys.read()[0].row.id);
    assert_eq!(code(&tokens, &signed(&tokens, None, &claims), &clock), "good");
    for header in [
        r#"{"alg":"none"}"#.to_owned(),
        r#"{"alg":"nOnE","typ":"JWT"}"#.to_owned(),
        format!(r#"{{"alg":"HS512","typ":"JWT","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"RS256","typ":"JWT","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{kid}","jku":"https://x.example"}}"#),
        r#"{"alg":"HS256","typ":"JWT","kid":"../../dev/null"}"#.to_owned(),
        r#"{"alg":"HS256","typ":"JWT","kid":"' OR 1=1"}"#.to_owned(),
        String::new(),
    ] {
        assert_eq!(code(&tokens, &signed(&tokens, Some(&header), &claims), &clock), "unauthenticated", "{header}");
    }
}

#[test]
fn every_other_claim_is_refused_though_the_signature_is_right() {
    let (tokens, claims, clock) = one();
    let claims = serde_json::to_value(claims).unwrap();
    let now = clock.now().timestamp();
    for (name, value) in [
        ("iss", "other".into()),
        ("aud", "other".into()),
        ("typ", "refresh".into()),
        ("iat", (now + 6).into()),
        ("exp", now.into()),
        ("exp", (now - 61).into()),
        ("exp", "soon".into()),
        ("nbf", (now + 61).into()),
        ("sub", "7".into()),
        ("role", "root".into()),
        ("grants", serde_json::Value::Null),
    ] {
        let mut changed = claims.clone();
        changed[name] = value;
        assert_eq!(code(&tokens, &signed(&tokens, None, &changed), &clock), "unauthenticated", "{changed}");
    }
    for name in claims.as_object().unwrap().keys() {
        let mut less = claims.clone();
        less.as_object_mut().unwrap().remove(name);
        assert_eq!(code(&tokens, &signed(&tokens, None, &less), &clock), "unauthenticated", "without {name}");
    }
}

#[test]
fn no_byte_of_a_token_can_be_another() {
    let (tokens, claims, clock) = one();
    let token = tokens.sign(&claims, clock.now()).unwrap();
    for at in 0..token.len() {
        assert_eq!(code(&tokens, &token[..at], &clock), "unauthenticated");
        let mut other = token.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(code(&tokens, std::str::from_utf8(&other).unwrap(), &clock), "unauthenticated", "{at}");
    }
    let (elsewhere, ..) = one();
    assert_eq!(code(&elsewhere, &token, &clock), "unauthenticated", "another key");
    for odd in [format!("{token}="), format!("{token}."), format!(" {token}"), "a".repeat(5_000), "\u{0}".into()] {
        assert_eq!(code(&tokens, &odd, &clock), "unauthenticated", "{odd:.40}");
    }
}

#[test]
fn a_young_key_verifies_before_it_signs_and_a_former_one_until_it_ends() {
    let (tokens, _, clock) = one();
    let (old, now) = (tokens.keys.read()[0].row, clock.now());
    let ends_at = Some(now + TimeDelta::seconds(60));
    let young = SigningKey { id: ids::v7(&clock), created_at: now, ends_at: None };
    tokens.set_keys(vec![SigningKey { ends_at, ..old }, young]);
    let mut headers = HashSet::new();
    let mut made = || {
        let token = tokens.sign(&claims(&clock), clock.now()).unwrap();
        headers.insert(token.split('.').next().unwrap().to_owned());
        (token, headers.len())
    };
    let (first, _) = made();
    clock.advance(std::time::Duration::from_secs(9));
    assert_eq!(made().1, 1, "not every node knows it yet");
    clock.advance(std::time::Duration::from_secs(1));
    let (second, keys) = made();
    assert_eq!(keys, 2);
    assert_eq!((code(&tokens, &first, &clock), code(&tokens, &second, &clock)), ("good", "good"));
    clock.advance(std::time::Duration::from_secs(50));
    assert_eq!((code(&tokens, &first, &clock), code(&tokens, &second, &clock)), ("unauthenticated", "good"));
}

#[test]
fn what_is_remembered_is_let_in_anew_when_a_door_has_closed() {
    let (tokens, claims, clock) = one();
    let (token, now) = (tokens.sign(&claims, clock.now()).unwrap(), clock.now().timestamp());
    let known = |doors, let_in: Result<()>| tokens.known(token.as_bytes(), now, doors, |_| let_in);
    assert_eq!(known(1, Ok(())), None);
    tokens.remember(token.as_bytes(), &claims, 1);
    assert_eq!(known(1, Err(REFUSED)), Some(Ok(claims.holder().person)), "nothing has changed: nobody is asked");
    assert_eq!(known(2, Ok(())), Some(Ok(claims.holder().person)));
    assert_eq!(known(3, Err(REFUSED)), Some(Err(REFUSED)));
    assert_eq!(known(3, Ok(())), None, "it is forgotten");
    tokens.remember(token.as_bytes(), &claims, 3);
    assert_eq!(tokens.known(token.as_bytes(), claims.exp, 3, |_| Ok(())), None, "it has ended");
    assert_eq!(tokens.known(b"short", now, 3, |_| Ok(())), None);
}
