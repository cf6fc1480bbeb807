//! The one table that makes every path of the seeds work.
//!
//! Folio has one path for a thing, `/api/v1/<capability>/...`. The seeds have several: those of the services
//! themselves (`/auth/login`), those behind their proxy (`/api/auth/login`, or with the name twice), and versioned ones.
//! A row gives a service's path and the one it stands for; the forms follow by rule. The shell asks here when no route
//! takes a request, and routes again with what it gets: what stands for a path that nobody serves yet is answered 501.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use hyper::Method;

/// Service behind the proxy, methods, path at the service, method here (`=`: the same), path here below `/api/v1`
/// (none: taken as it is; the protocol behind it has methods of its own).
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("auth", "POST", "/auth/register", "=", "/auth/register"),
    ("auth", "POST", "/auth/login", "=", "/auth/login"),
    ("auth", "GET POST", "/auth/verify", "=", "/auth/verify"),
    ("auth", "POST", "/auth/refresh", "=", "/auth/refresh"),
    ("auth", "POST", "/auth/logout", "=", "/auth/logout"),
    ("auth", "GET", "/api/users", "=", "/users"),
    ("auth", "GET", "/api/users/{id}", "=", "/users/{id}"),
    ("", "POST", "/register", "=", "/auth/register"),
    ("", "POST", "/login", "=", "/auth/login"),
    ("", "POST", "/verify", "=", "/auth/verify"),
    ("", "POST", "/validate-token", "=", "/auth/verify"),
    ("profile", "GET PUT", "/profile/me", "=", "/profile/me"),
    ("profile", "GET", "/profile/public/{username}", "=", "/profile/public/{username}"),
    ("profile", "GET", "/profile/user/{id}", "=", "/profile/user/{id}"),
    ("profile", "GET", "/profile/external/{id}", "=", "/profile/external/{id}"),
    ("portfolio", "POST", "/projects", "=", "/projects"),
    ("portfolio", "GET PUT DELETE", "/projects/{id}", "=", "/projects/{id}"),
    ("portfolio", "GET", "/projects/user/{id}", "=", "/projects/user/{id}"),
    ("portfolio", "PUT", "/projects/{id}/thumbnail", "=", "/projects/{id}/thumbnail"),
    ("portfolio", "POST", "/projects/{id}/view", "=", "/projects/{id}/view"),
    ("portfolio", "GET", "/projects/{id}/stats", "=", "/projects/{id}/stats"),
    ("portfolio", "POST", "/admin/reindex-projects", "=", "/admin/reindex"),
    ("search", "POST", "/reindex", "=", "/admin/reindex"),
    ("search", "GET", "/search", "=", "/search"),
    ("media", "POST", "/upload", "=", "/media/upload"),
    ("media", "GET DELETE", "/media/{id}", "=", "/media/{id}"),
    ("", "GET", "/images", "=", "/images"),
    ("", "GET DELETE", "/images/{filename}", "=", "/images/{filename}"),
    ("", "GET", "/stats", "=", "/images/stats"),
    ("chat", "GET POST", "/chat/conversations", "=", "/chat/conversations"),
    ("chat", "GET POST", "/chat/conversations/{id}/messages", "=", "/chat/conversations/{id}/messages"),
    ("chat", "POST", "/chat/register-user", "=", "/chat/register-user"),
    ("chat", "GET", "/chat/users/search", "=", "/chat/users/search"),
    ("likes", "POST", "/likes/{id}", "=", "/projects/{id}/like"),
    ("likes", "GET", "/check/{id}", "=", "/projects/{id}/check"),
    ("likes", "GET", "/stats/project/{id}", "=", "/projects/{id}/stats"),
    ("likes", "POST", "/comments", "=", "/comments"),
    ("likes", "GET", "/comments/project/{id}", "=", "/comments/project/{id}"),
    ("likes", "DELETE", "/comments/{id}", "=", "/comments/{id}"),
    ("likes", "POST", "/comments/{id}/like", "=", "/comments/{id}/like"),
    ("", "GET POST", "/products", "=", "/products"),
    ("", "GET PUT DELETE", "/products/{id}", "=", "/products/{id}"),
    ("", "GET POST", "/orders", "=", "/orders"),
    ("", "GET PUT DELETE", "/orders/{id}", "=", "/orders/{id}"),
    ("", "GET POST", "/posts", "=", "/posts"),
    ("", "GET", "/posts/my", "=", "/posts/my"),
    ("", "DELETE", "/posts/{id}", "=", "/posts/{id}"),
    ("", "POST", "/posts/{id}/view", "=", "/posts/{id}/view"),
    ("", "POST", "/posts/{id}/like", "=", "/posts/{id}/like"),
    ("", "GET POST", "/posts/{id}/comments", "=", "/posts/{id}/comments"),
    ("", "POST", "/posts/{id}/attachments", "=", "/posts/{id}/attachments"),
    ("", "POST", "/export", "=", "/export"),
    ("", "GET", "/export/{id}", "=", "/export/{id}"),
    ("", "GET", "/socket.io", "=", ""),
    ("", "GET", "/socket.io/", "=", ""),
    ("", "GET", "/socket.io/{*rest}", "=", ""),
];

