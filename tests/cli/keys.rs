//! `folio keys`, on the embedded database.

use super::program::Place;

#[test]
fn a_key_is_rotated_and_the_former_one_verifies_until_its_tokens_have_ended() {
    let place = Place::new();
    assert_eq!(place.run(&["keys", "list"]).with(0).out, "");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let first = lines(&place.run(&["keys", "rotate"]).with(0).out);
    assert!(first.len() == 1 && first[0].ends_with("signs"), "{first:?}");
    let second = lines(&place.run(&["keys", "rotate"]).with(0).out);
    assert!(second.len() == 2 && second[1].ends_with("signs"), "{second:?}");
    assert!(second[0].starts_with(&first[0][..36]) && second[0].contains("verifies until"), "{second:?}");
    assert_eq!(lines(&place.run(&["keys", "list"]).with(0).out), second);
    place.run(&["keys", "nonsense"]).with(64);
}
