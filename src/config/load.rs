//! Loading: defaults, then the file, then the environment, then flags; each overrides what came before.
//!
//! Nothing stops at the first mistake: all of them are collected, so that a person mends them in one go.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::rules::DEMANDS;
use super::settings::{KEYS, Key, Settings};
use super::text;
use super::values::{Hide, shown};

/// The name of the file of settings in the data folder.
pub const FILE_NAME: &str = "folio.toml";
const FILE_BYTES_MAX: u64 = 1 << 20;
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// What container platforms put into the environment for a service named folio, and what our own scripts read.
const FOREIGN: [&str; 4] = ["FOLIO_PORT", "FOLIO_PORT_", "FOLIO_SERVICE_", "FOLIO_SERVICES_"];

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The file of settings, instead of the one in the data folder.
    pub config: Option<PathBuf>,
    /// Settings and the flags that gave them: name, value, flag.
    pub flags: Vec<(String, String, String)>,
}

/// The value of one setting, and who gave it.
#[derive(Clone, Debug)]
pub struct Value {
    /// The row of the table.
    pub key: &'static Key,
    /// What was said.
    pub text: String,
    /// Where: `default`, a path, a variable, a flag.
    pub origin: String,
}

/// Everything that was read, right or wrong.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Every setting in the order of the table.
    pub values: Vec<Value>,
    /// What must be mended before Folio starts.
    pub problems: Vec<String>,
    /// What should be mended.
    pub warnings: Vec<String>,
    settings: Settings,
}

