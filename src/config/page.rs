//! The table of settings as text: what is in force, a file to start from, the reference.

use std::fmt::Write as _;

use super::load::{FILE_NAME, Loaded};
use super::settings::{KEYS, Key};
use super::values::shown;

/// Every setting with its value, who gave it, and what it means. Secrets are hidden.
pub fn show(loaded: &Loaded) -> String {
    let mut page = match &loaded.file {
        Some(path) => format!("The file of settings is {}.\n", path.display()),
        None => "There is no file of settings.\n".to_owned(),
    };
    for value in &loaded.values {
        let Key { name, meaning, .. } = value.key;
        let text = match shown(value.key.hide, &value.text) {
            text if text.is_empty() => "(not set)".to_owned(),
            text => text,
        };
        write!(page, "\n{name} = {text}\n    from: {}\n    {}\n", value.origin, meaning.trim())
            .expect("text takes all that is written");
    }
    page
}

/// A file of settings to start from: every setting with its default, commented out.
pub fn sample() -> String {
    let mut page = format!(
        "# Settings of Folio. As {FILE_NAME} in the data folder it is read by itself; otherwise: folio --config FILE\n\
         # Each line shows the default. The variable beside it, and flags, override this file.\n"
    );
    for key in KEYS {
        page.push('\n');
        for line in wrapped(key.meaning, 110) {
            writeln!(page, "# {line}").expect("text takes all that is written");
        }
        writeln!(page, "# {}{}", key.variable(), in_a_file(key)).expect("text takes all that is written");
        writeln!(page, "#{} = \"{}\"", key.name, key.default).expect("text takes all that is written");
    }
    page
}

/// The reference of all settings, in Markdown.
pub fn reference() -> String {
    let mut page = "# Settings\n\n\
        Made from the code by `folio config sample --markdown`; a test compares them.\n\n\
        Defaults are overridden by the file, the file by variables, variables by flags. The file is `folio.toml` in \
        the data folder,\nor what `--config` or `FOLIO_CONFIG` names. The command line has `--data-dir`, `--listen`, \
        `--log`, and `--set NAME=VALUE`\nfor everything that is no secret. An empty value means the default.\n\n\
        Durations are `250ms`, `30s`, `5m`, `1h`; sizes `64KiB`, `16MiB`, `1GiB`; lists have commas between their \
        parts.\nWhat may hold a secret can be read from a file of its own: `NAME_file`, or the variable with `_FILE` \
        at its end.\n\n\
        | setting | variable | default | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for key in KEYS {
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        let variable = format!("`{}`{}", key.variable(), in_a_file(key));
        writeln!(page, "| `{}` | {variable} | {default} | {} |", key.name, key.meaning.trim())
            .expect("text takes all that is written");
    }
    page
}

fn in_a_file(key: &Key) -> &'static str {
    if key.holds_secret() { " (or _FILE)" } else { "" }
}

/// The words of a text in lines of at most `width` letters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a first line");
        if line.len() + word.len() >= width {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}
