//! A server under load, started for it on a processor of its own, with people and conversations in it: Folio, or the
//! Socket.IO peer.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Args, ValueEnum};
use folio::config::{DatabaseConfig, Secret};
use folio::storage::db::{Db, Sql};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Connection;
use crate::folk::Folk;
use crate::server::{self, Usage};
use crate::speech::Speech;
use crate::start::Running;

const SECRET: &str = "a secret for load alone, of more than thirty-two bytes";
/// Schemas of PostgreSQL: their names, how they go, and how they are made.
const OURS: [&str; 3] =
    ["folio_load_ours", "DROP SCHEMA IF EXISTS folio_load_ours CASCADE", "CREATE SCHEMA folio_load_ours"];
const PEER: [&str; 3] =
    ["folio_load_peer", "DROP SCHEMA IF EXISTS folio_load_peer CASCADE", "CREATE SCHEMA folio_load_peer"];

/// People who are taken into a conversation in one request.
const COME_AT_ONCE: usize = 1_000;

/// Where Folio keeps what it is told.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    Sqlite,
    Postgres,
}

/// What is started. TEST_POSTGRES_URL names the PostgreSQL server of both (scripts/services env), PEER_NODE_MODULES what
/// the peer runs with (scripts/peer).
#[derive(Args, Clone)]
pub struct Servers {
    /// The program
    #[arg(long, default_value = "target/release/folio")]
    pub program: PathBuf,
    /// The peer
    #[arg(long, default_value = "benches/peers/socketio.js")]
    pub peer: PathBuf,
    /// Speaks Socket.IO with Folio, instead of its own protocol
    #[arg(long)]
    pub stock: bool,
    /// Shows what the servers log
    #[arg(long)]
    pub log: bool,
    /// Leaves the peer's connection state recovery on, which it has to have in memory
    #[arg(long)]
    pub recovery: bool,
}

/// Who is there: conversations of so many members each, nobody in two.
#[derive(Clone, Copy)]
pub struct Scene {
    pub conversations: usize,
    pub members: usize,
}

/// One server.
pub struct Side {
    pub name: &'static str,
    pub speech: Speech,
    pub address: SocketAddr,
    pub folk: Folk,
    pub scene: Scene,
    /// The streams of the conversations.
    pub conversations: Vec<String>,
    /// Whether places in a conversation rise one by one.
    pub dense: bool,
    running: Running,
    postgres: Option<u32>,
    _folder: TempDir,
}

/// What a server has used, and its database and this program with it.
#[derive(Clone, Copy)]
pub struct Spent {
    pub server: Usage,
    pub postgres: Duration,
    pub client: Duration,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Keeps this program on the last processor: servers get the first.
pub fn keep_apart() {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    if count > 1 {
        let mut last = rustix::thread::CpuSet::new();
        last.set(count - 1);
        // Where it is not allowed both share.
        let _ = rustix::thread::sched_setaffinity(None, &last);
    }
}

impl Servers {
    /// A program on the first processor.
    fn apart(&self, program: &str) -> Command {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0", program]);
        let [out, err] = [(); 2].map(|()| if self.log { Stdio::inherit() } else { Stdio::null() });
        command.stdout(out).stderr(err);
        command
    }

    /// Starts Folio on an empty database.
    pub async fn ours(&self, store: Store, scene: Scene) -> Result<Side, String> {
        let folder = tempfile::tempdir().map_err(text)?;
        let (config, url) = match store {
            Store::Sqlite => (
                DatabaseConfig::Sqlite {
                    path: folder.path().join("folio.db"),
                    readers: 2,
                    acquire_within: Duration::from_secs(2),
                },
                None,
            ),
            Store::Postgres => {
                let url = schema(OURS).await?;
                (
                    DatabaseConfig::Postgres {
                        url: Secret::new(url.clone()),
                        connections_max: 2,
                        acquire_within: Duration::from_secs(2),
                    },
                    Some(url),
                )
            }
        };
        let folk = Folk::settle(&open(&config).await?, SECRET, scene.conversations * scene.members).await?;
        let address = free()?;
        let mut command = self.apart(&self.program.display().to_string());
        command.arg("serve").env("FOLIO_DATA_DIR", folder.path()).env("FOLIO_LISTEN", address.to_string());
        command.envs(SETTINGS.iter().copied()).env("FOLIO_SECRET", SECRET);
        command.envs(url.map(|it| ("FOLIO_DATABASE_URL", it)));
        let running = Running::await_ready(command, address).await?;
        let mut side = Side {
            name: if store == Store::Sqlite { "folio, sqlite" } else { "folio, postgres" },
            speech: if self.stock { Speech::Stock } else { Speech::Native },
            postgres: (store == Store::Postgres).then(postmaster).flatten(),
            conversations: Vec::new(),
            dense: true,
            address,
            folk,
            scene,
            running,
            _folder: folder,
        };
        side.converse().await?;
        Ok(side)
    }

