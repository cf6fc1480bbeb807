//! Where things are kept, on every engine and backend.

mod db;
mod migrations;
