//! Makes a new migration file reach the binary: without this, cargo would not look at the folder.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
