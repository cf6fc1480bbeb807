//! What people may write into a field: text that shows what it is, in bounds, and addresses that only lead to the web.

use unicode_normalization::char::is_combining_mark;
use url::Url;

/// Marks on one letter; the richest scripts stay far below.
pub const MARKS_MAX: usize = 16;
/// The longest address.
pub const URL_BYTES_MAX: usize = 2_048;

/// Why a text is not taken, for people.
pub type Fault = String;

/// Checks a text of one line that may be empty.
pub fn line(text: &str, letters_max: usize) -> Result<(), Fault> {
    let hidden = |it: char| it.is_control() || matches!(it, '\u{2028}' | '\u{2029}') || turns_direction(it);
    if text.chars().any(hidden) {
        return Err("must be one line without control letters".to_owned());
    }
    bounds(text, letters_max)
}

/// Checks a text of one line in which there is something to see.
pub fn words(text: &str, letters_max: usize) -> Result<(), Fault> {
    if !text.chars().any(is_visible) {
        return Err("must have something in it that can be seen".to_owned());
    }
    line(text, letters_max)
}

/// Checks a text of any number of lines that may be empty.
pub fn lines(text: &str, letters_max: usize) -> Result<(), Fault> {
    if text.chars().any(|it| it.is_control() && !matches!(it, '\n' | '\t')) {
        return Err("must have no control letters but line feeds and tabs".to_owned());
    }
    bounds(text, letters_max)
}

/// Checks an address that a page may lead to.
pub fn url(text: &str) -> Result<(), Fault> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("must be at most {URL_BYTES_MAX} bytes"));
    }
    // The parser mends what browsers mend: what needs mending is not what it looks like.
    let odd = |it: char| it.is_control() || it.is_whitespace() || matches!(it, '\\' | '"' | '<' | '>' | '`');
    let scheme = text.split_once("://").map(|it| it.0.to_ascii_lowercase());
    let is_web =
        matches!(scheme.as_deref(), Some("http" | "https")) && !text.chars().any(|it| odd(it) || turns_direction(it));
    let parsed = Url::parse(text).ok().filter(|_| is_web).filter(|it| it.has_host());
    let plain = parsed.is_some_and(|it| it.username().is_empty() && it.password().is_none());
    if plain { Ok(()) } else { Err("must be an http or https address without a user name".to_owned()) }
}

/// Checks a language tag: a language, and perhaps script, country and more.
pub fn language(text: &str) -> Result<(), Fault> {
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or_default();
    let is_language = matches!(language.len(), 2..=8) && language.bytes().all(|it| it.is_ascii_alphabetic());
    let is_part = |it: &str| matches!(it.len(), 1..=8) && it.bytes().all(|it| it.is_ascii_alphanumeric());
    let good = text.len() <= 35 && is_language && parts.all(is_part);
    if good { Ok(()) } else { Err("must be a language tag such as en or pt-BR".to_owned()) }
}

fn bounds(text: &str, letters_max: usize) -> Result<(), Fault> {
    let (mut letters, mut marks) = (0, 0);
    for letter in text.chars() {
        letters += 1;
        marks = if is_combining_mark(letter) { marks + 1 } else { 0 };
        if marks > MARKS_MAX {
            return Err(format!("must have at most {MARKS_MAX} marks on a letter"));
        }
    }
    if letters > letters_max { Err(format!("must be at most {letters_max} letters")) } else { Ok(()) }
}

/// Letters that make what follows run the other way, and so look like something else.
fn turns_direction(letter: char) -> bool {
    matches!(letter, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether a letter leaves ink on the page.
fn is_visible(letter: char) -> bool {
    let blank = matches!(
        letter,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{E0000}'..='\u{E0FFF}'
    );
    !blank && !letter.is_whitespace() && !letter.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_a_text_may_be_many() {
        assert_eq!(line("", 5), Ok(()));
        assert_eq!(line("žluť", 4), Ok(()));
        assert_eq!(lines("a\n\tb", 4), Ok(()));
        for bad in ["a\nb", "a\tb", "a\0", "\u{1b}[2J", "a\u{85}", "a\u{2028}b", "safe\u{202e}gnp.exe", "abcdefg"] {
            assert!(line(bad, 6).is_err(), "{bad:?}");
        }
        for bad in ["a\0", "a\r\nb", "\u{1b}[2J", "abcdefg"] {
            assert!(lines(bad, 6).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_no_words() {
        for bad in ["", " ", "\u{200b}", "\u{3164}\u{feff}", "\u{2800} ", "\u{e0041}"] {
            assert!(words(bad, 20).is_err(), "{bad:?}");
        }
        for good in ["a", " a ", "\u{5d0}", "🦊", "e\u{301}"] {
            assert_eq!(words(good, 20), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn a_letter_carries_sixteen_marks_at_most() {
        let with = |marks: usize| format!("a{}b", "\u{301}".repeat(marks));
        assert_eq!(line(&with(16), 100), Ok(()));
        assert!(line(&with(17), 100).is_err());
        assert!(lines(&with(5_000), 10_000).is_err());
    }

    #[test]
    fn an_address_leads_to_the_web_and_looks_like_it() {
        for good in
            ["https://example.org", "HTTP://example.org/a?b=c#d", "https://bücher.example/ä", "http://[::1]:8080/"]
        {
            assert_eq!(url(good), Ok(()), "{good}");
        }
        let long = format!("https://example.org/{}", "a".repeat(URL_BYTES_MAX));
        for bad in [
            "",
            "example.org",
            "//example.org",
            "javascript:alert(1)",
            "java\nscript:alert(1)",
            "data:text/html,x",
            "javascript://example.org/%0aalert(1)",
            "ftp://example.org",
            "https://",
            "https:// example.org",
            "https://good.example@evil.example/",
            "https:\\\\evil.example",
            "https://example.org/\"onload=\"x",
            "https://example.org/<b>",
            " https://example.org",
            "https://example.org/\u{202e}",
            "file:///etc/passwd",
            &long,
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_language_has_a_tag() {
        for good in ["en", "cs", "pt-BR", "zh-Hant-TW", "sr-Latn-RS"] {
            assert_eq!(language(good), Ok(()), "{good}");
        }
        for bad in ["", "e", "en_GB", "en-", "-en", "12", "en-toolongpart", "en\0", &"en-abc".repeat(9)] {
            assert!(language(bad).is_err(), "{bad}");
        }
    }
}
