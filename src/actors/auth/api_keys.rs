//! Keys of services: shown once, kept as hashes, known on every node.
//!
//! Owns: every good key in memory.  Writes: `api_keys`, `audit`.  Publishes: the hint `keys` to other nodes.
//! Queue: none; a kept task reads what changed twice a second, and everything once a minute.
//! On restart: reads every good key again; uses of the last minute are not noted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use parking_lot::{Mutex, RwLock};
use serde_json::json;
use tokio::sync;
use tokio::time::{Instant, timeout};

use super::hand::Hand;
use super::key_form::{NewKey, read, same, write};
use super::rules::{Caller, Scope, Service};
use super::{chance, hashed};
use crate::actors::kernel::{Root, Stop};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::ids::KeyId;
use crate::storage::api_keys::{self, ApiKey};
use crate::storage::db::Tx;
use crate::storage::{Storage, audit};

const TOPIC: &str = "keys";
const POLL_EVERY: Duration = Duration::from_millis(500);
/// How often everything is read again and uses are noted; also how far back a poll looks for changes.
const ROUND: Duration = Duration::from_secs(60);
/// How long one look at the database may take.
const READ_WITHIN: Duration = Duration::from_secs(2);
/// After so long without the database nobody knows what was revoked meanwhile.
const BLIND_AFTER: Duration = Duration::from_secs(5);

/// The way in. Cloning it gives the same.
#[derive(Clone)]
pub struct ApiKeys(Arc<Inner>);

struct Inner {
    storage: Storage,
    clock: Clock,
    keys_max: usize,
    known: RwLock<HashMap<KeyId, Arc<Known>>>,
    /// Held from before a read until it is in memory, so that an older one never follows a newer one.
    turn: sync::Mutex<()>,
    /// Since when the database could not be asked.
    blind: Mutex<Option<Instant>>,
}

/// A key that was good when it was read.
struct Known {
    hash: [u8; 32],
    service: Service,
    ends_at: Option<DateTime<Utc>>,
    /// The last use and the last one that was noted, in microseconds.
    used: AtomicI64,
    noted: AtomicI64,
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The key itself: nobody can ask for it again.
    pub key: String,
    /// What is kept of it.
    pub kept: ApiKey,
}

/// Makes a key in a transaction.
pub async fn add(tx: &mut Tx<'_>, clock: &Clock, asked: NewKey, by: &Hand, keys_max: usize) -> Result<Made> {
    let (now, id, secret) = (clock.now(), KeyId::new(clock), chance::<32>()?);
    asked.check(now)?;
    let kept = ApiKey {
        id,
        name: asked.name,
        hash: hashed(&secret).to_vec(),
        scopes: asked.scopes.iter().map(|it| it.name().to_owned()).collect(),
        made_by: by.user,
        created_at: now,
        changed_at: now,
        ends_at: asked.ends_at,
        revoked_at: None,
        used_at: None,
    };
    api_keys::insert(tx, &kept, keys_max).await?;
    let detail = json!({ "key": id, "name": kept.name, "scopes": kept.scopes });
    audit::append(tx, &by.incident(clock, by.user, "key.made", detail)).await?;
    Ok(Made { key: write(id, &secret), kept })
}

impl ApiKeys {
    /// Reads every good key, and follows what becomes of them.
    pub async fn start(root: &Root, storage: &Storage, keys_max: usize, clock: &Clock) -> Result<ApiKeys> {
        let (known, turn, blind) = Default::default();
        let inner = Inner { storage: storage.clone(), clock: clock.clone(), keys_max, known, turn, blind };
        let keys = ApiKeys(Arc::new(inner));
        keys.read(true).await?;
        let following = keys.clone();
        root.keep("keys", move |stop| {
            let keys = following.clone();
            async move { keys.follow(stop).await }
        });
        Ok(keys)
    }

    /// Tells which service a key stands for.
    pub fn identify(&self, token: &[u8], now: DateTime<Utc>) -> Result<Caller> {
        let wrong = Error::Unauthenticated("the key is not valid");
        let Some((id, secret)) = read(token) else { return Err(wrong) };
        let found = self.0.known.read().get(&id).cloned();
        let good = |it: &Arc<Known>| same(&it.hash, &hashed(&secret)) && it.ends_at.is_none_or(|end| now < end);
        let key = found.filter(good).ok_or(wrong)?;
        if self.0.blind.lock().is_some_and(|since| since.elapsed() > BLIND_AFTER) {
            return Err(Error::unavailable("database"));
        }
        key.used.fetch_max(now.timestamp_micros(), Relaxed);
        Ok(Caller::Service(key.service))
    }

