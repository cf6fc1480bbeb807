//! Every backend: reachable, how fast, which version, what it lets Folio do.

use std::time::{Duration, Instant};

use folio::actors::mail::smtp;
use folio::clock::Clock;
use folio::config::{
    BrokerConfig, BusConfig, CacheConfig, Config, DatabaseConfig, ObjectsConfig, S3Config, SearchConfig, Secret,
    Server, Settings,
};
use folio::error::{Error, Result};
use folio::storage::Probe;
use folio::storage::broker::Broker;
use folio::storage::bus::Bus;
use folio::storage::cache::Cache;
use folio::storage::db::Db;
use folio::storage::objects::Objects;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Finding, State};

const WITHIN: Duration = Duration::from_secs(6);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Looks at all of them at once.
pub async fn look(settings: &Settings) -> Vec<Finding> {
    // The secret signs nothing here.
    let config = settings.config(Secret::new(String::new()));
    let (database, cache, bus, broker, objects, search, mail) = tokio::join!(
        database(settings, &config),
        cache(settings, &config),
        bus(settings, &config),
        broker(settings, &config),
        objects(settings, &config),
        search(settings, &config),
        mail(settings, &config)
    );
    vec![database, cache, bus, broker, objects, search, mail]
}

async fn database(settings: &Settings, config: &Config) -> Finding {
    match &config.database {
        DatabaseConfig::Sqlite { path, .. } if !path.exists() => {
            Finding::ok("database", format!("SQLite; the first start makes {}", path.display()))
        }
        open => ask("database", &settings.database_url, async { Db::open(open).await?.probe().await }).await,
    }
}

async fn cache(settings: &Settings, config: &Config) -> Finding {
    match &config.cache {
        CacheConfig::Embedded { .. } => embedded("cache", "memory of the process"),
        open => ask("cache", &settings.redis_url, async { Cache::open(open, &Clock::system())?.probe().await }).await,
    }
}

async fn bus(settings: &Settings, config: &Config) -> Finding {
    match &config.bus {
        BusConfig::Embedded => embedded("bus", "there is one node"),
        open => {
            let probe = async {
                let bus = Bus::open(open, &Clock::system())?;
                tokio::select! {
                    probe = bus.probe() => probe,
                    never = bus.listen() => match never {},
                }
            };
            ask("bus", &settings.redis_url, probe).await
        }
    }
}

async fn broker(settings: &Settings, config: &Config) -> Finding {
    match &config.broker {
        BrokerConfig::Embedded => embedded("broker", "queue tables in the database"),
        open => {
            // A server keeps the queues, so this database is never reached.
            let nowhere = DatabaseConfig::Postgres {
                url: Secret::new("postgres://[::]".to_owned()),
                connections_max: 2,
                acquire_within: Duration::from_secs(2),
            };
            let probe = async {
                let probe = Broker::open(open, &Db::open(&nowhere).await?, &Clock::system())?.probe().await?;
                let version = timeout(CONNECT_WITHIN, rabbitmq(settings.amqp_url.as_ref())).await.ok().flatten();
                Ok(Probe { version: version.unwrap_or_else(|| "of an unknown version".to_owned()), ..probe })
            };
            ask("broker", &settings.amqp_url, probe).await
        }
    }
}

async fn objects(settings: &Settings, config: &Config) -> Finding {
    match &config.objects {
        ObjectsConfig::Files { .. } => embedded("objects", "files in the data folder"),
        ObjectsConfig::S3(server) => {
            // Whoever only looks leaves no folder behind.
            let dir = std::env::temp_dir().join(format!("folio-doctor-{}", std::process::id()));
            let open = ObjectsConfig::S3(S3Config { dir: dir.clone(), ..server.clone() });
            let probe = async { Objects::open(&open, &config.secret, &Clock::system())?.probe().await };
            let finding = ask("objects", &settings.s3_url, probe).await;
            let _ = std::fs::remove_dir_all(dir);
            finding
        }
    }
}

async fn search(settings: &Settings, config: &Config) -> Finding {
    match &config.search {
        SearchConfig::Embedded { .. } => embedded("search", "not built yet; it comes with search"),
        SearchConfig::Elasticsearch { url } => ask("search", &settings.elasticsearch_url, elasticsearch(url)).await,
    }
}

async fn mail(settings: &Settings, config: &Config) -> Finding {
    match smtp::Server::named(&config.mail) {
        Ok(None) => embedded("mail", "letters stay here, and folio mail shows them"),
        Ok(Some(server)) => ask("mail", &settings.smtp_url, server.probe()).await,
        Err(error) => ask("mail", &settings.smtp_url, async { Err(error) }).await,
    }
}

