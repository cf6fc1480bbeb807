//! Every path of every seed leads somewhere, and those that lead to nothing yet are listed here.

use std::collections::BTreeSet;

use folio::http::seed_paths::{all, rewrite};

use crate::support::http::Server;
use crate::support::raw::{ask, say};

/// Known, and not built yet: whoever builds a capability takes its lines out.
const UNBUILT: &[&str] = &[
    "DELETE /api/v1/comments/{id}",
    "DELETE /api/v1/images/{filename}",
    "DELETE /api/v1/media/{id}",
    "DELETE /api/v1/orders/{id}",
    "DELETE /api/v1/posts/{id}",
    "DELETE /api/v1/products/{id}",
    "DELETE /api/v1/projects/{id}",
    "GET /api/v1/comments/project/{id}",
    "GET /api/v1/export/{id}",
    "GET /api/v1/images",
    "GET /api/v1/images/stats",
    "GET /api/v1/images/{filename}",
    "GET /api/v1/media/{id}",
    "GET /api/v1/orders",
    "GET /api/v1/orders/{id}",
    "GET /api/v1/posts",
    "GET /api/v1/posts/my",
    "GET /api/v1/posts/{id}/comments",
    "GET /api/v1/products",
    "GET /api/v1/products/{id}",
    "GET /api/v1/projects/user/{id}",
    "GET /api/v1/projects/{id}",
    "GET /api/v1/projects/{id}/check",
    "GET /api/v1/projects/{id}/stats",
    "GET /api/v1/search",
    "POST /api/v1/admin/reindex",
    "POST /api/v1/comments",
    "POST /api/v1/comments/{id}/like",
    "POST /api/v1/export",
    "POST /api/v1/media/upload",
    "POST /api/v1/orders",
    "POST /api/v1/posts",
    "POST /api/v1/posts/{id}/attachments",
    "POST /api/v1/posts/{id}/comments",
    "POST /api/v1/posts/{id}/like",
    "POST /api/v1/posts/{id}/view",
    "POST /api/v1/products",
    "POST /api/v1/projects",
    "POST /api/v1/projects/{id}/like",
    "POST /api/v1/projects/{id}/view",
    "PUT /api/v1/orders/{id}",
    "PUT /api/v1/products/{id}",
    "PUT /api/v1/projects/{id}",
    "PUT /api/v1/projects/{id}/thumbnail",
];

/// What the seeds write, word for word, and what it stands for.
const VERBATIM: &[(&str, &str)] = &[
    ("POST /auth/login", "POST /api/v1/auth/login"),
    ("POST /api/auth/login", "POST /api/v1/auth/login"),
    ("POST /api/auth/auth/login", "POST /api/v1/auth/login"),
    ("POST /login", "POST /api/v1/auth/login"),
    ("POST /api/v1/auth/login", "POST /api/v1/auth/login"),
    ("POST /register", "POST /api/v1/auth/register"),
    ("POST /verify", "POST /api/v1/auth/verify"),
    ("POST /validate-token", "POST /api/v1/auth/verify"),
    ("GET /auth/verify", "GET /api/v1/auth/verify"),
    ("GET /api/users", "GET /api/v1/users"),
    ("GET /api/users/7", "GET /api/v1/users/7"),
    ("PUT /api/profile/me", "PUT /api/v1/profile/me"),
    ("PUT /api/profile/profile/me", "PUT /api/v1/profile/me"),
    ("GET /profile/public/ada%20l", "GET /api/v1/profile/public/ada%20l"),
    ("POST /api/portfolio/projects", "POST /api/v1/projects"),
    ("DELETE /api/portfolio/projects/7", "DELETE /api/v1/projects/7"),
    ("GET /projects/user/7", "GET /api/v1/projects/user/7"),
    ("GET /projects/7/stats", "GET /api/v1/projects/7/stats"),
    ("POST /admin/reindex-projects", "POST /api/v1/admin/reindex"),
    ("POST /reindex", "POST /api/v1/admin/reindex"),
    ("POST /api/media/upload", "POST /api/v1/media/upload"),
    ("POST /upload", "POST /api/v1/media/upload"),
    ("GET /media/7", "GET /api/v1/media/7"),
    ("GET /api/media/media/7", "GET /api/v1/media/7"),
    ("GET /stats", "GET /api/v1/images/stats"),
    ("GET /images/cat.png", "GET /api/v1/images/cat.png"),
    ("GET /api/search", "GET /api/v1/search"),
    ("GET /api/search/search", "GET /api/v1/search"),
    ("POST /api/chat/conversations/7/messages", "POST /api/v1/chat/conversations/7/messages"),
    ("POST /api/likes/7", "POST /api/v1/projects/7/like"),
    ("POST /api/likes/likes/7", "POST /api/v1/projects/7/like"),
    ("GET /api/likes/check/7", "GET /api/v1/projects/7/check"),
    ("GET /api/likes/stats/project/7", "GET /api/v1/projects/7/stats"),
    ("GET /stats/project/7", "GET /api/v1/projects/7/stats"),
    ("POST /api/likes/comments", "POST /api/v1/comments"),
    ("GET /api/likes/comments/project/7", "GET /api/v1/comments/project/7"),
    ("POST /comments/7/like", "POST /api/v1/comments/7/like"),
    ("GET /orders/7", "GET /api/v1/orders/7"),
    ("DELETE /api/v1/posts/7", "DELETE /api/v1/posts/7"),
    ("GET /api/v1/posts/my", "GET /api/v1/posts/my"),
    ("POST /api/v1/export", "POST /api/v1/export"),
    ("POST /socket.io/", "POST /socket.io/"),
    ("HEAD /projects/7", "HEAD /api/v1/projects/7"),
    ("PATCH /projects/7", "PATCH /api/v1/projects/7"),
];

