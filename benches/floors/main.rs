//! What the parts cost, each against its peer; benches/floors.txt has what they must reach.
//!
//! One program, because it is linked as a release build is, which takes minutes: `cargo bench --bench floors -- NAME...`
//! runs those that are named, `scripts/floors` holds what they print against the table.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a bench prints, and ends at the first surprise"
)]

mod chat_append;
mod commit;
mod fanout;
mod http_cached;
mod keyed;
mod mailbox;
mod median;
mod people;
#[path = "../settled.rs"]
mod settled;
mod stores;
mod tokens;
mod writer;

use std::process::ExitCode;

/// As the product has it.
#[cfg(not(debug_assertions))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BENCHES: [(&str, fn()); 9] = [
    ("mailbox", mailbox::run),
    ("keyed", keyed::run),
    ("writer", writer::run),
    ("commit", commit::run),
    ("people", people::run),
    ("http_cached", http_cached::run),
    ("tokens", tokens::run),
    ("fanout", fanout::run),
    ("chat_append", chat_append::run),
];

fn main() -> ExitCode {
    // Cargo adds flags of its own.
    let names: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    if let Some(unknown) = names.iter().find(|name| BENCHES.iter().all(|it| it.0 != **name)) {
        eprintln!("there is no bench {unknown}: {}", BENCHES.map(|it| it.0).join(", "));
        return ExitCode::FAILURE;
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|it| it == name);
    BENCHES.iter().filter(|it| wanted(it.0)).for_each(|it| it.1());
    ExitCode::SUCCESS
}
