//! Where things are kept, on every engine and backend.

mod api_keys;
mod broker;
mod bus;
mod cache;
mod db;
mod mails;
mod migrations;
mod objects;
mod outbox;
mod profiles;
mod queues;
mod signed_links;
mod streams;
mod users;
mod writer;
