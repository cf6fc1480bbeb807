//! Links that let anybody read one object for a while.

use std::time::Duration;

use chrono::TimeDelta;
use folio::error::Error;

use crate::on_both_stores;
use crate::support::stores::{Kind, Store, put};

on_both_stores! { a_link_leads_to_its_object_until_it_expires }

const KEY: &str = "a/b_c-1.txt";

async fn a_link_leads_to_its_object_until_it_expires(store: &Store) {
    put(&store.objects, KEY, "content").await.unwrap();
    match store.kind {
        Kind::Files => file_link(store).await,
        Kind::S3 => server_link(store).await,
    }
}

async fn file_link(store: &Store) {
    let url = store.objects.signed_url(KEY, Duration::from_secs(60)).await.unwrap();
    assert!(url.starts_with("/objects/a/b_c-1.txt?"), "{url}");
    let url = url::Url::parse("http://folio.test").unwrap().join(&url).unwrap();
    let query: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
    let (expires, signature) = (query["expires"].parse().unwrap(), query["signature"].as_str());
    let verify = |key: &str, expires: i64, signature: &str| store.objects.verify_link(key, expires, signature);
    verify(KEY, expires, signature).unwrap();
    let invalid = Err(Error::Forbidden("this link is not valid, or not any more"));
    assert_eq!(verify("other", expires, signature), invalid);
    assert_eq!(verify(KEY, expires + 1, signature), invalid);
    for wrong in
        ["", "00", &"0".repeat(64), &"ä".repeat(32), &signature[..signature.len() - 2], &format!("{signature}00")]
    {
        assert_eq!(verify(KEY, expires, wrong), invalid, "{wrong}");
    }
    store.clock.advance(Duration::from_secs(59));
    verify(KEY, expires, signature).unwrap();
    store.clock.advance(Duration::from_secs(1));
    assert_eq!(verify(KEY, expires, signature), invalid, "it has expired");
}

async fn server_link(store: &Store) {
    let get = async |url: &str| {
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let url = store.objects.signed_url(KEY, Duration::from_secs(60)).await.unwrap();
    assert_eq!(get(&url).await, (200, "content".to_owned()));
    assert_eq!(get(&url.replace(".txt", ".png")).await.0, 403);
    store.clock.step_wall(TimeDelta::minutes(-2));
    let expired = store.objects.signed_url(KEY, Duration::from_secs(60)).await.unwrap();
    assert_eq!(get(&expired).await.0, 403);
    let foreign = store.objects.verify_link(KEY, i64::MAX, &"0".repeat(64));
    assert_eq!(foreign, Err(Error::NotFound("object")), "links of a server are none of ours");
}
