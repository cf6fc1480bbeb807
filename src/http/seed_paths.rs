//! The one table that makes every path of the seeds work.
//!
//! Folio has one path for a thing, `/api/v1/<capability>/...`. The seeds have several: those of the services
//! themselves (`/auth/login`), those behind their proxy (`/api/auth/login`, or with the name twice), and versioned ones.
//! A line gives a service's path and the one it stands for; the forms follow by rule. The shell asks here when no route
//! takes a request, and routes again with what it gets: what stands for a path that nobody serves yet is answered 501.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A line: the service behind the proxy (`-`: none), methods, the path at the service, and what it stands for.
const TABLE: &str = include_str!("seed_paths.txt");

static PATHS: LazyLock<matchit::Router<&str>> = LazyLock::new(|| {
    let mut router = matchit::Router::new();
    for (path, canonical) in all().map(|(_, path, canonical)| (path, canonical)).collect::<BTreeMap<_, _>>() {
        router.insert(path, canonical).expect("the forms of two lines are the same path or none of both");
    }
    router
});

/// The path that a seed's path stands for, with its parameters just as they came.
pub fn rewrite(path: &str) -> Option<String> {
    let found = PATHS.at(path).ok()?;
    let value =
        |part: &&'static str| found.params.get(part.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*'));
    let parts = found.value.split('/').map(|part| value(&part).unwrap_or(part));
    Some(parts.collect::<Vec<_>>().join("/"))
}

/// Every path of every seed in all its forms: the methods it takes there, the path, and the one it stands for.
pub fn all() -> impl Iterator<Item = (&'static str, String, &'static str)> {
    let row = |line: &'static str| Vec::from_iter(line.split_whitespace()).try_into();
    let rows = TABLE.lines().map(move |line| row(line).expect("a line of the table has four words"));
    rows.flat_map(|row: [&str; 4]| forms(row).map(move |it| (row[1], it, row[3])))
}

/// The paths of one line: as it is, canonical, versioned, and behind the proxy with the service's name twice and once.
fn forms([service, _, seed, canonical]: [&'static str; 4]) -> impl Iterator<Item = String> {
    let versioned = (seed != canonical && !seed.starts_with("/api/")).then(|| format!("/api/v1{seed}"));
    let named = seed[1..].strip_prefix(service).filter(|it| it.is_empty() || it.starts_with('/'));
    let twice = (service != "-").then(|| format!("/api/{service}{seed}"));
    let once = named.map(|_| format!("/api{seed}"));
    [Some(seed.to_owned()), Some(canonical.to_owned()), versioned, twice, once].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_has_two_meanings() {
        let mut meant = BTreeMap::new();
        for (_, path, canonical) in all() {
            assert_eq!(*meant.entry(path.clone()).or_insert(canonical), canonical, "{path}");
        }
    }
}
