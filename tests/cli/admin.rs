//! `folio admin`: the first admin, roles, passwords, people from elsewhere, keys; at the machine itself.

use std::io::Write;
use std::process::Stdio;

use super::program::{Ended, Place, ended};

/// bcrypt of `correct horse`, and argon2id of something.
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuuO8Bx0pT3uBDbvYIsuVEyZGzmO6Ez5cS";
const ARGON: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$a9mFyZ9p3lRMn7vxNX0e2Vt1XY1SKUiYYE5n0Wq2yTs";

fn admin(place: &Place, arguments: &[&str]) -> Ended {
    place.run(&[&["admin"], arguments].concat())
}

/// The word on the last line of what was printed.
fn last_line(told: &Ended) -> String {
    told.out.trim_end().lines().last().unwrap().to_owned()
}

#[test]
fn the_first_admin_is_made_at_the_machine_with_a_password_that_is_shown_once() {
    let place = Place::new();
    let made = admin(&place, &["create", "--name", "Eve", "--email", "eve@example.org", "--role", "admin"]).with(0);
    assert_eq!(last_line(&made).len(), 23, "{made:#?}");
    admin(&place, &["list"]).with(0).says("\tEve\tadmin\tactive\teve@example.org").hides(&last_line(&made));
    admin(&place, &["create", "--name", "EVE"]).with(1).says("somebody has this name");
    admin(&place, &["create", "--name", "bob", "--email", "EVE@example.org"]).with(1).says("mail at this address");
    admin(&place, &["create", "--name", "b", "--role", "user"]).with(1).says("username must have");
    admin(&place, &["create", "--name", "bob", "--role", "root"]).with(64).says("a role is one of user, seller");
    admin(&place, &["list", "--role", "user"]).with(0).hides("Eve").hides("bob");
}

