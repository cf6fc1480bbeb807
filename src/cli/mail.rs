//! `folio mail`: the letters that Folio has written, and what became of them.
//!
//! It only reads, so it may look while Folio runs. Without a mail server this is where letters are read.

use clap::{Args, Subcommand};
use folio::clock::Clock;
use folio::config::{DatabaseConfig, Loaded};
use folio::storage::db::Db;
use folio::storage::mails::{self, Kept};
use uuid::Uuid;

use super::{Failure, causes_to_stderr, runtime, say, settled};

#[derive(Args)]
pub struct Mail {
    /// How many letters are listed, the newest first.
    #[arg(long, default_value_t = 50, value_name = "LETTERS", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    last: u16,
    #[command(subcommand)]
    command: Option<MailCommand>,
}

#[derive(Subcommand)]
enum MailCommand {
    /// Shows one letter. Its text is there until it is sent.
    Show {
        /// The id, as the list has it.
        id: Uuid,
    },
}

impl Mail {
    pub fn run(self, loaded: &Loaded) -> Result<(), Failure> {
        let settings = settled(loaded)?;
        causes_to_stderr();
        let config = settings.database();
        if let DatabaseConfig::Sqlite { path, .. } = &config
            && !path.exists()
        {
            let why = format!("there is no database at {} yet: folio serve makes it", path.display());
            return Err(Failure::failed(why));
        }
        let text = runtime()?.block_on(async {
            let db = Db::open(&config).await.map_err(|error| Failure::broken(&error))?;
            let text = self.read(&db, settings.smtp_url.is_some()).await;
            db.close().await;
            text
        })?;
        say(&text)
    }

    async fn read(&self, db: &Db, leaves: bool) -> Result<String, Failure> {
        let broken = |error: folio::error::Error| Failure::broken(&error);
        match self.command {
            Some(MailCommand::Show { id }) => {
                let kept = mails::find(db, id).await.map_err(broken)?;
                kept.map(|it| page(&it)).ok_or_else(|| Failure::failed(format!("there is no letter {id}")))
            }
            None => {
                let kept = mails::list(db, i64::from(self.last)).await.map_err(broken)?;
                let lines: String = kept.iter().map(|it| line(it, leaves)).collect();
                Ok(if lines.is_empty() { "There are no letters.\n".to_owned() } else { lines })
            }
        }
    }
}

fn line(it: &Kept, leaves: bool) -> String {
    let (letter, state) = (&it.letter, state(it, leaves));
    let written = letter.created_at.format("%F %T");
    format!("{}  {written}  {}  {}  [{state}]\n", letter.id, plain(&letter.recipient), plain(&letter.subject))
}

fn page(it: &Kept) -> String {
    let letter = &it.letter;
    let text = match it.sent_at {
        Some(_) => "(the text was removed when it was sent)",
        None => letter.body.as_str(),
    };
    let lines: String = text.lines().map(|it| plain(it) + "\n").collect();
    format!(
        "To: {}\nSubject: {}\nWritten: {}\nState: {}\n\n{lines}",
        plain(&letter.recipient),
        plain(&letter.subject),
        letter.created_at.format("%F %T UTC"),
        state(it, true),
    )
}

fn state(it: &Kept, leaves: bool) -> String {
    let error = it.error.as_deref().map(plain).unwrap_or_default();
    match (it.sent_at, it.refused_at) {
        (Some(at), _) => format!("sent {}", at.format("%F %T")),
        (None, Some(_)) => format!("given up: {error}"),
        _ if it.attempts == 0 && !leaves => "stays here: no smtp_url".to_owned(),
        _ if it.attempts == 0 => "waits".to_owned(),
        _ => {
            let wait = (it.ready_at - Clock::system().now()).num_seconds().max(0);
            format!("tried {} times, again in {wait} s: {error}", it.attempts)
        }
    }
}

/// What others wrote must not move the cursor of a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}
