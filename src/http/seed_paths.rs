//! The one table that makes every path of the seeds work.
//!
//! Folio has one path for a thing, `/api/v1/<capability>/...`. The seeds have several: those of the services
//! themselves (`/auth/login`), those behind their proxy (`/api/auth/login`, or with the name twice), and versioned ones.
//! A row gives a service's path and the one it stands for; the forms follow by rule. The shell asks here when no route
//! takes a request, and routes again with what it gets: what stands for a path that nobody serves yet is answered 501.

use std::collections::HashMap;
use std::sync::LazyLock;

use hyper::Method;

/// Service behind the proxy, methods, path at the service, method here (`=`: the same), path here below `/api/v1`.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("auth", "POST", "/auth/register", "=", "/auth/register"),
    ("auth", "POST", "/auth/login", "=", "/auth/login"),
    ("auth", "GET", "/auth/verify", "=", "/auth/verify"),
    ("auth", "POST", "/auth/refresh", "=", "/auth/refresh"),
    ("auth", "POST", "/auth/logout", "=", "/auth/logout"),
    ("auth", "GET", "/api/users", "=", "/users"),
    ("auth", "GET", "/api/users/{id}", "=", "/users/{id}"),
    ("", "POST", "/register", "=", "/auth/register"),
    ("", "POST", "/login", "=", "/auth/login"),
    ("", "POST", "/verify", "GET", "/auth/verify"),
    ("", "POST", "/validate-token", "GET", "/auth/verify"),
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
];

/// Words behind `/api/likes/` that are never ids, though nothing stands at the bare word.
const RESERVED: &[&str] = &["/api/likes/check", "/api/likes/stats", "/api/likes/likes"];

/// Taken as they are, whatever the method: the protocol behind them has methods of its own.
const WHOLE: &[&str] = &["/socket.io", "/socket.io/", "/socket.io/{*rest}"];

/// What a method at a path of a seed stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    asked: Method,
    method: Method,
    template: String,
}

static TABLE: LazyLock<matchit::Router<Vec<Target>>> = LazyLock::new(|| {
    let mut table = matchit::Router::new();
    for (path, targets) in paths() {
        table.insert(path, targets).expect("the forms of two rows are the same path or none of both");
    }
    table
});

/// The method and path that a seed's method and path stand for.
///
/// A method that no seed has at its path is kept: the canonical route refuses it and says which it takes.
pub fn rewrite(method: &Method, path: &str) -> Option<(Method, String)> {
    let found = TABLE.at(path).ok()?;
    let asked = if *method == Method::HEAD { &Method::GET } else { method };
    let exact = found.value.iter().find(|it| it.asked == *asked);
    let target = exact.or_else(|| found.value.first())?;
    let changed = exact.filter(|it| it.method != it.asked).map(|it| it.method.clone());
    let template =
        if target.template.contains("{*") { path.to_owned() } else { filled(&target.template, &found.params) };
    Some((changed.unwrap_or_else(|| method.clone()), template))
}

/// Every path of every seed that has a method, as the seeds write it and in all other forms: method and path.
pub fn all() -> impl Iterator<Item = (Method, String)> {
    let paths = paths().into_iter();
    paths.flat_map(|(path, targets)| targets.into_iter().map(move |it| (it.asked, path.clone())))
}

/// Each form of each row, with what it stands for.
fn paths() -> HashMap<String, Vec<Target>> {
    let mut paths: HashMap<String, Vec<Target>> = HashMap::new();
    for (service, methods, seed, method, canonical) in ROWS {
        for form in forms(service, seed, canonical) {
            let targets = paths.entry(form).or_default();
            for asked in methods.split(' ').map(method_named) {
                let method = if *method == "=" { asked.clone() } else { method_named(method) };
                let target = Target { asked, method, template: format!("/api/v1{canonical}") };
                let same = targets.iter().find(|it| it.asked == target.asked);
                assert!(same.is_none_or(|it| *it == target), "{target:?} and {same:?} are asked for alike");
                if same.is_none() {
                    targets.push(target);
                }
            }
        }
    }
    let whole = WHOLE.iter().map(|it| {
        let target = Target { asked: Method::GET, method: Method::GET, template: (*it).to_owned() };
        ((*it).to_owned(), vec![target])
    });
    let reserved = RESERVED.iter().map(|it| ((*it).to_owned(), Vec::new()));
    paths.into_iter().chain(whole).chain(reserved).collect()
}

/// The paths of one row: canonical, bare, versioned, and behind the proxy with the service's name once and twice.
fn forms(service: &str, seed: &str, canonical: &str) -> Vec<String> {
    let mut forms = vec![format!("/api/v1{canonical}"), seed.to_owned()];
    if !seed.starts_with("/api/") {
        forms.push(format!("/api/v1{seed}"));
    }
    if !service.is_empty() {
        forms.push(format!("/api/{service}{seed}"));
        let named = seed.strip_prefix('/').and_then(|it| it.strip_prefix(service));
        if named.is_some_and(|it| it.is_empty() || it.starts_with('/')) {
            forms.push(format!("/api{seed}"));
        }
    }
    forms
}

fn method_named(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).expect("the table holds names of methods")
}

/// A template with its parameters put in, just as they came.
fn filled(template: &str, params: &matchit::Params<'_, '_>) -> String {
    let mut path = String::with_capacity(64);
    for part in template.split('/').skip(1) {
        path.push('/');
        let name = part.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
        path.push_str(name.and_then(|it| params.get(it)).unwrap_or(part));
    }
    path
}
