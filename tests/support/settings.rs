//! Settings for tests and benches: embedded, small, quick.

use std::path::Path;
use std::time::Duration;

use folio::config::{
    AuthConfig, BrokerConfig, BusConfig, CacheConfig, ChatConfig, Config, DatabaseConfig, HttpConfig, LogConfig,
    LogFormat, MailConfig, ObjectsConfig, PasswordScheme, PeopleConfig, SearchConfig, Secret, Settings, WriterConfig,
};

use super::PATIENCE;

const DAY: u64 = 24 * 3_600;

/// Settings for a test: embedded, small, quick.
pub fn config(dir: &Path) -> Config {
    let ms = Duration::from_millis;
    Config {
        secret: Secret::new("a secret of at least thirty-two bytes".into()),
        http: HttpConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            ops_listen: None,
            origins: vec!["https://app.example".into()],
            trusted_proxies: Vec::new(),
            rate_limit: None,
            connections_max: 1_000,
            connections_per_address_max: 1_000,
            head_bytes_max: 16 * 1024,
            body_bytes_max: 256 * 1024,
            head_within: ms(400),
            answer_within: Duration::from_secs(10),
            write_within: ms(2_000),
            park_after: ms(5_000),
            idle_within: Duration::from_secs(60),
            drain_within: Duration::from_secs(5),
        },
        database: DatabaseConfig::Sqlite { path: dir.join("folio.db"), readers: 1, acquire_within: PATIENCE },
        cache: CacheConfig::Embedded { bytes_max: 1 << 20 },
        bus: BusConfig::Embedded,
        broker: BrokerConfig::Embedded,
        objects: ObjectsConfig::Files { dir: dir.join("files") },
        search: SearchConfig::Embedded { dir: dir.join("files") },
        writer: WriterConfig { commit_within: PATIENCE, ..WriterConfig::default() },
        sockets: Settings { rate_limit: false, ..Settings::default() }.sockets(),
        presence: Settings::default().presence(),
        auth: auth(),
        people: PeopleConfig {
            delete_after: Duration::from_secs(7 * DAY),
            former_name_lives: Duration::from_secs(30 * DAY),
            profile_cached_for: Duration::from_secs(300),
            export_every: Duration::from_secs(600),
            export_rows_max: 1_000,
            audit_lives: Duration::from_secs(180 * DAY),
        },
        chat: ChatConfig { letters_max: 4_000, members_max: 100, attachments_max: 10, signs_max: 20, pins_max: 100 },
        mail: MailConfig {
            server: None,
            ca: None,
            answer_within: ms(500),
            tried_for: Duration::from_secs(DAY),
            lives: Duration::from_secs(30 * DAY),
            from: "folio@localhost".into(),
            site: "http://folio.example".into(),
        },
        log: LogConfig { filter: "info".into(), format: LogFormat::Json, access_per_second: 1_000 },
        data_dir: dir.to_owned(),
    }
}

fn auth() -> AuthConfig {
    AuthConfig {
        access_lives: Duration::from_secs(30 * 60),
        refresh_lives: Duration::from_secs(7 * DAY),
        session_lives: Duration::from_secs(90 * DAY),
        sessions_per_user_max: 100,
        // The least that bcrypt does: tests are about what happens around it.
        passwords: PasswordScheme::Bcrypt { cost: 4 },
        password_threads: 2,
        password_waiting_max: 32,
        guesses_per_account: 10,
        guesses_per_address: 100,
        guesses_within: Duration::from_secs(300),
        api_keys_max: 100,
    }
}
