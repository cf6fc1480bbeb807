//! Where things are kept, on every engine and backend.

mod broker;
mod bus;
mod cache;
mod db;
mod migrations;
mod objects;
mod outbox;
mod queues;
mod signed_links;
mod streams;
mod writer;
