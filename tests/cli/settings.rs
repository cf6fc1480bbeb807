//! Settings that are right: who wins, what is shown, and that the documents say what the code does.

use std::fs;
use std::path::Path;

use super::program::{Place, ended};

#[test]
fn the_file_wins_over_defaults_variables_over_the_file_and_flags_over_all() {
    let place = Place::new();
    place.write(
        "folio-data/folio.toml",
        "log = \"warn\"\nhead_within = \"11s\"\nlisten = \"127.0.0.1:1\"\norigins = [\"https://a.example\", \"https://b.example\"]\n",
    );
    let mut command = place.folio(&["config", "show", "--listen", "127.0.0.1:3", "--set", "body_within=1"]);
    ended(&mut command).with(78).says("no setting body_within in --set; the nearest is");
    let mut command = place.folio(&["config", "show", "--listen", "127.0.0.1:3", "--set", "idle_within=90s"]);
    let shown = ended(command.env("FOLIO_HEAD_WITHIN", "12s").env("FOLIO_LISTEN", "127.0.0.1:2")).with(0).out;
    for line in [
        "The file of settings is folio-data/folio.toml.",
        "answer_within = 10s\n    from: default\n    How long a request may take, where the route says nothing else.",
        "log = warn\n    from: folio-data/folio.toml\n",
        "origins = https://a.example,https://b.example\n    from: folio-data/folio.toml\n",
        "head_within = 12s\n    from: FOLIO_HEAD_WITHIN\n",
        "listen = 127.0.0.1:3\n    from: --listen\n",
        "idle_within = 90s\n    from: --set\n",
        "database_url = (not set)\n    from: default\n",
    ] {
        assert!(shown.contains(line), "{line:?} is missing in {shown}");
    }
}

#[test]
fn the_data_folder_of_a_flag_is_where_the_file_is_looked_for() {
    let place = Place::new();
    place.write("here/folio.toml", "log = \"warn\"");
    place.write("there/folio.toml", "log = \"debug\"");
    let mut command = place.folio(&["config", "show", "--data-dir", "there"]);
    ended(command.env("FOLIO_DATA_DIR", "here")).with(0).says("log = debug\n    from: there/folio.toml");
    let mut command = place.folio(&["config", "show"]);
    ended(command.env("FOLIO_DATA_DIR", "here")).with(0).says("log = warn\n    from: here/folio.toml");
    let mut command = place.folio(&["config", "show"]);
    ended(command.env("FOLIO_CONFIG", "there/folio.toml")).with(0).says("log = debug\n    from: there/folio.toml");
}

#[test]
fn secrets_and_passwords_are_never_shown() {
    let place = Place::new();
    let secret = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    place.write("password", "hush-hush-7\n");
    let mut command = place.folio(&["config", "show"]);
    command.env("FOLIO_SECRET", secret).env("FOLIO_S3_SECRET_FILE", "password").env("FOLIO_S3_KEY", "folio-key");
    command.env("FOLIO_S3_URL", "http://s3.example:9000/bucket");
    command.env("FOLIO_DATABASE_URL", "postgres://ada:hush-hush-7@db.example/folio?password=hush-hush-7");
    command.env("FOLIO_REDIS_URL", "redis://hush-hush-7@cache.example");
    let shown = ended(&mut command).with(0).hides("hush-hush-7").hides(secret);
    let shown = shown.says("database_url = postgres://ada:***@db.example/folio?***\n");
    let shown = shown.says("redis_url = redis://***@cache.example").says("secret = ***\n    from: FOLIO_SECRET\n");
    shown.says("s3_secret = ***\n    from: password (named by FOLIO_S3_SECRET_FILE)\n").says("s3_key = folio-key\n");
}

#[test]
fn a_secret_does_not_go_on_the_command_line() {
    let place = Place::new();
    let refused = place.run(&["config", "check", "--set", "database_url=postgres://ada:hush-hush-7@db.example/folio"]);
    refused.with(78).hides("hush-hush-7").says("database_url does not go on the command line");
}

#[test]
fn an_empty_variable_means_the_default() {
    let place = Place::new();
    place.write("folio-data/folio.toml", "redis_url = \"redis://127.0.0.1:1/0\"\n");
    let mut command = place.folio(&["config", "show"]);
    let shown = ended(command.env("FOLIO_REDIS_URL", "").env("FOLIO_LISTEN", "").env("FOLIO_CONFIG", "")).with(0);
    shown.says("redis_url = (not set)\n    from: FOLIO_REDIS_URL\n").says("listen = 127.0.0.1:8080\n");
}

#[test]
fn what_container_platforms_and_our_scripts_put_into_the_environment_is_no_mistake() {
    let place = Place::new();
    let mut command = place.folio(&["config", "check"]);
    for variable in ["FOLIO_PORT", "FOLIO_PORT_8080_TCP", "FOLIO_SERVICE_HOST", "FOLIO_SERVICES_DIR", "folio_listen"] {
        command.env(variable, "tcp://10.0.0.1:8080");
    }
    ended(&mut command).with(0);
}

#[test]
fn off_loopback_everything_that_is_demanded_is_enough() {
    let place = Place::new();
    let mut command = place.folio(&["config", "check", "--listen", "0.0.0.0:8080"]);
    command.env("FOLIO_ORIGINS", "https://folio.example, http://folio.example:8080");
    ended(command.env("FOLIO_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8, 192.0.2.1")).with(0);
}

#[test]
fn time_zone_locale_and_a_missing_home_change_nothing() {
    let place = Place::new();
    let plain = place.run(&["config", "show"]).with(0).out;
    let mut command = place.folio(&["config", "show"]);
    let there = ended(command.env("TZ", "Asia/Kolkata").env("LC_ALL", "tr_TR.UTF-8").env("LANG", "tr_TR.UTF-8"));
    assert_eq!(there.with(0).out, plain);
}

#[test]
fn the_sample_and_the_reference_are_those_of_the_code() {
    let place = Place::new();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (file, arguments) in
        [("folio.sample.toml", &["config", "sample"][..]), ("settings.md", &["config", "sample", "--markdown"])]
    {
        let made = place.run(arguments).with(0).out;
        let kept = fs::read_to_string(docs.join(file)).unwrap_or_default();
        assert!(made == kept, "docs/{file} is not what folio {} prints: write it again", arguments.join(" "));
    }
}

#[test]
fn the_sample_with_every_line_taken_is_what_holds_anyway() {
    let place = Place::new();
    let sample = place.run(&["config", "sample"]).with(0).out;
    place.write("sample.toml", &sample);
    place.run(&["config", "check", "--config", "sample.toml"]).with(0);
    let taken: String = sample
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(""))
        .map(|line| format!("{line}\n"))
        .collect();
    place.write("taken.toml", taken);
    let shown = place.run(&["config", "show", "--config", "taken.toml"]).with(0).out;
    let values = |page: &str| page.lines().filter(|line| line.contains(" = ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(values(&shown), values(&place.run(&["config", "show"]).out));
}
