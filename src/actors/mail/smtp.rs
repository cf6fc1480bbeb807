//! One conversation with a server that takes mail.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error as SmtpError, response::Code};
use lettre::{Address, address::Envelope};
use tokio::time::timeout;
use url::Url;

use crate::config::MailConfig;
use crate::error::{Error, Result as Outcome};
use crate::storage::Probe;
use crate::storage::mails::Letter;

/// Why a letter was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server cannot be talked to: that is no letter's fault.
    Server(String),
    /// It does not take this letter now.
    Later(String),
    /// It will never take this letter.
    Never(String),
}

impl Refusal {
    /// Why, in the server's words where it said some.
    pub fn reason(&self) -> &str {
        let (Refusal::Server(why) | Refusal::Later(why) | Refusal::Never(why)) = self;
        why
    }
}

/// How the way to the server is kept from being overheard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// Not at all: it does not leave this machine, or somebody has said so.
    Off,
    /// By a command, before anything is told.
    Starts,
    /// From the first byte.
    Whole,
}

/// The server that takes mail, and the sender it knows us by.
#[derive(Clone)]
pub struct Server {
    host: String,
    port: u16,
    tls: Tls,
    ca: Option<Certificate>,
    credentials: Option<Credentials>,
    from: Mailbox,
    answer_within: Duration,
}

impl Server {
    /// The server of the settings; none when mail stays here.
    pub fn named(config: &MailConfig) -> Outcome<Option<Server>> {
        let Some(address) = &config.server else { return Ok(None) };
        let url = Url::parse(address.expose()).map_err(|_| Error::internal("smtp_url is no address"))?;
        let host = url.host_str().ok_or_else(|| Error::internal("smtp_url names no host"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let near = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.to_canonical().is_loopback());
        let tls = match url.scheme() {
            "smtps" => Tls::Whole,
            _ if url.query() == Some("tls=off") => Tls::Off,
            _ if near && url.query() != Some("tls=on") => Tls::Off,
            _ => Tls::Starts,
        };
        let decoded = |it: &str| percent_encoding::percent_decode_str(it).decode_utf8_lossy().into_owned();
        let credentials = url.password().map(|it| Credentials::new(decoded(url.username()), decoded(it)));
        let port = url.port().unwrap_or(if tls == Tls::Whole { 465 } else { 587 });
        let from = Mailbox::new(Some("Folio".to_owned()), config.from.parse().map_err(Error::internal)?);
        let ca = config.ca.as_ref().map(std::fs::read).transpose().map_err(Error::internal)?;
        let ca = ca.as_deref().map(Certificate::from_pem).transpose().map_err(Error::internal)?;
        Ok(Some(Server { host, port, tls, ca, credentials, from, answer_within: config.answer_within }))
    }

    /// Opens a conversation, as far as the server lets letters be sent.
    pub async fn open(&self) -> Result<Conversation, Refusal> {
        let within = self.answer_within;
        let opened = async {
            let (hello, wrap) = (ClientId::default(), self.tls == Tls::Whole);
            let tls = || {
                let believed = TlsParameters::builder(self.host.clone());
                self.ca.iter().cloned().fold(believed, |it, ca| it.add_root_certificate(ca)).build()
            };
            let wrapped = if wrap { Some(tls()?) } else { None };
            let at = (self.host.as_str(), self.port);
            let mut line = AsyncSmtpConnection::connect_tokio1(at, Some(within), &hello, wrapped, None).await?;
            if self.tls == Tls::Starts {
                line.starttls(tls()?, &hello).await?;
            }
            if let Some(credentials) = &self.credentials {
                line.auth(DEFAULT_MECHANISMS, credentials).await?;
            }
            Ok::<_, SmtpError>(line)
        };
        let line = timeout(within * STEPS_TO_OPEN, opened).await.map_err(|_| silent())?;
        let line = line.map_err(|error| Refusal::Server(error.to_string()))?;
        Ok(Conversation { line, from: self.from.clone(), within })
    }

    /// Looks whether letters would be taken.
    pub async fn probe(&self) -> Outcome<Probe> {
        let conversation = self.open().await.map_err(|it| Error::internal(it.reason().to_owned()))?;
        let probe = conversation.probe();
        conversation.close().await;
        Ok(probe)
    }
}

/// Greeting, twice hello, encryption, name and password.
const STEPS_TO_OPEN: u32 = 6;
/// Sender, recipient, announcement, text.
const STEPS_TO_SEND: u32 = 4;

/// A conversation in which letters can be handed over, one after the other.
pub struct Conversation {
    line: AsyncSmtpConnection,
    from: Mailbox,
    within: Duration,
}

impl Conversation {
    /// Hands a letter over; it is the server's when this returns. After a refusal the conversation is at its end.
    pub async fn send(&mut self, letter: &Letter) -> Result<(), Refusal> {
        let (envelope, text) = written(letter, &self.from).map_err(Refusal::Never)?;
        let sent = timeout(self.within * STEPS_TO_SEND, self.line.send(&envelope, &text)).await;
        sent.map_err(|_| silent())?.map(|_| ()).map_err(|error| meant(&error))
    }