fn rewritten(request: &str) -> Option<String> {
    let (method, path) = request.split_once(' ').unwrap();
    rewrite(path).map(|it| format!("{method} {it}"))
}

/// Every path of every seed in all its forms, with each of its methods.
fn forms() -> BTreeSet<(&'static str, String)> {
    all().flat_map(|(methods, path, _)| methods.split(',').map(move |it| (it, path.clone()))).collect()
}

#[test]
fn what_the_seeds_write_leads_to_one_path_a_thing() {
    for (seed, canonical) in VERBATIM {
        assert_eq!(rewritten(seed).as_deref(), Some(*canonical), "{seed}");
    }
}

#[test]
fn no_path_of_the_table_takes_the_place_of_another() {
    for (method, form) in forms() {
        // A template asked for as a path must be found as itself, and what it stands for must stand for itself.
        let canonical = rewrite(&form).unwrap_or_else(|| panic!("{method} {form} is not found"));
        assert_eq!(rewrite(&canonical).as_deref(), Some(&*canonical), "{method} {form}");
        assert!(canonical.starts_with("/api/v1/") || canonical.starts_with("/socket.io"), "{canonical}");
        assert_eq!(form.matches('{').count(), canonical.matches('{').count(), "{form} loses a part in {canonical}");
    }
    assert!(forms().len() > 150, "{}", forms().len());
}

#[tokio::test]
async fn a_path_that_stands_for_nothing_yet_is_answered_501_in_all_its_forms() {
    let server = Server::start(folio::http::routes(), |_| ()).await;
    let mut unbuilt = BTreeSet::new();
    for (method, form) in forms() {
        let canonical = rewrite(&form).unwrap();
        let path = form.replace("{*rest}", "x/y").replace(['{', '}'], "");
        let heard = say(server.address, ask(&format!("{method} {path}"), "")).await.pop().expect("an answer");
        let listed = UNBUILT.contains(&format!("{method} {canonical}").as_str());
        assert_eq!(heard.status == 501, listed, "{method} {form}: {}", heard.status);
        if heard.status == 501 {
            assert_eq!(heard.json()["error"], "not_implemented", "{method} {form}");
            unbuilt.insert(format!("{method} {canonical}"));
        }
    }
    assert_eq!(unbuilt.iter().map(String::as_str).collect::<Vec<_>>(), UNBUILT, "the list holds what is not built");
    for built in ["/health", "/health/live", "/health/ready", "/metrics"] {
        let heard = say(server.address, ask(&format!("GET {built}"), "")).await.pop().expect("an answer");
        assert!(heard.status != 404 && heard.status != 501, "{built}: {}", heard.status);
    }
    assert_eq!(say(server.address, ask("GET /api/v2/projects", "")).await[0].status, 404);
    server.end().await;
}