    /// Makes a key. The answer is the only place where it is ever seen.
    pub async fn make(&self, asked: NewKey, by: &Hand) -> Result<Made> {
        let it = &self.0;
        let mut tx = it.storage.db.begin().await?;
        let made = add(&mut tx, &it.clock, asked, by, it.keys_max).await?;
        tx.commit().await?;
        let _turn = it.turn.lock().await;
        it.remember(std::slice::from_ref(&made.kept));
        it.tell().await;
        Ok(made)
    }

    /// Ends a key, here at once and elsewhere within a second. Doing so twice changes nothing.
    pub async fn revoke(&self, id: KeyId, by: &Hand) -> Result<()> {
        let it = &self.0;
        let mut tx = it.storage.db.begin().await?;
        if api_keys::revoke(&mut tx, id, it.clock.now()).await? {
            let revoked = by.incident(&it.clock, by.user, "key.revoked", json!({ "key": id }));
            audit::append(&mut tx, &revoked).await?;
        }
        tx.commit().await?;
        let _turn = it.turn.lock().await;
        it.known.write().remove(&id);
        it.tell().await;
        Ok(())
    }

    /// Lists keys, the newest first, also those that have ended.
    pub async fn list(&self, before: Option<KeyId>, rows_max: usize) -> Result<Vec<ApiKey>> {
        api_keys::list(&self.0.storage.db, before, rows_max).await
    }

    async fn follow(&self, stop: Stop) {
        let clock = &self.0.clock;
        let (mut ear, mut beat) = (self.0.storage.bus.subscribe(TOPIC), clock.every(POLL_EVERY));
        let mut round_ends = clock.moment().after(ROUND);
        loop {
            tokio::select! {
                _ = ear.next() => {}
                () = beat.tick() => {}
                () = stop.requested() => return self.note_uses().await,
            }
            let round = clock.moment() >= round_ends;
            if round {
                round_ends = clock.moment().after(ROUND);
                self.note_uses().await;
            }
            // Whatever was missed while nothing could be read may lie further back than a poll looks.
            let blind = self.0.blind.lock().is_some();
            if let Err(error) = self.read(round || blind).await {
                tracing::warn!(event = "keys.blind", %error, "keys of services cannot be read");
            }
        }
    }

    /// Reads every good key, or those alone that have changed of late.
    async fn read(&self, everything: bool) -> Result<()> {
        let it = &self.0;
        let _turn = it.turn.lock().await;
        let (db, now) = (&it.storage.db, it.clock.now());
        let reading =
            async { if everything { api_keys::good(db, now).await } else { api_keys::changed(db, now - ROUND).await } };
        let rows = timeout(READ_WITHIN, reading).await.unwrap_or(Err(Error::unavailable("database")));
        {
            let mut blind = it.blind.lock();
            *blind = if rows.is_ok() { None } else { blind.or(Some(Instant::now())) };
        }
        let rows = rows?;
        if everything {
            let good: HashSet<KeyId> = rows.iter().map(|it| it.id).collect();
            it.known.write().retain(|id, _| good.contains(id));
        }
        it.remember(&rows);
        Ok(())
    }

    /// Notes the last use of each key that was used since the last time.
    async fn note_uses(&self) {
        let each = |(id, key): (&KeyId, &Arc<Known>)| {
            let used = key.used.load(Relaxed);
            let new = key.noted.swap(used, Relaxed) < used;
            DateTime::from_timestamp_micros(used).filter(|_| new).map(|at| (*id, at))
        };
        let uses: Vec<_> = self.0.known.read().iter().filter_map(each).collect();
        let noting = api_keys::note_uses(&self.0.storage.db, uses);
        if !matches!(timeout(READ_WITHIN, noting).await, Ok(Ok(()))) {
            tracing::warn!(event = "keys.uses", "the last uses of some keys are not noted");
        }
    }
}

impl Inner {
    /// Takes rows into memory; what is there already has not changed, unless it was revoked.
    fn remember(&self, rows: &[ApiKey]) {
        let mut known = self.known.write();
        for row in rows {
            match Known::of(row).filter(|_| row.revoked_at.is_none()) {
                Some(key) => _ = known.entry(row.id).or_insert_with(|| Arc::new(key)),
                None => _ = known.remove(&row.id),
            }
        }
    }

    /// Other nodes hear it at once, or find it by themselves within half a second.
    async fn tell(&self) {
        let _ = self.storage.bus.publish(TOPIC, Bytes::new()).await;
    }
}

impl Known {
    fn of(row: &ApiKey) -> Option<Known> {
        let scopes = row.scopes.iter().filter_map(|it| Scope::named(it)).collect();
        let used = row.used_at.map_or(0, |it| it.timestamp_micros());
        Some(Known {
            hash: row.hash.as_slice().try_into().ok()?,
            service: Service { key: row.id, scopes },
            ends_at: row.ends_at,
            used: used.into(),
            noted: used.into(),
        })
    }
}
