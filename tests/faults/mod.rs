//! What happens when something dies.

mod crash;
mod ledger;
mod objects;
mod rabbitmq;
mod redis;
