//! What happens when something dies.

mod crash;
mod objects;
mod rabbitmq;
mod redis;
