//! What a conversation costs in front of the writer: messages said in conversations, by their members and under the
//! rules, and the same appends handed to a writer bare. Rounds alternate; SQLite in a temporary folder and PostgreSQL,
//! durable both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use folio::Folio;
use folio::actors::conversations::{Conversations, Said};
use folio::actors::kernel::writer::Writer;
use folio::clock::Clock;
use folio::config::{DatabaseConfig, LogFormat, Secret, Settings, WriterConfig};
use folio::http::Routes;
use folio::ids::{ConversationId, UserId, v7};
use folio::storage::db::Db;
use folio::storage::writes::Write;
use folio::telemetry::Log;
use tokio::task::JoinSet;

use super::median::median;
use super::settled;
use super::stores::{Pages, on_each_engine};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_500);
const CONVERSATIONS: usize = 100;
const MEMBERS: usize = 10;
const TEXT: &str =
    "a message of about one hundred letters, as people write them: a few words and then a few more, and so on";

#[derive(Clone)]
struct Bench {
    conversations: Conversations,
    writer: Writer,
    pages: Pages,
    members: Arc<Vec<(ConversationId, UserId)>>,
}

impl Bench {
    async fn say(&self, task: usize, in_conversation: bool) {
        if in_conversation {
            let (conversation, by) = self.members[task];
            let said = Said { text: TEXT.to_owned(), ..Said::default() };
            let client_id = Some(v7(&Clock::system()).simple().to_string());
            self.conversations.say(conversation, by, said, client_id).await.unwrap();
        } else {
            self.writer.write(Write::Entry(self.pages.append(task))).unwrap().await.unwrap();
        }
    }

    /// Appends a second that everybody together gets done.
    async fn rate(&self, in_conversation: bool) -> f64 {
        let (begun, mut tasks) = (Instant::now(), JoinSet::new());
        for task in 0..self.members.len() {
            let bench = self.clone();
            tasks.spawn(async move {
                let mut done = 0_u32;
                while begun.elapsed() < ROUND {
                    bench.say(task, in_conversation).await;
                    done += 1;
                }
                done
            });
        }
        let done: u32 = tasks.join_all().await.iter().sum();
        f64::from(done) / begun.elapsed().as_secs_f64()
    }
}

async fn measure(name: &str, db: &Db, database: DatabaseConfig) {
    let (clock, folder) = (Clock::system(), tempfile::tempdir().unwrap());
    let settings = Settings { data_dir: folder.path().to_owned(), ..Settings::default() };
    let mut config = settings.config(Secret::new("a secret of at least thirty-two bytes".to_owned()));
    config.database = database;
    let log = Log::to(std::io::sink(), LogFormat::Json, &clock);
    let folio = Folio::start(config, clock.clone(), log, Routes::default()).await.unwrap();
    let conversations = folio.app.actors.conversations.clone();
    let people = settled::people(db, &clock, CONVERSATIONS * MEMBERS).await.unwrap();
    let mut members = Vec::new();
    for group in people.chunks(MEMBERS) {
        let title = format!("{} of {MEMBERS}", settled::name(members.len()));
        let begun = conversations.group(group[0], &title, group[1..].to_vec(), None).await.unwrap();
        members.extend(group.iter().map(|it| (begun.0, *it)));
    }
    let writer = Writer::start(&folio.app.actors.root, db, &WriterConfig::default(), Arc::default());
    let bench = Bench { conversations, writer, pages: Pages::make(db).await, members: Arc::new(members) };
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push((bench.rate(true).await, bench.rate(false).await));
    }
    let ratio = median(rates.iter().map(|(said, bare)| bare / said).collect());
    println!("{name}: {:.0} messages/s", median(rates.iter().map(|it| it.0).collect()));
    println!("FLOOR chat_append.ratio_{name}={ratio:.2}");
    folio.app.actors.root.stop(Duration::from_secs(5)).await;
}

/// Measures and prints.
#[tokio::main]
pub async fn run() {
    on_each_engine(async |name, db, config| Box::pin(measure(name, &db, config)).await).await;
}
