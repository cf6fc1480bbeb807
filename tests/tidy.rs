//! The rules of the house that no compiler knows: each is a test that names the lines that break it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path from the root, its text, and the same text with only code or only comments left in.
struct Source {
    path: String,
    text: String,
    code: String,
    comments: String,
}

const LINES_MAX: usize = 300;
const FUNCTION_LINES_MAX: usize = 60;
/// What says nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "manager", "managers", "service", "services", "data", "misc"];

fn root() -> PathBuf {
    // Read at run time: the tree may lie elsewhere than where it was compiled.
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| std::env::current_dir().unwrap(), PathBuf::from)
}

/// Every file below a folder, from the root, sorted; a folder that is not there has none.
fn files(folder: &str) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    let mut found: Vec<String> =
        found.iter().map(|it| it.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect();
    found.sort();
    found
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let paths = folders.iter().flat_map(|it| files(it)).filter(|it| it.ends_with(".rs"));
    let sources: Vec<Source> = paths
        .map(|path| {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            let (code, comments) = split(&text);
            Source { path, text, code, comments }
        })
        .collect();
    assert!(!sources.is_empty(), "no source found below {}", root().display());
    sources
}

/// What a place in a source is part of.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Code,
    Line,
    Block(usize),
    Letter,
    Text,
    Raw(usize),
}

/// The code without texts and comments, and the comments alone; both keep every line where it was.
fn split(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let (mut within, mut at) = (Within::Code, 0);
    while let Some(letter) = text[at..].chars().next() {
        let rest = &text[at..];
        let (next, length) = step(within, rest, text[..at].chars().next_back());
        let (from, to) = (at, at + length.max(letter.len_utf8()));
        let commented =
            matches!(within, Within::Line | Within::Block(_)) || matches!(next, Within::Line | Within::Block(_));
        for letter in text[from..to].chars() {
            let blank = if letter == '\n' { '\n' } else { ' ' };
            code.push(if within == Within::Code && next == Within::Code { letter } else { blank });
            comments.push(if commented { letter } else { blank });
        }
        (within, at) = (next, to);
    }
    (code, comments)
}

/// What comes after this place, and how many bytes belong together.
fn step(within: Within, rest: &str, before: Option<char>) -> (Within, usize) {
    let hashes = |it: &str| it.bytes().take_while(|it| *it == b'#').count();
    match within {
        Within::Code if rest.starts_with("//") => (Within::Line, 2),
        Within::Code if rest.starts_with("/*") => (Within::Block(1), 2),
        Within::Code if rest.starts_with('"') => (Within::Text, 1),
        Within::Code if rest.starts_with('r') && !before.is_some_and(|it| it.is_alphanumeric() && it != 'b') => {
            let count = hashes(&rest[1..]);
            let raw = rest[1 + count..].starts_with('"');
            if raw { (Within::Raw(count), 2 + count) } else { (Within::Code, 1) }
        }
        // A letter in quotes; a lifetime has no second quote there.
        Within::Code if rest.starts_with("'\\") => (Within::Letter, 3),
        Within::Code if rest.starts_with('\'') => {
            let quoted = rest.chars().nth(1).filter(|_| rest.chars().nth(2) == Some('\''));
            quoted.map_or((Within::Code, 1), |it| (Within::Letter, 1 + it.len_utf8()))
        }
        Within::Letter if rest.starts_with('\'') => (Within::Code, 1),
        Within::Line if rest.starts_with('\n') => (Within::Code, 1),
        Within::Block(depth) if rest.starts_with("*/") => {
            (if depth == 1 { Within::Code } else { Within::Block(depth - 1) }, 2)
        }
        Within::Block(depth) if rest.starts_with("/*") => (Within::Block(depth + 1), 2),
        Within::Text if rest.starts_with('\\') => (within, 2),
        Within::Text if rest.starts_with('"') => (Within::Code, 1),
        Within::Raw(count) if rest.starts_with('"') && hashes(&rest[1..]) >= count => (Within::Code, 1 + count),
        _ => (within, 0),
    }
}

/// The names in a piece of code, each with what comes before it.
fn names(code: &str) -> impl Iterator<Item = &str> {
    code.split(|it: char| !it.is_alphanumeric() && it != '_').filter(|it| !it.is_empty())
}

