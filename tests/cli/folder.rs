//! The data folder, as a start finds it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use super::program::Place;

#[test]
fn a_first_start_needs_nothing_and_leaves_a_private_folder() {
    let place = Place::new();
    let serving = place.serve(&[]);
    for (name, mode) in [("folio-data", 0o700), ("folio-data/secret", 0o600), ("folio-data/folio.lock", 0o600)] {
        assert_eq!(place.path(name).metadata().unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    let secret = fs::read_to_string(place.path("folio-data/secret")).unwrap();
    assert_eq!(secret.trim().len(), 64);
    serving.signal(Signal::TERM);
    serving.end().with(0).hides(secret.trim());
    place.run(&["config", "show"]).with(0).hides(secret.trim());
}

#[test]
fn a_second_process_on_one_folder_is_refused_until_the_first_has_ended() {
    let place = Place::new();
    let first = place.serve(&[]);
    let id = first.id();
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["migrate"]] {
        place.run(command).with(1).says(&format!("the data folder folio-data is in use by process {id}"));
    }
    place.run(&["doctor"]).with(0).says(&format!("in use by process {id}"));
    first.signal(Signal::KILL);
    first.end();
    place.serve(&[]);
}

#[test]
fn what_a_crash_left_of_a_secret_is_not_taken_for_one_and_a_whole_one_lasts() {
    let place = Place::new();
    let unfinished = place.write("folio-data/secret.unfinished", "half");
    fs::set_permissions(&unfinished, Permissions::from_mode(0o600)).unwrap();
    place.serve(&[]).signal(Signal::KILL);
    let secret = fs::read_to_string(place.path("folio-data/secret")).unwrap();
    assert!(secret.trim().len() == 64 && !unfinished.exists());
    place.serve(&[]);
    assert_eq!(fs::read_to_string(place.path("folio-data/secret")).unwrap(), secret);
}

#[test]
fn a_folder_that_cannot_be_used_is_named_with_the_reason() {
    let place = Place::new();
    place.write("file", "");
    for (folder, reason) in [
        ("absent/folio-data", "absent/folio-data cannot be made: the folder above it does not exist"),
        ("file", "file cannot be made: a file is in the way"),
        ("/proc/folio-data", "/proc/folio-data cannot be made"),
    ] {
        place.run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", folder]).with(1).says(reason);
    }
}

#[test]
fn a_secret_that_is_weak_or_open_stops_the_start() {
    let place = Place::new();
    place.serve(&[]);
    let path = place.path("folio-data/secret");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    place.run(&["serve", "--listen", "127.0.0.1:0"]).with(1).says("chmod 600 folio-data/secret");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    place.run(&["serve", "--listen", "127.0.0.1:0"]).with(1).says("the secret in folio-data/secret is shorter");
}
