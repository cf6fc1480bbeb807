//! A real server of a test's own, which it may stop and start again while others go on with theirs.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::task::spawn_blocking;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// One server of `scripts/services`, on ports of its own.
pub struct Server {
    name: &'static str,
    port_base: u16,
}

impl Server {
    /// Starts one.
    pub async fn start(name: &'static str) -> Server {
        // Below the ports that the system gives out, and apart from those of other test processes.
        let port_base =
            20_000 + (std::process::id() % 4) as u16 * 3_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 3 * 1_000;
        let server = Server { name, port_base };
        server.up().await;
        server
    }

    /// What its settings say under some name, as `TEST_S3_URL`.
    pub async fn setting(&self, name: &str) -> String {
        let printed = String::from_utf8(self.services("env").await.stdout).unwrap();
        let line = printed.lines().find_map(|line| line.strip_prefix(&format!("export {name}="))).unwrap();
        line.trim_matches('\'').to_owned()
    }

    /// Starts it again, with what it kept.
    pub async fn up(&self) {
        self.services("up").await;
    }

    /// Stops it.
    pub async fn down(&self) {
        self.services("down").await;
    }

    async fn services(&self, command: &'static str) -> Output {
        let mut services = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"));
        services.args([command, self.name]).env("FOLIO_SERVICES_PORT_BASE", self.port_base.to_string());
        services.env_remove("FOLIO_SERVICES_DIR");
        let output = spawn_blocking(move || services.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut services = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"));
        services.args(["down", self.name]).env("FOLIO_SERVICES_PORT_BASE", self.port_base.to_string());
        // A test that has failed already is not failed once more.
        let _ = services.env_remove("FOLIO_SERVICES_DIR").output();
        let _ = std::fs::remove_dir_all(format!("/var/tmp/folio-services-{}", self.port_base));
    }
}
