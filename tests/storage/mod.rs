//! Where things are kept, on every engine and backend.

mod accounts;
mod api_keys;
mod broker;
mod bus;
mod cache;
mod db;
mod leaving;
mod live;
mod mails;
mod migrations;
mod objects;
mod outbox;
mod profiles;
mod queues;
mod sessions;
mod signed_links;
mod streams;
mod sweeps;
mod users;
mod writer;
