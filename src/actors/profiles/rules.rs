//! What a profile may say, and what others are shown of it.

use std::collections::BTreeMap;

use super::text::{self, Fault};
use crate::error::{Error, Result};
use crate::storage::profiles::{About, Contact, Link, Visibility};

/// Letters of the name one wants to be called by.
pub const DISPLAY_NAME_LETTERS_MAX: usize = 64;
/// Letters of the headline.
pub const HEADLINE_LETTERS_MAX: usize = 120;
/// Letters of the text about oneself.
pub const BIO_LETTERS_MAX: usize = 5_000;
/// Letters of the place.
pub const LOCATION_LETTERS_MAX: usize = 100;
/// The highest age that is believed.
pub const AGE_MAX: i64 = 150;
/// Links of a profile.
pub const LINKS_MAX: usize = 20;
/// Words of expertise.
pub const EXPERTISE_MAX: usize = 30;
/// Ways to be reached.
pub const CONTACT_MAX: usize = 10;
/// Letters of a label, a kind, a word of expertise.
pub const WORD_LETTERS_MAX: usize = 40;
/// Letters of an address of contact.
pub const CONTACT_LETTERS_MAX: usize = 200;

/// What is to be different; what it does not name stays. An inner `None` empties the field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Another name to be called by.
    pub display_name: Option<String>,
    /// Another headline.
    pub headline: Option<String>,
    /// Another text.
    pub bio: Option<String>,
    /// Another place.
    pub location: Option<String>,
    /// Another age.
    pub age: Option<Option<i64>>,
    /// Other links.
    pub links: Option<Vec<Link>>,
    /// Other expertise.
    pub expertise: Option<Vec<String>>,
    /// Other ways to be reached.
    pub contact: Option<Vec<Contact>>,
    /// Other music.
    pub theme_music_url: Option<Option<String>>,
    /// Another picture.
    pub avatar_url: Option<Option<String>>,
}

impl From<About> for Change {
    /// Everything is to be as it is here.
    fn from(about: About) -> Change {
        Change {
            display_name: Some(about.display_name),
            headline: Some(about.headline),
            bio: Some(about.bio),
            location: Some(about.location),
            age: Some(about.age),
            links: Some(about.links),
            expertise: Some(about.expertise),
            contact: Some(about.contact),
            theme_music_url: Some(about.theme_music_url),
            avatar_url: Some(about.avatar_url),
        }
    }
}

/// Makes the change, or tells field by field why it may not be made.
pub fn change(before: &About, change: Change) -> Result<About> {
    let before = before.clone();
    let about = About {
        display_name: change.display_name.unwrap_or(before.display_name),
        headline: change.headline.unwrap_or(before.headline),
        bio: change.bio.unwrap_or(before.bio),
        location: change.location.unwrap_or(before.location),
        age: change.age.unwrap_or(before.age),
        links: change.links.unwrap_or(before.links),
        expertise: change.expertise.unwrap_or(before.expertise),
        contact: change.contact.unwrap_or(before.contact),
        theme_music_url: change.theme_music_url.unwrap_or(before.theme_music_url),
        avatar_url: change.avatar_url.unwrap_or(before.avatar_url),
    };
    check(&about)?;
    Ok(about)
}

/// The ways to be reached that somebody is shown who may see this much.
pub fn shown(contact: &[Contact], sees: Visibility) -> impl Iterator<Item = &Contact> {
    contact.iter().filter(move |it| it.visibility >= sees)
}

