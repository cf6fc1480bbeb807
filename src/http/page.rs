//! Lists in pages: a page says where the next one begins, in a word that only this server can make.
//!
//! A cursor holds the place behind the last item, not a count, so that a list that grows is neither skipped nor told
//! twice. It is signed together with the path, the caller and the filters it was made for, and it ends after a day.

use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::http::request::Parts;
use ring::hmac;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::extract::{About, read_query};
use crate::actors::auth::key;
use crate::error::{Error, Result};

/// Items of a page where nothing is said.
pub const SIZE_DEFAULT: usize = 20;
/// The most items of a page.
pub const SIZE_MAX: usize = 100;
/// How long a cursor is good for.
const LIVES_SECONDS: i64 = 24 * 60 * 60;

/// The part of a list that is asked for, and the filters beside it.
///
/// Filters are a type with `#[serde(deny_unknown_fields)]`, as [`super::extract::Query`] has it.
#[derive(Clone, Debug)]
pub struct Page<Filters = NoFilters> {
    /// How many items at most.
    pub size: usize,
    /// What the list is narrowed to.
    pub filters: Filters,
    /// Where it begins, as it was sent.
    cursor: Option<String>,
    /// What signs the cursors of this list, for this caller.
    key: hmac::Key,
    now: i64,
}

/// The parameters of every list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many items at most.
    #[param(minimum = 1, maximum = 100, default = 20)]
    size: Option<usize>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

/// A list that is never narrowed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFilters {}

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Paged<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// The cursor of the page that follows; null behind the last one.
    pub next: Option<String>,
}

impl<T> Paged<T> {
    /// The same page of something else.
    pub fn map<U>(self, into: impl FnMut(T) -> U) -> Paged<U> {
        Paged { items: self.items.into_iter().map(into).collect(), next: self.next }
    }
}

impl<Filters> Page<Filters> {
    /// The place behind which this page begins; none for the first page.
    pub fn after<Place: DeserializeOwned>(&self) -> Result<Option<Place>> {
        let why = "not a cursor of this list, or one that has ended: begin at the first page";
        let refused = || Error::Invalid { code: "bad_cursor", fields: [("cursor".to_owned(), why.to_owned())].into() };
        self.cursor.as_ref().map(|it| self.read(it).ok_or_else(refused)).transpose()
    }

    fn read<Place: DeserializeOwned>(&self, cursor: &str) -> Option<Place> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (tag, signed) = bytes.split_first_chunk::<32>()?;
        hmac::verify(&self.key, signed, tag).ok()?;
        let (place, ends): (Place, i64) = serde_json::from_slice(signed).ok()?;
        (ends > self.now).then_some(place)
    }

    /// How many items to read: one more than are shown tells whether another page follows.
    pub fn size_read(&self) -> usize {
        self.size + 1
    }

    /// Makes the answer of what was read, and of the place that an item has in the list.
    pub fn answer<T, Place: Serialize>(&self, mut read: Vec<T>, place: impl FnOnce(&T) -> Place) -> Result<Paged<T>> {
        let more = read.len() > self.size;
        read.truncate(self.size);
        let place = read.last().filter(|_| more).map(|it| serde_json::to_vec(&(place(it), self.now + LIVES_SECONDS)));
        let signed = place.transpose().map_err(Error::internal)?;
        let cursor = |it: Vec<u8>| BASE64_URL_SAFE_NO_PAD.encode([hmac::sign(&self.key, &it).as_ref(), &it].concat());
        Ok(Paged { items: read, next: signed.map(cursor) })
    }
}

impl<Filters: DeserializeOwned> FromRequestParts<App> for Page<Filters> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let text = parts.uri.query().unwrap_or_default();
        let is_own = |it: &&str| matches!(it.split('=').next(), Some("size" | "cursor"));
        let (own, mut filters): (Vec<&str>, Vec<&str>) = text.split('&').partition(is_own);
        // The same filters in another order are the same list.
        filters.sort_unstable();
        let filters = filters.join("&");
        let PageQuery { size, cursor } = read_query(&own.join("&"))?;
        let size = size.unwrap_or(SIZE_DEFAULT);
        if !(1..=SIZE_MAX).contains(&size) {
            return Err(Error::invalid("size", format!("must be from 1 to {SIZE_MAX}")));
        }
        let caller = About::of(parts).caller.map(|it| it.number()).unwrap_or_default();
        // A key for each list, caller and filters. Neither path nor filters hold a blank.
        let key = key(&app.config.secret, &format!("cursor 4 {} {caller} {filters}", parts.uri.path()));
        Ok(Page { size, filters: read_query(&filters)?, cursor, key, now: app.clock.now().timestamp() })
    }
}