/// Words behind `/api/likes/` that are never ids, though nothing stands at the bare word.
const RESERVED: &[&str] = &["/api/likes/check", "/api/likes/stats", "/api/likes/likes"];

static TABLE: LazyLock<matchit::Router<Vec<&'static Row>>> = LazyLock::new(|| {
    let mut table = matchit::Router::new();
    for (path, rows) in paths() {
        table.insert(path, rows).expect("the forms of two rows are the same path or none of both");
    }
    table
});

/// The method and path that a seed's method and path stand for.
///
/// A method that no seed has at its path is kept: the canonical route refuses it and says which it takes.
pub fn rewrite(method: &Method, path: &str) -> Option<(Method, String)> {
    let found = TABLE.at(path).ok()?;
    let asked = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let exact = found.value.iter().find(|it| it.1.split(' ').any(|it| it == asked));
    let (_, _, _, changed, canonical) = exact.or(found.value.first())?;
    let changed = exact.filter(|_| *changed != "=").map(|_| method_named(changed));
    let path = if canonical.is_empty() { path.to_owned() } else { filled(canonical, &found.params) };
    Some((changed.unwrap_or_else(|| method.clone()), path))
}

/// Every path of every seed that has a method, as the seeds write it and in all other forms: method and path.
pub fn all() -> impl Iterator<Item = (Method, String)> {
    let methods = |row: &Row| row.1.split(' ').map(method_named).collect::<Vec<_>>();
    paths().into_iter().flat_map(move |(path, rows)| {
        rows.into_iter().flat_map(methods).map(|it| (it, path.clone())).collect::<Vec<_>>()
    })
}

/// Each form of each row, with the rows that have it.
fn paths() -> HashMap<String, Vec<&'static Row>> {
    let mut paths: HashMap<String, Vec<&Row>> = HashMap::new();
    for row in ROWS {
        for form in forms(row) {
            paths.entry(form).or_default().push(row);
        }
    }
    RESERVED.iter().for_each(|it| _ = paths.entry((*it).to_owned()).or_default());
    paths
}

/// The paths of one row: canonical, bare, versioned, and behind the proxy with the service's name once and twice.
fn forms((service, _, seed, _, canonical): &Row) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([(*seed).to_owned()]);
    if canonical.is_empty() {
        return forms;
    }
    forms.insert(format!("/api/v1{canonical}"));
    if !seed.starts_with("/api/") {
        forms.insert(format!("/api/v1{seed}"));
    }
    if !service.is_empty() {
        forms.insert(format!("/api/{service}{seed}"));
        let named = seed.strip_prefix('/').and_then(|it| it.strip_prefix(service));
        if named.is_some_and(|it| it.is_empty() || it.starts_with('/')) {
            forms.insert(format!("/api{seed}"));
        }
    }
    forms
}

fn method_named(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).expect("the table holds names of methods")
}

/// A path below `/api/v1` with its parameters put in, just as they came.
fn filled(canonical: &str, params: &matchit::Params<'_, '_>) -> String {
    let name = |part: &str| Some(part.strip_prefix('{')?.strip_suffix('}')?.to_owned());
    let part = |it: &'_ str| name(it).and_then(|it| params.get(it)).map_or_else(|| it.to_owned(), str::to_owned);
    format!("/api/v1{}", canonical.split('/').map(part).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_give_one_method_of_a_path_two_meanings() {
        for (path, rows) in paths() {
            for method in rows.iter().flat_map(|it| it.1.split(' ')) {
                let meant = rows.iter().filter(|it| it.1.split(' ').any(|it| it == method)).map(|it| (it.3, it.4));
                assert_eq!(meant.collect::<BTreeSet<_>>().len(), 1, "{method} {path}");
            }
        }
    }
}