fn check(about: &About) -> Result<()> {
    let mut faults = Faults::default();
    faults.note("display_name", text::words(&about.display_name, DISPLAY_NAME_LETTERS_MAX));
    faults.note("headline", text::line(&about.headline, HEADLINE_LETTERS_MAX));
    faults.note("bio", text::lines(&about.bio, BIO_LETTERS_MAX));
    faults.note("location", text::line(&about.location, LOCATION_LETTERS_MAX));
    if about.age.is_some_and(|it| !(0..=AGE_MAX).contains(&it)) {
        faults.note("age", Err(format!("must be from 0 to {AGE_MAX}")));
    }
    faults.each("links", LINKS_MAX, &about.links, |faults, at, it| {
        faults.note(format!("{at}.label"), text::words(&it.label, WORD_LETTERS_MAX));
        faults.note(format!("{at}.url"), text::url(&it.url));
    });
    faults.each("expertise", EXPERTISE_MAX, &about.expertise, |faults, at, it| {
        faults.note(at, text::words(it, WORD_LETTERS_MAX));
    });
    faults.each("contact", CONTACT_MAX, &about.contact, |faults, at, it| {
        faults.note(format!("{at}.kind"), text::words(&it.kind, WORD_LETTERS_MAX));
        faults.note(format!("{at}.value"), text::words(&it.value, CONTACT_LETTERS_MAX));
    });
    for (field, url) in [("theme_music_url", &about.theme_music_url), ("avatar_url", &about.avatar_url)] {
        faults.note(field, url.as_deref().map_or(Ok(()), text::url));
    }
    if faults.0.is_empty() { Ok(()) } else { Err(Error::Invalid { code: "invalid", fields: faults.0 }) }
}

/// Fields, and what is wrong with them.
#[derive(Default)]
struct Faults(BTreeMap<String, String>);

impl Faults {
    fn note(&mut self, field: impl Into<String>, outcome: Result<(), Fault>) {
        if let Err(fault) = outcome {
            self.0.insert(field.into(), fault);
        }
    }

    /// Looks at each of a list, unless there are too many to look at.
    fn each<T>(&mut self, field: &str, max: usize, all: &[T], look: impl Fn(&mut Faults, String, &T)) {
        if all.len() > max {
            return self.note(field, Err(format!("must be at most {max}")));
        }
        all.iter().enumerate().for_each(|(at, it)| look(self, format!("{field}[{at}]"), it));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> About {
        About { display_name: "Ada".to_owned(), age: Some(36), ..About::default() }
    }

    fn contact(kind: &str, visibility: Visibility) -> Contact {
        Contact { kind: kind.to_owned(), value: "x".to_owned(), visibility }
    }

    #[test]
    fn what_a_change_does_not_name_stays() {
        let bio = Change { bio: Some("Sea and light.".to_owned()), ..Change::default() };
        assert_eq!(change(&ada(), bio), Ok(About { bio: "Sea and light.".to_owned(), ..ada() }));
        let ageless = Change { age: Some(None), ..Change::default() };
        assert_eq!(change(&ada(), ageless), Ok(About { age: None, ..ada() }));
        let bob = About { display_name: "Bob".to_owned(), ..About::default() };
        assert_eq!(change(&ada(), bob.clone().into()), Ok(bob));
    }

    #[test]
    fn every_field_that_is_wrong_is_named() {
        let link = |label: &str, url: &str| Link { label: label.to_owned(), url: url.to_owned() };
        let about = About {
            display_name: " ".to_owned(),
            age: Some(-1),
            links: vec![link("home", "https://example.org"), link("", "javascript:alert(1)")],
            expertise: vec!["x".to_owned(); EXPERTISE_MAX + 1],
            avatar_url: Some("nowhere".to_owned()),
            ..About::default()
        };
        let Err(Error::Invalid { fields, .. }) = change(&ada(), about.into()) else { panic!("it is not valid") };
        let named: Vec<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(named, ["age", "avatar_url", "display_name", "expertise", "links[1].label", "links[1].url"]);
    }

    #[test]
    fn contact_is_shown_to_those_it_is_meant_for() {
        use Visibility::{Everyone, Nobody, SignedIn};
        let all = [contact("mail", Nobody), contact("matrix", SignedIn), contact("web", Everyone)];
        let kinds = |sees| shown(&all, sees).map(|it| it.kind.as_str()).collect::<Vec<_>>();
        assert_eq!(kinds(Everyone), ["web"]);
        assert_eq!(kinds(SignedIn), ["matrix", "web"]);
        assert_eq!(kinds(Nobody), ["mail", "matrix", "web"]);
    }
}