fn embedded(what: &'static str, how: &str) -> Finding {
    Finding::ok(what, format!("embedded: {how}"))
}

/// Opens and probes one backend within a bounded time.
async fn ask(what: &'static str, server: &Option<Server>, probe: impl Future<Output = Result<Probe>>) -> Finding {
    let start = Instant::now();
    let probed = timeout(WITHIN, probe).await.unwrap_or(Err(Error::Deadline));
    let latency_ms = (start.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    let mut finding = match probed {
        Err(error) => unreachable(what, server, &error).await,
        Ok(probe) => {
            let missing: Vec<&str> = probe.rights.iter().filter(|(_, has)| !has).map(|(right, _)| *right).collect();
            let detail = format!("{} {}", probe.backend, probe.version);
            let mut finding = match missing.as_slice() {
                [] => Finding::ok(what, detail),
                _ => Finding::bad(
                    what,
                    State::Failed,
                    format!("{detail}: Folio may not {}", missing.join(", ")),
                    "grant these rights to the user in the address",
                ),
            };
            finding.version = Some(probe.version);
            finding
        }
    };
    finding.latency_ms = (finding.state != State::Failed).then_some(latency_ms);
    finding
}

/// Finds out how far the way to a server is open, which says more than the error of a client.
async fn unreachable(what: &'static str, server: &Option<Server>, error: &Error) -> Finding {
    let why = std::error::Error::source(error).map_or(error.to_string(), |source| format!("{error}: {source}"));
    let Some(Server(url)) = server else {
        return Finding::bad(what, State::Failed, why, "see whether the data folder is whole and may be written");
    };
    let host = url.host_str().unwrap_or("localhost").trim_matches(['[', ']']);
    let port = url.port_or_known_default().or_else(|| usual_port(url.scheme())).unwrap_or_default();
    let (found, advice) = match timeout(CONNECT_WITHIN, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => {
            ("it listens, but refuses or does not answer", "check user, password and the name after the last slash")
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            ("nothing listens there", "start the server, or correct the port")
        }
        Ok(Err(_)) => ("the host is not known or not reachable", "correct the host, or mend the way to it"),
        Err(_) => ("no answer", "see whether a firewall is in between, and whether the server hangs"),
    };
    Finding::bad(what, State::Failed, hidden(&format!("{host}:{port}: {found} ({why})"), url), advice)
}

/// What a client says may repeat the password.
fn hidden(text: &str, url: &url::Url) -> String {
    match url.password() {
        Some(password) if !password.is_empty() => text.replace(password, "***"),
        _ => text.to_owned(),
    }
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "postgres" | "postgresql" => Some(5432),
        "redis" | "rediss" => Some(6379),
        "amqp" => Some(5672),
        "amqps" => Some(5671),
        "smtp" => Some(587),
        "smtps" => Some(465),
        _ => None,
    }
}

/// The version, from what the server tells whoever greets it. The client library keeps it to itself.
async fn rabbitmq(server: Option<&Server>) -> Option<String> {
    let Server(url) = server.filter(|Server(url)| url.scheme() == "amqp")?;
    let mut stream =
        TcpStream::connect((url.host_str()?.trim_matches(['[', ']']), url.port().unwrap_or(5672))).await.ok()?;
    stream.write_all(b"AMQP\0\0\x09\x01").await.ok()?;
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await.ok()?;
    // A field of a table: its name, `S` for a long string, four bytes of length, the text.
    let mark = b"\x07versionS";
    let at = answer[..count].windows(mark.len()).position(|it| it == mark)? + mark.len();
    let (length, text) = answer[at..count].split_first_chunk::<4>()?;
    String::from_utf8(text.get(..u32::from_be_bytes(*length) as usize)?.to_vec()).ok()
}

/// The port for search comes with search; until then its greeting tells name and version.
async fn elasticsearch(url: &Secret) -> Result<Probe> {
    let client = reqwest::Client::builder().timeout(CONNECT_WITHIN).build().map_err(Error::internal)?;
    let answer = client.get(url.expose()).send().await.map_err(|error| Error::internal(error.without_url()))?;
    let answer = answer.error_for_status().map_err(|error| Error::internal(error.without_url()))?;
    let greeting: serde_json::Value = answer.json().await.map_err(|error| Error::internal(error.without_url()))?;
    let text = |pointer: &str| greeting.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
    let backend = if text("/version/distribution") == "opensearch" { "opensearch" } else { "elasticsearch" };
    match text("/version/number") {
        "" => Err(Error::Malformed("what listens there is no Elasticsearch")),
        version => Ok(Probe { backend, version: version.to_owned(), rights: Vec::new() }),
    }
}
