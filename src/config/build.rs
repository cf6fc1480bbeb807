//! From settings, which are flat, to the parts that are handed out.

use std::io::IsTerminal;

use super::rules::{bucket, key, password};
use super::{
    AuthConfig, BrokerConfig, BusConfig, CacheConfig, ChatConfig, Config, DatabaseConfig, HttpConfig, LogConfig,
    LogFormat, MailConfig, MessageRate, ObjectsConfig, PasswordScheme, PeopleConfig, PresenceConfig, RateLimitConfig,
    S3Config, Scheme, SearchConfig, Secret, Server, Settings, SocketsConfig, WriterConfig,
};

impl Settings {
    /// The parts, with the secret that is given or that the data folder keeps.
    pub fn config(&self, secret: Secret) -> Config {
        Config {
            data_dir: self.data_dir.clone(),
            secret,
            http: self.http(),
            database: self.database(),
            cache: self.cache(),
            bus: self.bus(),
            broker: self.amqp_url.as_ref().map_or(BrokerConfig::Embedded, |it| BrokerConfig::RabbitMq {
                url: it.secret(),
                exchange: "folio.events".to_owned(),
            }),
            objects: self.objects(),
            search: self.search(),
            writer: WriterConfig {
                waiting_max: self.writer_waiting_max,
                waiting_bytes_max: self.writer_waiting_bytes_max.as_usize(),
                batch_max: self.writer_batch_max,
                commit_within: self.writer_commit_within,
            },
            sockets: self.sockets(),
            presence: self.presence(),
            auth: self.auth(),
            people: PeopleConfig {
                delete_after: self.delete_after,
                former_name_lives: self.former_name_lives,
                profile_cached_for: self.profile_cached_for,
                export_every: self.export_every,
                export_rows_max: self.export_rows_max,
                audit_lives: self.audit_lives,
            },
            chat: ChatConfig {
                letters_max: self.chat_letters_max,
                members_max: self.chat_members_max,
                attachments_max: self.chat_attachments_max,
                signs_max: self.chat_signs_max,
                pins_max: self.chat_pins_max,
            },
            mail: MailConfig {
                server: self.smtp_url.as_ref().map(Server::secret),
                ca: self.smtp_ca.clone(),
                answer_within: self.smtp_answer_within,
                tried_for: self.mail_tried_for,
                lives: self.mail_lives,
                from: self.mail_from.0.clone(),
                site: self.site.as_ref().map_or_else(|| format!("http://{}", self.listen), |it| it.0.clone()),
            },
            log: self.log(),
        }
    }

    /// The limits on rates, unless they are off.
    pub fn rate_limits(&self) -> Option<RateLimitConfig> {
        self.rate_limit.then_some(RateLimitConfig {
            per_address_burst: self.rate_per_address_burst,
            per_address_minute: self.rate_per_address_minute,
            per_user_burst: self.rate_per_user_burst,
            per_user_minute: self.rate_per_user_minute,
        })
    }

    fn http(&self) -> HttpConfig {
        HttpConfig {
            listen: self.listen,
            ops_listen: self.ops_listen,
            origins: self.origins.0.clone(),
            trusted_proxies: self.trusted_proxies.clone().map(|it| it.0).unwrap_or_default(),
            rate_limit: self.rate_limits(),
            connections_max: self.connections_max,
            connections_per_address_max: self.connections_per_address_max,
            head_bytes_max: self.head_bytes_max.as_usize(),
            body_bytes_max: self.body_bytes_max.as_usize(),
            head_within: self.head_within,
            answer_within: self.answer_within,
            write_within: self.write_within,
            park_after: self.park_after,
            idle_within: self.idle_within,
            drain_within: self.drain_within,
        }
    }

    /// Live connections.
    pub fn sockets(&self) -> SocketsConfig {
        let rate = MessageRate { per_second: self.socket_messages_per_second, burst: self.socket_messages_burst };
        SocketsConfig {
            message_bytes_max: self.socket_message_bytes_max.as_usize(),
            outbox_bytes_max: self.socket_outbox_bytes_max.as_usize(),
            outbox_frames_max: self.socket_outbox_frames_max,
            ping_every: self.socket_ping_every,
            pong_within: self.socket_pong_within,
            connect_within: self.socket_connect_within,
            messages: self.rate_limit.then_some(rate),
            requests_waiting_max: self.socket_requests_waiting_max,
            topics_max: self.socket_topics_max,
            sessions_per_user_max: self.sockets_per_user_max,
            sessions_per_address_max: self.sockets_per_address_max,
            recovers_within: self.recovers_within,
            replay_entries_max: i64::from(self.replay_entries_max),
        }
    }