/// Reads every setting. Opens no port and makes nothing.
pub fn load(asked: &Asked, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Loaded {
    let values = KEYS.iter().map(|key| Value { key, text: key.default.to_owned(), origin: "default".to_owned() });
    let mut loaded = Loaded {
        file: None,
        values: values.collect(),
        problems: Vec::new(),
        warnings: Vec::new(),
        settings: Settings::default(),
    };
    let (variables, config) = loaded.variables(environment);
    loaded.file = loaded.find_file(asked.config.clone().or(config), &variables, &asked.flags);
    if let Some(path) = loaded.file.clone() {
        loaded.read_file(&path);
    }
    loaded.take(variables, |name| format!("FOLIO_{}", name.to_ascii_uppercase()));
    loaded.take(asked.flags.clone(), str::to_owned);
    loaded.judge();
    loaded
}

/// A name, its value, and who gave it.
type Given = (String, String, String);

impl Loaded {
    /// The settings, if nothing is wrong with them.
    pub fn settings(&self) -> Result<&Settings, &[String]> {
        if self.problems.is_empty() { Ok(&self.settings) } else { Err(&self.problems) }
    }

    /// Folio's own variables, and the path in `FOLIO_CONFIG`.
    fn variables(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> (Vec<Given>, Option<PathBuf>) {
        let mut given = Vec::new();
        let mut config = None;
        for (variable, value) in environment {
            let variable = variable.to_string_lossy().into_owned();
            let Some(name) = variable.strip_prefix("FOLIO_") else { continue };
            if variable == FOREIGN[0] || FOREIGN[1..].iter().any(|prefix| variable.starts_with(prefix)) {
                continue;
            }
            if variable == "FOLIO_CONFIG" {
                config = Some(PathBuf::from(value)).filter(|path| !path.as_os_str().is_empty());
                continue;
            }
            // The file's spelling is the one in small letters; anything else of the kind stays unknown.
            let name =
                if name.bytes().any(|byte| byte.is_ascii_lowercase()) { name } else { &name.to_ascii_lowercase() };
            match value.into_string() {
                Ok(text) => given.push((name.to_owned(), text, variable.clone())),
                Err(_) => self.problems.push(format!("{variable} is not UTF-8 text")),
            }
        }
        given.sort();
        (given, config)
    }

    /// The file that was asked for; else the one in the data folder, if it is there.
    fn find_file(&self, asked: Option<PathBuf>, variables: &[Given], flags: &[Given]) -> Option<PathBuf> {
        asked.or_else(|| {
            let given = variables.iter().chain(flags).rfind(|(name, text, _)| name == "data_dir" && !text.is_empty());
            let folder = given.map_or(PathBuf::from(&Settings::default().data_dir), |(_, text, _)| PathBuf::from(text));
            Some(folder.join(FILE_NAME)).filter(|path| path.symlink_metadata().is_ok())
        })
    }

    fn read_file(&mut self, path: &Path) {
        let read = text::read(path, FILE_BYTES_MAX).and_then(|file| {
            let table = file.text.parse::<toml::Table>().map_err(|error| {
                // Only where and what: the line itself may hold a password.
                let start = error.span().map_or(0, |span| span.start);
                let line = file.text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
                format!("{} line {line}: {}", path.display(), error.message())
            })?;
            Ok((file.is_open, table))
        });
        let (is_open, table) = match read {
            Ok(read) => read,
            Err(problem) => return self.problems.push(problem),
        };
        let mut given = Vec::new();
        for (name, value) in table {
            match plain(&value) {
                None if find(&name).is_some() => self.problems.push(format!(
                    "{name} in {} must be text in quotes, a whole number, true, false or a list of texts",
                    path.display()
                )),
                text => given.push((name, text.unwrap_or_default(), path.display().to_string())),
            }
        }
        let in_own_folder = path.file_name().is_some_and(|name| name == FILE_NAME);
        if in_own_folder && given.iter().any(|(name, text, _)| name == "data_dir" && moves(path, text)) {
            self.problems.push(format!(
                "data_dir in {} names another folder than the one the file lies in; say it by flag or variable",
                path.display()
            ));
        }
        let secret = |(name, text, _): &Given| find(name).is_some_and(|key| key.holds_secret()) && !text.is_empty();
        if is_open && given.iter().any(secret) {
            self.warnings.push(open_to_all(path));
        }
        self.take(given, str::to_owned);
    }

    /// One layer: what it gives replaces what was there; `spelled` is how the layer writes a name.
    fn take(&mut self, given: Vec<Given>, spelled: fn(&str) -> String) {
        let mut seen = BTreeSet::new();
        for (name, text, origin) in given {
            let of_file = name.strip_suffix("_file").and_then(find).filter(|key| key.holds_secret());
            let Some(key) = find(&name).or(of_file) else {
                self.problems.push(unknown(&name, &origin, spelled));
                continue;
            };
            let mut value = Value { key, text, origin };
            if of_file.is_some() && !value.text.is_empty() {
                match self.secret_of(&value) {
                    Ok(read) => value = read,
                    Err(problem) => {
                        self.problems.push(problem);
                        continue;
                    }
                }
            }
            if key.holds_secret() && value.origin.starts_with("--") {
                self.problems.push(format!(
                    "{} does not go on the command line, where every user of this machine can read it: use {} or {}_FILE",
                    key.name,
                    key.variable(),
                    key.variable()
                ));
            }
            if value.text.is_empty() {
                key.default.clone_into(&mut value.text);
            } else if !seen.insert(key.name) {
                self.problems.push(format!("{} is given twice, the second time by {}", key.name, value.origin));
            }
            if let Some(place) = self.values.iter_mut().find(|it| it.key.name == key.name) {
                *place = value;
            }
        }
    }

    /// The secret in the file that a setting names.
    fn secret_of(&mut self, named: &Value) -> Result<Value, String> {
        let path = Path::new(&named.text);
        let refused = |why: String| format!("{}: the file for {} {why}", named.origin, named.key.name);
        let file = text::read(path, SECRET_BYTES_MAX).map_err(|why| format!("{}: {why}", named.origin))?;
        if file.is_open {
            self.warnings.push(open_to_all(path));
        }
        let text = file.text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(refused("is empty".to_owned()));
        }
        Ok(Value {
            key: named.key,
            text: text.to_owned(),
            origin: format!("{} (named by {})", path.display(), named.origin),
        })
    }

    /// Turns texts into settings and holds them against each other.
    fn judge(&mut self) {
        let mut unread = BTreeSet::new();
        for Value { key, text, origin } in &self.values {
            if let Err(expected) = (key.set)(&mut self.settings, text) {
                unread.insert(key.name);
                self.problems.push(match key.hide {
                    Hide::Nothing => format!(
                        "{} must be {expected}; {origin} says \"{}\"",
                        key.name,
                        shown(key.hide, &text.chars().take(80).collect::<String>())
                    ),
                    _ => format!("{} must be {expected}; what {origin} says is not shown", key.name),
                });
            }
        }
        let readable = DEMANDS.iter().filter(|demand| !demand.reads.iter().any(|name| unread.contains(name)));
        self.problems.extend(readable.filter_map(|demand| (demand.refusal)(&self.settings)));
    }
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The text of a value that stands in the file.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Array(items) => {
            Some(items.iter().map(toml::Value::as_str).collect::<Option<Vec<&str>>>()?.join(","))
        }
        _ => None,
    }
}

/// Whether a file in a data folder names another one.
fn moves(path: &Path, data_dir: &str) -> bool {
    let folder = path.parent().and_then(|parent| parent.canonicalize().ok());
    !data_dir.is_empty() && folder != Path::new(data_dir).canonicalize().ok()
}

fn open_to_all(path: &Path) -> String {
    format!("every user of this machine may read the secrets in {0}: chmod 600 {0}", path.display())
}

fn unknown(name: &str, origin: &str, spelled: fn(&str) -> String) -> String {
    let secrets = KEYS.iter().filter(|key| key.holds_secret()).map(|key| format!("{}_file", key.name));
    let names = KEYS.iter().map(|key| key.name.to_owned()).chain(secrets);
    let nearest = names.min_by_key(|known| distance(known, name)).unwrap_or_default();
    let short = |text: &str| text.chars().take(80).collect::<String>().escape_debug().to_string();
    match origin.starts_with("FOLIO_") {
        true => format!("there is no setting {}; the nearest is {}", short(origin), spelled(&nearest)),
        false => format!("there is no setting {} in {origin}; the nearest is {nearest}", short(name)),
    }
}

/// How many letters have to change to make one name of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().take(80).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, theirs) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *theirs);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
