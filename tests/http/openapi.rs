//! The description of the API, and the page that shows it.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::things;
use crate::support::http::Server;
use crate::support::raw::get;

async fn described() -> (Server, Value) {
    let server = Server::start(things::routes(), |_| ()).await;
    let heard = get(server.address, "/api/openapi.json", "").await;
    assert_eq!((heard.status, heard.header("content-type")), (200, "application/json"));
    assert!(heard.header("etag").starts_with("W/\""), "it is kept encoded");
    (server, heard.json())
}

/// Every operation of a description: method, path, and what is said of it.
fn operations(api: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = api["paths"].as_object().unwrap().iter();
    let each = |(path, item)| (path as &String, (item as &Value).as_object().unwrap());
    let operations =
        paths.map(each).flat_map(|(path, item)| item.iter().map(move |it| (it.0.as_str(), path.as_str(), it.1)));
    operations.filter(|it| matches!(it.0, "get" | "post" | "put" | "patch" | "delete")).collect()
}

#[tokio::test]
async fn the_description_is_openapi_and_says_whose_it_is() {
    let (server, api) = described().await;
    assert_eq!(api["openapi"].as_str().map(|it| it.starts_with("3.1.")), Some(true), "{}", api["openapi"]);
    assert_eq!(api["info"]["title"], "Folio");
    assert_eq!(api["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(api["info"]["license"]["identifier"], env!("CARGO_PKG_LICENSE"));
    assert_eq!(api["servers"][0]["url"], "/");
    assert_eq!(api["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    server.end().await;
}

#[tokio::test]
async fn every_operation_says_its_name_its_capability_and_how_it_refuses() {
    let (server, api) = described().await;
    let all = operations(&api);
    assert!(all.len() > 5, "{}", all.len());
    for (method, path, operation) in &all {
        let said = |it: &Value| it.as_str().is_some_and(|it| !it.is_empty());
        assert!(said(&operation["operationId"]) && said(&operation["tags"][0]), "{method} {path}: {operation}");
        let default = &operation["responses"]["default"]["$ref"];
        assert_eq!(default, "#/components/responses/Refusal", "{method} {path}");
    }
    let names: BTreeSet<_> = all.iter().map(|it| it.2["operationId"].to_string()).collect();
    assert_eq!(names.len(), all.len(), "each has a name of its own: {names:?}");
    let tag = |path: &str| all.iter().find(|it| it.1 == path).map(|it| it.2["tags"][0].clone()).unwrap();
    assert_eq!((tag("/api/v1/things"), tag("/health")), ("things".into(), "operation".into()));
    let refusal = &api["components"]["responses"]["Refusal"]["content"]["application/json"]["schema"]["$ref"];
    let form = api.pointer(refusal.as_str().unwrap().trim_start_matches('#')).expect("the form is described");
    for field in ["detail", "error", "request_id", "fields", "retry_after"] {
        assert!(form["properties"][field].is_object(), "{field}: {form}");
    }
    server.end().await;
}

#[tokio::test]
async fn every_operation_says_who_may_call_it_and_with_what() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let api = get(server.address, "/api/openapi.json", "").await.json();
    let all = operations(&api);
    let security = |method: &str, path: &str| {
        all.iter().find(|it| (it.0, it.1) == (method, path)).map(|it| it.2["security"].clone()).unwrap()
    };
    let key = |scope: &str| json!({ "key": [scope] });
    assert_eq!(security("get", "/api/v1/profile/me"), json!([{ "bearer": [] }]));
    assert_eq!(security("get", "/api/v1/users"), json!([{ "bearer": [] }, key("users:read")]));
    assert_eq!(security("get", "/api/v1/profile/external/{id}"), json!([key("profiles:read")]));
    assert_eq!(security("put", "/api/v1/admin/users/{id}/role"), json!([{ "bearer": ["admin"] }]));
    assert_eq!(security("post", "/api/v1/auth/login"), Value::Null, "it is open");
    assert_eq!(api["components"]["securitySchemes"]["key"]["name"], "x-api-key");
    server.end().await;
}

#[tokio::test]
async fn every_reference_within_the_description_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, it)| match it.as_str() {
                Some(text) if name == "$ref" => found.push(text),
                _ => references(it, found),
            }),
            Value::Array(items) => items.iter().for_each(|it| references(it, found)),
            _ => {}
        }
    }
    let (server, api) = described().await;
    let mut found = Vec::new();
    references(&api, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(reference.starts_with("#/") && api.pointer(&reference[1..]).is_some(), "{reference}");
    }
    server.end().await;
}

/// Two types of one name would be described as one of them.
#[test]
fn every_described_type_has_a_name_of_its_own() {
    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()) {
            match entry.is_dir() {
                true => sources(&entry, found),
                false => found.push(std::fs::read_to_string(&entry).unwrap()),
            }
        }
    }
    let mut texts = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    let named = |rest: &str| {
        let (_, name) = rest.split_once("struct ").or_else(|| rest.split_once("enum "))?;
        name.split(|it: char| !it.is_alphanumeric()).next().map(str::to_owned)
    };
    let described = |text: &String| text.split("ToSchema)]").skip(1).filter_map(named).collect::<Vec<_>>();
    let mut names: Vec<String> = texts.iter().flat_map(described).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|it| it[0] == it[1]).map(|it| &it[0]).collect();
    assert!(names.len() > 40 && twice.is_empty(), "{} types, named twice: {twice:?}", names.len());
}

#[tokio::test]
async fn the_page_is_whole_and_its_policy_lets_in_nothing_else() {
    let (server, api) = described().await;
    let page = get(server.address, "/api/docs", "").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let html = String::from_utf8(page.body.clone()).unwrap();
    let inside = |tag: &str| html.split_once(&format!("<{tag}>")).and_then(|it| it.1.split_once(&format!("</{tag}>")));
    let hash = |tag: &str| {
        let text = inside(tag).unwrap_or_else(|| panic!("no {tag}")).0;
        format!("{tag}-src 'sha256-{}'; ", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())))
    };
    let allowed = format!("default-src 'none'; {}{}connect-src 'self'; ", hash("script"), hash("style"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with(&allowed), "{policy}\nlets in another page than this one:\n{allowed}");
    assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
    assert!(!html.contains("style=") && !html.contains(" src=") && !html.contains("onclick="), "nothing else inside");
    for text in [html.clone(), api.to_string()] {
        for other in ["://", "\"//", "'//", "url("] {
            let found = text.find(other).map(|at| text[at..].chars().take(60).collect::<String>());
            assert_eq!(found, None, "another host");
        }
    }
    server.end().await;
}