    /// What the server said of itself.
    pub fn probe(&self) -> Probe {
        Probe { backend: "smtp", version: self.line.server_info().name().to_owned(), rights: Vec::new() }
    }

    /// Takes leave; a server that does not answer is left all the same.
    pub async fn close(mut self) {
        let _ = timeout(self.within, self.line.quit()).await;
    }
}

fn silent() -> Refusal {
    Refusal::Server("the server does not answer in time".to_owned())
}

/// Whether a refusal means the letter. What is about us, such as a sign-in that is missing, will pass for the next.
fn meant(error: &SmtpError) -> Refusal {
    let ours = |code: Code| matches!(code.to_string().as_str(), "530" | "534" | "535" | "538");
    match error.status() {
        Some(code) if error.is_permanent() && !ours(code) => Refusal::Never(error.to_string()),
        Some(code) if error.is_transient() && code.to_string() != "421" => Refusal::Later(error.to_string()),
        None if error.is_client() => Refusal::Never(error.to_string()),
        _ => Refusal::Server(error.to_string()),
    }
}

/// The letter as it goes over the line.
fn written(letter: &Letter, from: &Mailbox) -> Result<(Envelope, Vec<u8>), String> {
    let to: Address = letter.recipient.parse().map_err(|error| format!("the address is not one: {error}"))?;
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    let message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(letter.subject.clone())
        .date(SystemTime::from(letter.created_at))
        // A letter that is sent again because nobody heard the answer has the same name.
        .message_id(Some(format!("<{}@{}>", letter.id, from.email.domain())))
        .header(ContentType::TEXT_PLAIN)
        .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
        .body(letter.body.clone())
        .map_err(|error| error.to_string())?;
    Ok((message.envelope().clone(), message.formatted()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Secret;
    use crate::ids::v7;

    fn server(url: &str) -> Server {
        let second = Duration::from_secs(1);
        let config = MailConfig {
            server: Some(Secret::new(url.to_owned())),
            ca: None,
            answer_within: second,
            tried_for: second,
            lives: second,
            from: "folio@example.org".to_owned(),
            site: String::new(),
        };
        Server::named(&config).unwrap().unwrap()
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_somebody_says_otherwise() {
        for (url, tls, port) in [
            ("smtp://mail.example", Tls::Starts, 587),
            ("smtp://ada:pass@mail.example:2525", Tls::Starts, 2525),
            ("smtp://mailpit:1025?tls=off", Tls::Off, 1025),
            ("smtp://127.0.0.1:25", Tls::Off, 25),
            ("smtp://127.0.0.1:25?tls=on", Tls::Starts, 25),
            ("smtp://[::1]", Tls::Off, 587),
            ("smtp://localhost", Tls::Off, 587),
            ("smtp://localhost.example", Tls::Starts, 587),
            ("smtps://mail.example", Tls::Whole, 465),
            ("smtps://127.0.0.1", Tls::Whole, 465),
        ] {
            let server = server(url);
            assert_eq!((server.tls, server.port), (tls, port), "{url}");
        }
        assert!(
            server("smtp://ada:p%40ss@mail.example").credentials == Some(Credentials::new("ada".into(), "p@ss".into()))
        );
    }

    #[test]
    fn a_letter_has_no_headers_but_ours() {
        let clock = Clock::system();
        let letter = Letter {
            id: v7(&clock),
            user_id: None,
            recipient: "zoë@example.org".into(),
            subject: "Grüße\r\nBcc: eve@example.org".into(),
            body: "Tap here.\r\n.\r\nQUIT".into(),
            created_at: clock.now(),
        };
        let from = server("smtp://localhost").from;
        let (envelope, text) = written(&letter, &from).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(envelope.to().len(), 1);
        assert!(!head.lines().any(|it| it.starts_with("Bcc")), "{head}");
        assert!(head.contains("Auto-Submitted: auto-generated") && head.contains(&letter.id.to_string()), "{head}");
        for recipient in ["", "nobody", "a@b@c", "a@example.org\r\nRCPT TO:<eve@example.org>", "a b@example.org"] {
            let letter = Letter { recipient: recipient.into(), ..letter.clone() };
            assert!(written(&letter, &from).is_err(), "{recipient:?}");
        }
    }
}
