//! Tokens of every broken kind: each is refused, and nothing follows from it.

use serde_json::json;

use crate::support::forge::{Forge, claims_of, header, signed_with, unsigned, with};
use crate::support::http::Server;
use crate::support::people::Somebody;
use crate::support::raw::{get, say};

const OWN: &str = "/api/v1/me/audit";

/// What is wrong with it, and the token.
type Case = (String, String);

fn case(what: &str, token: String) -> Case {
    (what.to_owned(), token)
}

/// Headers that want something else to be believed; each is signed with the server's own key where that is possible.
fn headers(forge: &Forge, ada: &Somebody) -> Vec<Case> {
    let claims = claims_of(ada).to_string();
    let mut cases = Vec::new();
    for alg in ["none", "None", "nOnE", "NONE", ""] {
        for fields in [json!({ "alg": alg }), json!({ "alg": alg, "kid": forge.kid })] {
            let bare = unsigned(&header(&fields), &claims);
            cases.push((format!("alg {alg}, no signature"), format!("{bare}.")));
            cases.push((format!("alg {alg}, two parts"), bare));
            cases.push((format!("alg {alg}, signed"), forge.sign(&header(&fields), &claims)));
        }
    }
    for alg in ["HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256", "hs256", "dir"] {
        cases.push((format!("alg {alg}"), forge.sign(&header(&json!({ "alg": alg, "kid": forge.kid })), &claims)));
    }
    let jwk = json!({ "kty": "oct", "k": "bXkgb3duIGtleQ" });
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("b64", json!(false)),
    ] {
        let header = header(&json!({ "kid": forge.kid, name: value }));
        cases.push((format!("{name}, the right key"), forge.sign(&header, &claims)));
        cases.push((format!("{name}, its own key"), signed_with(b"my own key", &header, &claims)));
    }
    for kid in [
        "../../dev/null",
        "/dev/null",
        "",
        "' OR '1'='1",
        "'; DROP TABLE users; --",
        "019f0000-0000-7000-8000-000000000000",
    ] {
        let header = header(&json!({ "kid": kid }));
        cases.push((format!("kid {kid}, no key"), signed_with(b"", &header, &claims)));
        cases.push((format!("kid {kid}, the right key"), forge.sign(&header, &claims)));
    }
    for kid in [json!(null), json!([forge.kid]), json!({ "$ne": 1 }), json!(0)] {
        cases.push((format!("kid {kid}"), forge.sign(&header(&json!({ "kid": kid })), &claims)));
    }
    let kid = &forge.kid;
    for text in [
        format!(r#"{{"alg":"HS256","alg":"none","typ":"JWT","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"none","alg":"HS256","typ":"JWT","kid":"{kid}"}}"#),
        format!(r#"{{"alg": "HS256","typ":"JWT","kid":"{kid}"}}"#),
        format!(r#"{{"kid":"{kid}"}}"#),
        "{}".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "HS256".to_owned(),
        String::new(),
    ] {
        cases.push((format!("header {text}"), forge.sign(&text, &claims)));
    }
    cases
}

/// Claims that a server which signs them would never make, with its own key.
fn claims(forge: &Forge, ada: &Somebody) -> Vec<Case> {
    let good = claims_of(ada);
    let (now, header) = (good["iat"].as_i64().unwrap(), forge.header());
    let changes = [
        json!({ "exp": now - 61 }),
        json!({ "exp": now }),
        json!({ "exp": null }),
        json!({ "exp": 0 }),
        json!({ "exp": -1 }),
        json!({ "exp": "2099-01-01" }),
        json!({ "exp": (now + 60).to_string() }),
        json!({ "exp": 1e300 }),
        json!({ "exp": now as f64 + 60.5 }),
        json!({ "iat": now + 61 }),
        json!({ "iat": null }),
        json!({ "nbf": now + 61 }),
        json!({ "nbf": "soon" }),
        json!({ "iss": "evil" }),
        json!({ "iss": null }),
        json!({ "aud": "evil" }),
        json!({ "aud": ["folio"] }),
        json!({ "aud": null }),
        json!({ "typ": "refresh" }),
        json!({ "typ": null }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": "1" }),
        json!({ "sub": [good["sub"]] }),
        json!({ "sub": "00000000-0000-0000-0000-000000000000" }),
        json!({ "sub": "' OR 1=1" }),
        json!({ "sid": null }),
        json!({ "sid": "x" }),
        json!({ "role": "root" }),
        json!({ "role": ["admin"] }),
        json!({ "role": null }),
        json!({ "grants": null }),
        json!({ "grants": "many" }),
        json!({ "admin": true }),
        json!({ "scopes": ["users:read"] }),
    ];
    let mut cases: Vec<Case> = changes
        .into_iter()
        .map(|changes| (format!("claims {changes}"), forge.sign(&header, &with(&good, &changes))))
        .collect();
    let text = good.to_string();
    for claims in ["", "null", "[]", "1", "{}", "{", "\u{feff}{}", &format!("{text}{text}"), &format!("[{text}]")] {
        cases.push((format!("claims {claims}"), forge.sign(&header, claims)));
    }
    let twice = text.replacen('{', r#"{"role":"admin","#, 1);
    cases.push(case("a claim that comes twice", forge.sign(&header, &twice)));
    cases
}

/// A good token, bent.
fn shapes(forge: &Forge, ada: &Somebody, bob: &Somebody) -> Vec<Case> {
    let (good, admin) = (&ada.access, with(&claims_of(ada), &json!({ "role": "admin" })));
    let parts: Vec<&str> = good.split('.').collect();
    let [head, body, tail] = parts[..] else { panic!("three parts: {good}") };
    let other = bob.access.rsplit_once('.').unwrap().1;
    let mut cases = vec![
        case("another's signature", format!("{head}.{body}.{other}")),
        case("another key", signed_with(b"secret", &forge.header(), &admin)),
        case("a weak key", signed_with(b"password", &forge.header(), &claims_of(ada).to_string())),
        case("its own name as key", signed_with(forge.kid.as_bytes(), &forge.header(), &admin)),
        case("claims raised, signature kept", format!("{}.{tail}", unsigned(&forge.header(), &admin))),
        case("no signature", format!("{head}.{body}.")),
        case("two parts", format!("{head}.{body}")),
        case("one part", head.to_owned()),
        case("dots alone", "..".to_owned()),
        case("one dot", ".".to_owned()),
        case("a dot before", format!(".{good}")),
        case("a dot behind", format!("{good}.")),
        case("a dot between", format!("{head}..{body}.{tail}")),
        case("four parts", format!("{good}.{tail}")),
        case("five parts", format!("{good}.{tail}.{tail}")),
        case("padding", format!("{good}=")),
        case("padding of each part", format!("{head}==.{body}=.{tail}=")),
        case("twice", format!("{good}{good}")),
        case("two with a comma", format!("{good}, {good}")),
        case("quotes", format!("\"{good}\"")),
        case("a blank before", format!(" {good}")),
        case("percent escapes", good.replace('.', "%2E")),
        case("upper case", good.to_uppercase()),
        case("the refresh token", ada.refresh.clone()),
        case("the user's id", ada.id.clone()),
        case("ten kilobytes", "a".repeat(10_000)),
        case("ten kilobytes of dots", ".".repeat(10_000)),
        case("ten kilobytes of claims", forge.sign(&forge.header(), &" ".repeat(7_000))),
        case("no token", "null".to_owned()),
        case("undefined", "undefined".to_owned()),
    ];
    for cut in (1..good.len()).step_by(17) {
        cases.push((format!("cut after {cut}"), good[..cut].to_owned()));
    }
    for at in (0..good.len()).step_by(11).chain([good.len() - 1]).filter(|at| good.as_bytes()[*at] != b'.') {
        let mut bytes = good.clone().into_bytes();
        // The next letter of the alphabet: in the last place that changes only bits that mean nothing.
        bytes[at] = if matches!(bytes[at], b'z' | b'Z' | b'9' | b'-' | b'_') { b'a' } else { bytes[at] + 1 };
        cases.push((format!("letter {at} changed"), String::from_utf8(bytes).unwrap()));
    }
    cases
}

#[tokio::test]
async fn a_token_of_any_broken_kind_is_refused() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let (ada, bob) = (server.with_user("ada").await, server.with_user("bob").await);
    let forge = Forge::of(&server).await;
    let own = forge.sign(&forge.header(), &claims_of(&ada).to_string());
    let heard = get(server.address, OWN, &format!("Authorization: Bearer {own}\r\n")).await;
    assert_eq!(heard.status, 200, "what the forge signs is not refused for its signature");
    let cases = [headers(&forge, &ada), claims(&forge, &ada), shapes(&forge, &ada, &bob)].concat();
    assert!(cases.len() > 150, "{}", cases.len());
    let mut wrong = Vec::new();
    for (what, token) in cases {
        for path in [OWN, "/api/v1/auth/verify"] {
            let heard = get(server.address, path, &format!("Authorization: Bearer {token}\r\n")).await;
            if heard.status != 401 || heard.header("www-authenticate") != "Bearer" {
                wrong.push((what.clone(), heard.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((ada.gets(OWN).await.status, bob.gets(OWN).await.status), (200, 200), "the good ones are good still");
    server.end().await;
}

#[tokio::test]
async fn a_token_comes_once_in_one_of_two_ways() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let eve = server.with_role("eve", folio::actors::auth::Role::Admin).await;
    let (key, _) = eve.makes_a_key(&["users:read"]).await;
    let (token, both) = (&eve.access, format!("Authorization: Bearer {}\r\nX-API-Key: {key}\r\n", eve.access));
    for (headers, status) in [
        (String::new(), 401),
        (format!("Authorization: Bearer {token}\r\n"), 200),
        (format!("authorization: bearer {token}\r\n"), 200),
        (format!("AUTHORIZATION: BEARER {token}\r\n"), 200),
        (format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"), 400),
        (format!("Authorization: Bearer {token}\r\nauthorization: Basic YTpi\r\n"), 400),
        (both, 400),
        (format!("X-API-Key: {key}\r\nX-API-Key: {key}\r\n"), 400),
        // A key is good, but no key reads what is a person's own.
        (format!("X-API-Key: {key}\r\n"), 403),
        (format!("Authorization: Bearer {key}\r\n"), 403),
        (format!("X-API-Key: {token}\r\n"), 401),
        (format!("X-API-Key: Bearer {key}\r\n"), 401),
        ("X-API-Key:\r\n".to_owned(), 401),
        ("Authorization:\r\n".to_owned(), 401),
        ("Authorization: Bearer\r\n".to_owned(), 401),
        ("Authorization: Bearer \r\n".to_owned(), 401),
        ("Authorization: Basic YTpi\r\n".to_owned(), 401),
        (format!("Authorization: {token}\r\n"), 401),
        (format!("Authorization: Bearer  {token}\r\n"), 401),
        (format!("Authorization: Bearer\t{token}\r\n"), 401),
        (format!("Authorization: Token {token}\r\n"), 401),
        (format!("Proxy-Authorization: Bearer {token}\r\n"), 401),
        (format!("X-Forwarded-Authorization: Bearer {token}\r\nX-User-Id: {}\r\n", eve.id), 401),
    ] {
        assert_eq!(get(server.address, OWN, &headers).await.status, status, "{headers}");
    }
    for path in [format!("{OWN}?access_token={token}"), format!("{OWN}?token={token}"), format!("{OWN}?api_key={key}")]
    {
        assert_eq!(get(server.address, &path, "").await.status, 401, "a token never comes in a path");
    }
    let bytes = [
        format!("GET {OWN} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ").as_bytes(),
        b"\xff\xfe\r\n\r\n",
    ]
    .concat();
    assert_eq!(say(server.address, bytes).await[0].status, 401);
    server.end().await;
}