#[test]
fn a_password_may_come_from_the_standard_input() {
    let place = Place::new();
    let create = |name: &str, password: &str| {
        let mut command = place.folio(&["admin", "create", "--name", name, "--password-stdin"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, told) = create("ada", "a long walk by the sea\n");
    assert!(code == Some(0) && !told.contains("walk"), "{told}");
    for bad in ["", "short", "password", &"x".repeat(2_000)] {
        let (code, told) = create("bob", bad);
        assert!(code == Some(1) && told.contains("password"), "{told}");
    }
}

#[test]
fn what_cannot_be_taken_back_wants_a_yes() {
    let place = Place::new();
    admin(&place, &["create", "--name", "eve", "--role", "admin"]).with(0);
    admin(&place, &["create", "--name", "ada"]).with(0);
    admin(&place, &["grant", "--user", "ada", "--role", "admin"]).with(64).says("--yes");
    admin(&place, &["reset-password", "--user", "ada"]).with(64).says("--yes");
    admin(&place, &["list", "--role", "admin"]).with(0).hides("ada");
    admin(&place, &["grant", "--user", "eve", "--role", "user", "--yes"]).with(1).says("nobody else is an admin");
    admin(&place, &["grant", "--user", "ADA", "--role", "admin", "--yes"]).with(0).says("ada is admin now");
    admin(&place, &["grant", "--user", "ada", "--role", "admin", "--yes"]).with(0).says("already");
    admin(&place, &["grant", "--user", "eve", "--role", "user", "--yes"]).with(0);
    admin(&place, &["grant", "--user", "bob", "--role", "user", "--yes"]).with(1).says("no such user");
    let reset =
        admin(&place, &["reset-password", "--user", "ada", "--yes"]).with(0).says("/api/v1/auth/password/reset");
    assert_eq!(last_line(&reset).len(), 22, "{reset:#?}");
}

#[test]
fn a_key_is_made_before_there_is_a_browser() {
    let place = Place::new();
    let made = admin(&place, &["key", "create", "--name", "chat", "--scope", "users:read", "--scope", "profiles:read"]);
    assert!(last_line(&made.with(0)).starts_with("folio_"));
    admin(&place, &["key", "create", "--name", "chat"]).with(64).says("--scope");
    admin(&place, &["key", "create", "--name", "chat", "--scope", "everything"]).with(64).says("a scope is one of");
    admin(&place, &["key", "create", "--name", "", "--scope", "users:read"]).with(1).says("name must have");
}

#[test]
fn a_file_that_is_served_is_left_alone() {
    let place = Place::new();
    let serving = place.serve(&[]);
    admin(&place, &["list"]).with(1).says("is in use by process").says("PostgreSQL");
    drop(serving);
}

#[test]
fn people_from_elsewhere_are_taken_over_whatever_the_form_of_the_file() {
    let place = Place::new();
    let json = format!(
        "{{\"username\":\"ada\",\"email\":\"ada@example.org\",\"password_hash\":\"{BCRYPT}\",\"role\":\"seller\",\
         \"display_name\":\"Ada L.\",\"created_at\":\"2020-02-29T12:00:00Z\"}}\n\n\
         {{\"username\":\"bob\",\"password_hash\":\"{ARGON}\"}}\n"
    );
    place.write("people.jsonl", &json);
    let csv = format!(
        "\u{feff}username,email,password_hash,display_name\r\neve,,{BCRYPT},\"Eve, the \"\"first\"\"\"\r\nBOB,,{BCRYPT},\r\n"
    );
    place.write("people.csv", csv);
    let import = |arguments: &[&str]| admin(&place, &[&["import"], arguments].concat());
    import(&["people.jsonl", "--dry-run"]).with(0).says("2 people would be added; 0 are here already");
    admin(&place, &["list"]).with(0).hides("ada");
    import(&["people.jsonl"]).with(0).says("2 people were added; 0 were here already");
    import(&["people.jsonl"]).with(0).says("0 people were added; 2 were here already");
    import(&["people.csv"]).with(0).says("1 people were added; 1 were here already");
    admin(&place, &["list"]).with(0).says("\tada\tseller\tactive\tada@example.org").says("\teve\tuser\tactive\t-");
}

#[test]
fn a_file_with_bad_lines_is_told_whole_and_not_taken_at_all() {
    let place = Place::new();
    let good = format!("{{\"username\":\"good one\",\"password_hash\":\"{BCRYPT}\"}}\n");
    let bad = [
        "{\"username\":\"x\"",
        "{\"username\":\"no hash\"}",
        "{\"username\":\"plain\",\"password_hash\":\"secret\"}",
        "{\"username\":\"md five\",\"password_hash\":\"5f4dcc3b5aa765d61d8327deb882cf99\"}",
        &format!("{{\"username\":\"a\",\"password_hash\":\"{BCRYPT}\"}}"),
        &format!("{{\"username\":\"costly\",\"password_hash\":\"{}\"}}", BCRYPT.replace("$04$", "$31$")),
        &format!("{{\"username\":\"greedy\",\"password_hash\":\"{}\"}}", ARGON.replace("m=19456", "m=99999999")),
        &format!("{{\"username\":\"odd mail\",\"email\":\"@\",\"password_hash\":\"{BCRYPT}\"}}"),
        &format!("{{\"username\":\"king\",\"role\":\"king\",\"password_hash\":\"{BCRYPT}\"}}"),
        &format!("{{\"username\":\"late\",\"created_at\":\"2999-01-01T00:00:00Z\",\"password_hash\":\"{BCRYPT}\"}}"),
        &format!("{{\"username\":\"more\",\"admin\":true,\"password_hash\":\"{BCRYPT}\"}}"),
        &"x".repeat(70_000),
    ];
    place.write("people.jsonl", format!("{good}{}\n{good}", bad.join("\n")));
    let told = admin(&place, &["import", "people.jsonl"]).with(1).says("12 of 14 lines are bad: nobody was added");
    for number in 2..=13 {
        assert!(told.err.contains(&format!("line {number}: ")), "{told:#?}");
    }
    admin(&place, &["list"]).with(0).hides("good one");
    admin(&place, &["import", "nowhere.csv"]).with(1).says("nowhere.csv cannot be read");
    place.write("empty.csv", "");
    admin(&place, &["import", "empty.csv"]).with(0).says("0 people were added");
    place.write("odd.csv", "username,password_hash\n\"ada,x\nbob\neve,a,b\n");
    let told = admin(&place, &["import", "odd.csv"]).with(1).says("3 of 3 lines are bad");
    assert!(told.err.contains("a quote is not closed") && told.err.contains("it has 1 cells"), "{told:#?}");
}

#[test]
fn a_file_of_thousands_is_taken_in_batches_and_skips_what_comes_twice() {
    let place = Place::new();
    let line = |number: u32| format!("person {number},p{number}@example.org,{BCRYPT}\n");
    let lines: String = (0..2_500).chain(0..10).map(line).collect();
    place.write("people.csv", format!("username,email,password_hash\n{lines}"));
    admin(&place, &["import", "people.csv"]).with(0).says("2500 people were added; 10 were here already");
    let listed = admin(&place, &["list", "--prefix", "PERSON 24"]).with(0);
    assert_eq!(listed.out.lines().count(), 111, "24, 240 to 249, 2400 to 2499");
    let mut wrong = place.folio(&["admin", "list"]);
    ended(wrong.env("FOLIO_BCRYPT_COST", "x")).with(78);
}