    /// Who is here.
    pub fn presence(&self) -> PresenceConfig {
        PresenceConfig {
            every: self.presence_every,
            grace: self.presence_grace,
            calm: self.presence_calm,
            node_lost_after: self.presence_node_lost_after,
            followed_max: self.presence_followed_max,
        }
    }

    /// How people sign in.
    pub fn auth(&self) -> AuthConfig {
        AuthConfig {
            access_lives: self.access_lives,
            refresh_lives: self.refresh_lives,
            session_lives: self.session_lives,
            sessions_per_user_max: self.sessions_per_user_max,
            passwords: match self.password_scheme {
                Scheme::Bcrypt => PasswordScheme::Bcrypt { cost: self.bcrypt_cost },
                Scheme::Argon2id => PasswordScheme::Argon2id,
            },
            password_threads: self.password_threads.unwrap_or_else(half_the_cores),
            password_waiting_max: self.password_waiting_max,
            guesses_per_account: self.guesses_per_account,
            guesses_per_address: self.guesses_per_address,
            guesses_within: self.guesses_within,
            api_keys_max: self.api_keys_max,
        }
    }

    /// Which database, and where.
    pub fn database(&self) -> DatabaseConfig {
        let acquire_within = self.database_acquire_within;
        match &self.database_url {
            None => DatabaseConfig::Sqlite {
                path: self.data_dir.join("folio.db"),
                readers: self.database_readers,
                acquire_within,
            },
            Some(url) => DatabaseConfig::Postgres {
                url: url.secret(),
                connections_max: self.database_connections_max,
                acquire_within,
            },
        }
    }

    fn cache(&self) -> CacheConfig {
        self.redis(CacheConfig::Embedded { bytes_max: self.cache_bytes_max.0 }, |url, prefix| CacheConfig::Redis {
            url,
            prefix,
        })
    }

    fn bus(&self) -> BusConfig {
        self.redis(BusConfig::Embedded, |url, prefix| BusConfig::Redis { url, prefix })
    }

    fn redis<T>(&self, embedded: T, redis: fn(Secret, String) -> T) -> T {
        self.redis_url.as_ref().map_or(embedded, |it| redis(it.secret(), self.redis_prefix.clone()))
    }

    fn objects(&self) -> ObjectsConfig {
        let dir = self.data_dir.join("objects");
        let Some(Server(url)) = &self.s3_url else { return ObjectsConfig::Files { dir } };
        // What stands in neither place was refused when the settings were judged.
        ObjectsConfig::S3(S3Config {
            endpoint: url.origin().ascii_serialization(),
            key: key(url).or_else(|| self.s3_key.clone()).unwrap_or_default(),
            secret: password(url)
                .map(Secret::new)
                .or_else(|| self.s3_secret.clone())
                .unwrap_or(Secret::new(String::new())),
            bucket: bucket(url).or_else(|| self.s3_bucket.clone()).unwrap_or_default(),
            region: self.s3_region.clone(),
            dir,
            answer_within: self.s3_answer_within,
            transfer_within: self.s3_transfer_within,
        })
    }

    fn search(&self) -> SearchConfig {
        match &self.elasticsearch_url {
            None => SearchConfig::Embedded { dir: self.data_dir.join("search") },
            Some(url) => SearchConfig::Elasticsearch { url: url.secret() },
        }
    }

    fn log(&self) -> LogConfig {
        let fitting = || if std::io::stdout().is_terminal() { LogFormat::Pretty } else { LogFormat::Json };
        LogConfig {
            filter: self.log.0.clone(),
            format: self.log_format.unwrap_or_else(fitting),
            access_per_second: self.log_access_per_second,
        }
    }
}

/// Hashing may not take what everybody else needs.
fn half_the_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |it| it.get().div_ceil(2))
}
