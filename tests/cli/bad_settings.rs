//! Settings that are wrong: every reason at once, exit 78, no port opened, nothing made.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use super::program::{Ended, Place, ended};

/// What is said to Folio, and what it must say back.
struct Case {
    variables: &'static [(&'static str, &'static str)],
    file: &'static [u8],
    reasons: &'static [&'static str],
}

const fn variables(variables: &'static [(&'static str, &'static str)], reasons: &'static [&'static str]) -> Case {
    Case { variables, file: b"", reasons }
}

const fn file(file: &'static [u8], reasons: &'static [&'static str]) -> Case {
    Case { variables: &[], file, reasons }
}

/// Stands wherever a secret can stand: it must never be shown.
const HIDDEN: &str = "hush-hush-7";

const CASES: &[Case] = &[
    // Names that nobody knows.
    variables(&[("FOLIO_LISTN", "x")], &["no setting FOLIO_LISTN; the nearest is FOLIO_LISTEN"]),
    variables(&[("FOLIO_", "x")], &["no setting FOLIO_;"]),
    variables(&[("FOLIO_Listen", "127.0.0.1:1")], &["no setting FOLIO_Listen; the nearest is FOLIO_LISTEN"]),
    variables(&[("FOLIO_DATABASE_URL_FIL", HIDDEN)], &["the nearest is FOLIO_DATABASE_URL_FILE"]),
    variables(&[("FOLIO_LISTEN_FILE", "x")], &["no setting FOLIO_LISTEN_FILE"]),
    file(b"lisen = \"127.0.0.1:1\"", &["no setting lisen in folio.toml; the nearest is listen"]),
    file(b"[http]\nlisten = \"127.0.0.1:1\"", &["no setting http in folio.toml"]),
    // Values of another form.
    variables(&[("FOLIO_LISTEN", "localhost")], &["listen must be an address and a port", "says \"localhost\""]),
    variables(&[("FOLIO_LISTEN", "127.0.0.1:65536")], &["listen must be"]),
    variables(&[("FOLIO_HEAD_WITHIN", "10")], &["head_within must be a duration such as", "from 100ms to 1h"]),
    variables(&[("FOLIO_HEAD_WITHIN", "-1s")], &["head_within must be"]),
    variables(&[("FOLIO_HEAD_WITHIN", "99999999999999999999h")], &["head_within must be"]),
    variables(&[("FOLIO_HEAD_WITHIN", "18446744073709551615d")], &["head_within must be"]),
    variables(&[("FOLIO_BODY_BYTES_MAX", "64MB")], &["body_bytes_max must be a size such as", "from 1KiB to 1GiB"]),
    variables(&[("FOLIO_BODY_BYTES_MAX", "0")], &["body_bytes_max must be"]),
    variables(&[("FOLIO_CONNECTIONS_MAX", "0")], &["connections_max must be a number from 1"]),
    variables(&[("FOLIO_CONNECTIONS_MAX", "1e3")], &["connections_max must be"]),
    variables(&[("FOLIO_CONNECTIONS_MAX", "١٢")], &["connections_max must be"]),
    variables(&[("FOLIO_RATE_LIMIT", "maybe")], &["rate_limit must be on or off"]),
    variables(&[("FOLIO_LOG", "loud")], &["log must be levels such as info"]),
    variables(&[("FOLIO_LOG_FORMAT", "xml")], &["log_format must be json or pretty"]),
    variables(&[("FOLIO_ORIGINS", "https://folio.example/app")], &["origins must be a list of origins"]),
    variables(&[("FOLIO_ORIGINS", "*")], &["origins must be"]),
    variables(&[("FOLIO_TRUSTED_PROXIES", "10.0.0.0/33")], &["trusted_proxies must be"]),
    variables(&[("FOLIO_TRUSTED_PROXIES", "10.1.2.3/8")], &["trusted_proxies must be"]),
    variables(&[("FOLIO_LISTEN", "a\u{1b}[31m\nb")], &["says \"a\\u{1b}[31m\\nb\""]),
    file(b"connections_max = 1.5", &["connections_max in folio.toml must be text in quotes"]),
    file(b"origins = [1, 2]", &["origins in folio.toml must be"]),
    // Addresses of servers, which are never shown.
    variables(&[("FOLIO_DATABASE_URL", "mysql://ada:hush-hush-7@h/folio")], &["database_url must be", "postgres://"]),
    variables(&[("FOLIO_SMTP_CA", "/nowhere.pem")], &["smtp_ca /nowhere.pem cannot be read"]),
    variables(&[("FOLIO_SMTP_CA", "/dev/null")], &["smtp_ca /dev/null holds no certificate in PEM"]),
    variables(&[("FOLIO_DATABASE_URL", "hush-hush-7")], &["database_url must be"]),
    variables(&[("FOLIO_REDIS_URL", "http://:hush-hush-7@h")], &["redis_url must be an address such as redis://"]),
    variables(&[("FOLIO_AMQP_URL", "amqp:hush-hush-7")], &["amqp_url must be"]),
    variables(&[("FOLIO_ELASTICSEARCH_URL", "h:9200/hush-hush-7")], &["elasticsearch_url must be"]),
    // Secrets.
    variables(&[("FOLIO_SECRET", HIDDEN)], &["secret is shorter than 32 characters"]),
    variables(&[("FOLIO_SECRET", "hush-hush-7 your-secret-key-change-me")], &["secret is a known placeholder"]),
    variables(&[("FOLIO_SECRET_FILE", "absent")], &["FOLIO_SECRET_FILE: absent does not exist"]),
    variables(&[("FOLIO_SECRET_FILE", ".")], &["FOLIO_SECRET_FILE: . is a directory"]),
    variables(&[("FOLIO_SECRET_FILE", "/dev/zero")], &["/dev/zero is not a regular file"]),
    Case {
        variables: &[("FOLIO_S3_SECRET", HIDDEN), ("FOLIO_S3_SECRET_FILE", "folio.toml")],
        file: b"# hush-hush-7",
        reasons: &["s3_secret is given twice, the second time by folio.toml (named by FOLIO_S3_SECRET_FILE)"],
    },
    // Settings that do not go together.
    variables(
        &[("FOLIO_LISTEN", "0.0.0.0:8080")],
        &["so origins must say", "so trusted_proxies must name", "not on loopback"],
    ),
    variables(
        &[
            ("FOLIO_LISTEN", "[::]:8080"),
            ("FOLIO_ORIGINS", "https://folio.example"),
            ("FOLIO_TRUSTED_PROXIES", "none"),
            ("FOLIO_S3_URL", "http://minioadmin:minioadmin@s3:9000/folio"),
            ("FOLIO_AMQP_URL", "amqp://guest:guest@mq"),
        ],
        &["everybody knows the password of amqp_url, s3_url"],
    ),
    variables(&[("FOLIO_OPS_LISTEN", "127.0.0.1:8080")], &["ops_listen is the same as listen"]),
    variables(&[("FOLIO_S3_URL", "http://h:9000")], &["but s3_key stands", "but s3_secret", "but s3_bucket"]),
    variables(&[("FOLIO_S3_URL", "http://k:hush-hush-7@h/b"), ("FOLIO_S3_KEY", "k")], &["both in s3_url and beside"]),
    variables(&[("FOLIO_S3_BUCKET", "b")], &["s3_bucket is set, but s3_url is not"]),
    variables(&[("FOLIO_CONNECTIONS_MAX", "10")], &["connections_per_address_max is larger than connections_max"]),
    variables(&[("FOLIO_PARK_AFTER", "2m")], &["park_after is longer than idle_within"]),
    variables(&[("FOLIO_WRITER_WAITING_MAX", "10")], &["writer_batch_max is larger than writer_waiting_max"]),
    // Files that are no settings.
    file(b"listen = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"", &["folio.toml line 2", "duplicate key"]),
    file(b"\n\nsecret = hush-hush-7\n", &["folio.toml line 3"]),
    file(b"secret = \"hush-hush-7", &["folio.toml line 1"]),
    file(b"\xff\xfel\0i\0s\0t\0", &["folio.toml is UTF-16 text: save it as UTF-8"]),
    file(b"\xfe\xff\0l\0i\0s\0t", &["folio.toml is UTF-16 text"]),
    file(b"\x7fELF\0\0\0", &["folio.toml is a binary file"]),
    file(b"listen = \"\xe9\"", &["folio.toml is not UTF-8 text"]),
];

fn tried(place: &Place, command: &[&str], case: &Case) -> Ended {
    let mut command = place.folio(command);
    if !case.file.is_empty() {
        place.write("folio.toml", case.file);
        command.args(["--config", "folio.toml"]);
    }
    ended(command.envs(case.variables.iter().copied()))
}

#[test]
fn every_mistake_is_named_and_nothing_is_made_or_shown() {
    for case in CASES {
        let place = Place::new();
        let mut ended = tried(&place, &["config", "check"], case).with(78).hides(HIDDEN);
        for reason in case.reasons {
            ended = ended.says(reason);
        }
        assert!(place.names().iter().all(|name| name == "folio.toml"), "{:?}", place.names());
        tried(&place, &["config", "show"], case).with(78).hides(HIDDEN);
    }
}

#[test]
fn all_mistakes_of_all_sources_are_told_at_once_before_any_port_is_opened() {
    // Folio could not bind this port: the answer would be another one if it had tried.
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = occupied.local_addr().unwrap().to_string();
    let place = Place::new();
    place.write("folio.toml", "connections_max = 0\nnonsense = 1\nlog = \"loud\"\n");
    let mut command = place.folio(&["serve", "--config", "folio.toml", "--set", "park_after=1", "--listen", &listen]);
    let ended = ended(command.env("FOLIO_HEAD_WITHIN", "soon").env("FOLIO_NONSENSE", "1")).with(78);
    for name in ["connections_max", "nonsense in folio.toml", "log must", "park_after", "head_within", "FOLIO_NONSENSE"]
    {
        assert!(ended.err.contains(name), "{name} is missing in {ended:#?}");
    }
    assert_eq!(ended.err.lines().count(), 6, "{ended:#?}");
    assert_eq!(place.names(), ["folio.toml"]);
}

#[test]
fn a_file_that_is_a_folder_absent_too_large_or_unreadable_is_refused() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    fs::File::create(place.path("large")).unwrap().set_len(100 << 20).unwrap();
    for (name, reason) in
        [("folder", "folder is a directory"), ("absent", "absent does not exist"), ("large", "large is larger than")]
    {
        place.run(&["config", "check", "--config", name]).with(78).says(reason);
    }
    fs::create_dir_all(place.path("folio-data/folio.toml")).unwrap();
    place.run(&["serve"]).with(78).says("folio-data/folio.toml is a directory");
}

#[test]
fn an_empty_file_is_fine_and_one_with_secrets_that_all_may_read_is_a_warning() {
    let place = Place::new();
    place.write("empty.toml", "");
    place.run(&["config", "check", "--config", "empty.toml"]).with(0).hides("warning");
    let url = "redis_url = \"redis://:hush-hush-7@127.0.0.1:1/0\"\n";
    let path = place.write("secrets.toml", format!("\u{feff}{url}"));
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let ended = place.run(&["config", "check", "--config", "secrets.toml"]).with(0).hides(HIDDEN);
        assert_eq!(ended.err.contains("warning: every user of this machine may read"), warned, "{ended:#?}");
    }
}

#[test]
fn a_file_in_the_data_folder_cannot_name_another_folder() {
    let place = Place::new();
    place.write("folio-data/folio.toml", "data_dir = \"elsewhere\"");
    place.run(&["config", "check"]).with(78).says("names another folder than the one the file lies in");
    place.write("folio-data/folio.toml", "data_dir = \"folio-data\"");
    place.run(&["config", "check"]).with(0);
}

#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let mut command = place.folio(&["config", "check"]);
    command.env("FOLIO_LISTEN", std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    ended(&mut command).with(78).says("FOLIO_LISTEN is not UTF-8 text");
}