/// Fails with every line that breaks a rule.
fn none(rule: &str, broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The lines of `of` for which something holds, as `path:line: text`.
fn lines(source: &Source, of: &str, holds: impl Fn(&str) -> bool) -> Vec<String> {
    let found = of.lines().zip(source.text.lines()).enumerate().filter(|(_, (line, _))| holds(line));
    found.map(|(at, (_, line))| format!("{}:{}: {}", source.path, at + 1, line.trim())).collect()
}

#[test]
fn every_file_says_what_it_is() {
    let silent = sources(&["src", "tests", "benches"]).into_iter().filter(|it| !it.text.starts_with("//! "));
    none("a file begins with `//!`", silent.map(|it| it.path));
}

#[test]
fn a_library_is_named_only_by_the_part_that_hides_it() {
    let rules: &[(&str, &[&str])] = &[
        ("sqlx", &["src/storage/", "src/ids.rs"]),
        ("AssertSqlSafe", &["src/storage/"]),
        ("axum", &["src/http/", "src/ws/"]),
        ("hyper", &["src/http/", "src/ws/"]),
        ("hyper_util", &["src/http/", "src/ws/"]),
        ("ractor", &["src/actors/kernel/"]),
    ];
    let sources = sources(&["src"]);
    for (library, homes) in rules {
        let away = sources.iter().filter(|it| !homes.iter().any(|home| it.path.starts_with(home)));
        let broken = away.flat_map(|it| lines(it, &it.code, |line| names(line).any(|name| name == *library)));
        none(&format!("`{library}` belongs to {homes:?}"), broken);
    }
}

#[test]
fn arrows_point_one_way() {
    let inner = |path: &str| match path.split('/').nth(1).unwrap_or_default() {
        "http" | "ws" | "cli" | "lib.rs" | "main.rs" => &[][..],
        "actors" => &["http", "ws", "cli"][..],
        "storage" => &["http", "ws", "cli", "actors"],
        _ => &["http", "ws", "cli", "actors", "storage"],
    };
    let mut broken = Vec::new();
    for source in sources(&["src"]) {
        let outer = inner(&source.path);
        for part in source.code.split("crate::").skip(1) {
            // One name, or a list of them up to the end of its statement.
            let end = if part.starts_with('{') { part.find(';') } else { part.find(|it: char| !it.is_alphanumeric()) };
            let named = names(&part[..end.unwrap_or(part.len())]).find(|it| outer.contains(it));
            broken.extend(named.map(|it| format!("{}: names crate::{it}", source.path)));
        }
    }
    none("http, ws -> actors -> storage -> root files", broken);
}

#[test]
fn a_file_fits_a_head() {
    let all = ["src", "tests", "benches", "scripts", "migrations"].into_iter().flat_map(files);
    let texts = all.filter_map(|it| Some((fs::read_to_string(root().join(&it)).ok()?.lines().count(), it)));
    let long = texts.filter(|it| it.0 > LINES_MAX).map(|it| format!("{}: {} lines", it.1, it.0));
    none(&format!("a file has at most {LINES_MAX} lines"), long);
}

#[test]
fn a_function_fits_a_screen() {
    let mut long = Vec::new();
    for source in sources(&["src", "tests", "benches"]) {
        for (at, _) in source.code.match_indices("fn ") {
            let whole_word = !source.code[..at].ends_with(|it: char| it.is_alphanumeric() || it == '_');
            let size = source.code[at..][..extent(&source.code[at..])].lines().count();
            if whole_word && size > FUNCTION_LINES_MAX {
                let line = source.code[..at].lines().count().max(1);
                let name = names(&source.code[at + 3..]).next().unwrap_or_default();
                long.push(format!("{}:{line}: `{name}` has {size} lines", source.path));
            }
        }
    }
    none(&format!("a function has at most {FUNCTION_LINES_MAX} lines"), long);
}

/// How far a function reaches that begins here: to the end of its body, or of its declaration.
fn extent(code: &str) -> usize {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            '{' => curly += 1,
            '}' => curly -= 1,
            ';' if curly == 0 && round == 0 => return at,
            _ => continue,
        }
        if curly < 0 || (curly == 0 && letter == '}') {
            return at;
        }
    }
    code.len()
}

