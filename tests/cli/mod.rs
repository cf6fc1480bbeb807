//! The command line, tried as people and orchestrators use it: through the program itself.

mod admin;
mod bad_settings;
mod commands;
mod doctor;
mod folder;
mod keys;
mod mail;
mod migrate;
pub mod program;
mod security;
mod settings;
mod signals;