    /// Starts the peer on an empty database.
    pub async fn peer(&self, scene: Scene) -> Result<Side, String> {
        schema(PEER).await?;
        let modules = named("PEER_NODE_MODULES", "eval \"$(scripts/peer)\"")?;
        let (address, people) = (free()?, scene.conversations * scene.members);
        let mut command = self.apart("node");
        command.arg(&self.peer).env("NODE_PATH", modules).env("NODE_ENV", "production");
        command.env("PORT", address.port().to_string()).env("DATABASE_URL", postgres()?);
        command.env("SCHEMA", PEER[0]).env("SECRET", SECRET).env("PEOPLE", people.to_string());
        command.env("CONVERSATIONS", scene.conversations.to_string());
        command.env("RECOVERY", if self.recovery { "on" } else { "off" });
        let running = Running::await_ready(command, address).await?;
        Ok(Side {
            name: "socket.io",
            speech: Speech::Stock,
            postgres: postmaster(),
            conversations: (0..scene.conversations).map(|it| format!("00000002-0000-7000-8000-{it:012x}")).collect(),
            dense: false,
            folk: Folk::of_peer(SECRET, people),
            address,
            scene,
            running,
            _folder: tempfile::tempdir().map_err(text)?,
        })
    }
}

fn named(variable: &str, how: &str) -> Result<String, String> {
    std::env::var(variable).map_err(|_| format!("{variable} is not set: {how}"))
}

fn postgres() -> Result<String, String> {
    named("TEST_POSTGRES_URL", "eval \"$(scripts/services env)\"")
}

fn postmaster() -> Option<u32> {
    server::listening_on(url::Url::parse(&postgres().ok()?).ok()?.port()?)
}

/// Makes a schema that is empty, and gives the address that leads into it.
async fn schema([name, drop, create]: [&'static str; 3]) -> Result<String, String> {
    let url = postgres()?;
    let db = open(&DatabaseConfig::Postgres {
        url: Secret::new(url.clone()),
        connections_max: 2,
        acquire_within: Duration::from_secs(2),
    })
    .await?;
    for sql in [drop, create] {
        db.write(Sql::from(sql)).execute().await.map_err(text)?;
    }
    Ok(format!("{url}?options[search_path]={name}"))
}

/// What a load is not to be stopped by.
const SETTINGS: &[(&str, &str)] = &[
    ("FOLIO_RATE_LIMIT", "off"),
    ("FOLIO_LOG", "warn"),
    ("FOLIO_BODY_BYTES_MAX", "4MiB"),
    ("FOLIO_CONNECTIONS_MAX", "30000"),
    ("FOLIO_CONNECTIONS_PER_ADDRESS_MAX", "30000"),
    ("FOLIO_SOCKETS_PER_ADDRESS_MAX", "30000"),
    ("FOLIO_SOCKET_MESSAGES_PER_SECOND", "100000"),
    ("FOLIO_SOCKET_MESSAGES_BURST", "100000"),
    ("FOLIO_CHAT_MEMBERS_MAX", "10000"),
];

async fn open(config: &DatabaseConfig) -> Result<Db, String> {
    Db::open(config).await.map_err(text)
}

fn free() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).map_err(text)
}

impl Side {
    pub fn people(&self) -> usize {
        self.scene.conversations * self.scene.members
    }

    /// Begins the conversations: the first member of each asks for it.
    async fn converse(&mut self) -> Result<(), String> {
        let mut door = Connection::open(self.address).await.map_err(text)?;
        for nth in 0..self.scene.conversations {
            let first = nth * self.scene.members;
            let others: Vec<_> = (first + 1..first + self.scene.members).map(|it| self.folk.user(it)).collect();
            let (some, more) = others.split_at(others.len().min(COME_AT_ONCE));
            let form = json!({ "title": format!("Conversation {nth}"), "user_ids": some });
            let begun = self.post(&mut door, first, "/api/v1/chat/conversations", &form).await?;
            let id = begun["id"].as_str().ok_or_else(|| format!("no conversation: {begun}"))?;
            for some in more.chunks(COME_AT_ONCE) {
                let path = format!("/api/v1/chat/conversations/{id}/members");
                self.post(&mut door, first, &path, &json!({ "user_ids": some })).await?;
            }
            self.conversations.push(id.to_owned());
        }
        Ok(())
    }

    /// Asks for something over HTTP, as one of the people.
    pub async fn post(&self, door: &mut Connection, who: usize, path: &str, form: &Value) -> Result<Value, String> {
        let (token, body) = (self.folk.token(who)?, form.to_string());
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
        let size = body.len();
        let request = format!("{head}Authorization: Bearer {token}\r\nContent-Length: {size}\r\n\r\n{body}");
        let answer = door.ask(request.as_bytes()).await.map_err(text)?;
        let (status, body) = (answer.status, String::from_utf8_lossy(answer.body));
        if status >= 300 { Err(format!("{path}: {status} {body}")) } else { serde_json::from_str(&body).map_err(text) }
    }

    /// What it has used until now.
    pub fn spent(&self) -> Result<Spent, String> {
        let server = server::usage(self.running.process()).ok_or("the server's process is gone")?;
        let client = server::usage(std::process::id()).map(|it| it.processor).unwrap_or_default();
        Ok(Spent { server, postgres: self.postgres.map(server::with_children).unwrap_or_default(), client })
    }
}