#[test]
fn a_name_says_what_is_inside() {
    let parts = |path: &str| path.split(['/', '_', '.']).map(str::to_owned).collect::<Vec<_>>();
    let all = ["src", "tests", "benches"].into_iter().flat_map(files);
    none("a name says what is inside", all.filter(|it| parts(it).iter().any(|it| EMPTY_NAMES.contains(&it.as_str()))));
    let modules = sources(&["src", "tests", "benches"]).into_iter().flat_map(|it| {
        let empty =
            |line: &str| names(line).zip(names(line).skip(1)).any(|it| it.0 == "mod" && EMPTY_NAMES.contains(&it.1));
        lines(&it, &it.code, empty)
    });
    none("a module's name says what is inside", modules);
}

#[test]
fn nothing_is_left_for_later_or_silenced() {
    for source in sources(&["src", "tests", "benches"]) {
        let later = |line: &str| names(line).any(|it| matches!(it, "TODO" | "FIXME" | "XXX" | "HACK"));
        none("work that is left has an issue", lines(&source, &source.comments, |it| later(it) && !it.contains("#")));
        let bare = |line: &str| line.trim().trim_start_matches("//").trim_start_matches('!').trim_start().to_owned();
        let banner = |line: &str| ["===", "---", "***", "###", "───", "//"].iter().any(|it| bare(line).starts_with(it));
        none("comments are sentences, not banners", lines(&source, &source.comments, banner));
        let silenced = lines(&source, &source.code, |it| it.contains("#[allow(") || it.contains("#![allow("));
        none("`#[expect(.., reason)]` instead of `#[allow]`", silenced);
    }
}

#[test]
fn the_tree_is_the_one_that_was_drawn() {
    let drawn = ["main.rs", "lib.rs", "config.rs", "error.rs", "ids.rs", "clock.rs", "telemetry.rs"];
    // A root file that has become more than one file keeps its name as a folder.
    let folders = ["actors", "http", "ws", "storage", "cli", "config", "telemetry"];
    let found: BTreeSet<String> =
        files("src").iter().filter_map(|it| it.split('/').nth(1).map(str::to_owned)).collect();
    none("src/ holds", found.into_iter().filter(|it| !drawn.contains(&it.as_str()) && !folders.contains(&it.as_str())));
}

#[test]
fn a_migration_has_a_twin() {
    let of = |engine: &str| -> Vec<String> {
        files(&format!("migrations/{engine}")).iter().filter_map(|it| it.split('/').nth(2).map(str::to_owned)).collect()
    };
    let (sqlite, postgres) = (of("sqlite"), of("postgres"));
    assert_eq!(sqlite, postgres, "both engines have the same migrations");
    none("migrations are numbered without gaps", gaps(&sqlite, 4));
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let all = files("docs/decisions").into_iter().filter_map(|it| it.split('/').nth(2).map(str::to_owned));
    none("decisions are numbered without gaps", gaps(&all.filter(|it| it != "README.md").collect::<Vec<_>>(), 3));
}

/// The names that do not begin with their own place in the list.
fn gaps(sorted: &[String], digits: usize) -> Vec<String> {
    let number = |it: &str| it.get(..digits).and_then(|it| it.parse::<usize>().ok());
    sorted.iter().enumerate().filter(|(at, name)| number(name) != Some(at + 1)).map(|it| it.1.clone()).collect()
}

#[test]
fn texts_and_comments_are_told_from_code() {
    let source =
        "let a = \"fn {\"; // fn }\nlet b: &'a str = r#\"\"{\"#; /* { */ let c = '{'; let d = '\\''; fn e() {}";
    let (code, comments) = split(source);
    assert_eq!(code.matches('{').count(), 1, "{code}");
    assert!(code.ends_with("fn e() {}") && code.matches("fn").count() == 1, "{code}");
    assert_eq!((comments.contains("fn }"), code.lines().count()), (true, 2), "{comments}");
    assert_eq!(extent("fn a(b: [u8; 4]) -> u8 { { 1 } } fn"), 31);
}
