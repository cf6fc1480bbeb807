//! A Redis server of a test's own, which the test may stop, start again, starve and empty.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// One server on a port of its own. It ends with the test.
#[derive(Debug)]
pub struct PrivateRedis {
    port: u16,
    folder: TempDir,
    options: &'static [&'static str],
    process: Option<Child>,
}

impl PrivateRedis {
    /// Starts one with these options.
    pub async fn start(options: &'static [&'static str]) -> PrivateRedis {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = PrivateRedis { port, folder: TempDir::new().unwrap(), options, process: None };
        server.start_again().await;
        server
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Starts it again, empty, after it was stopped.
    pub async fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
        command.arg(self.folder.path()).args(self.options).stdout(Stdio::null());
        let missing = "there is no redis-server: run scripts/services up first, which installs it";
        self.process = Some(command.spawn().expect(missing));
        super::eventually("the private redis answers", async || self.ask("PING").await.is_ok()).await;
    }

    /// Kills it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Asks it something directly.
    pub async fn ask(&self, question: &str) -> ::redis::RedisResult<::redis::Value> {
        ask(&self.url(), question).await
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks a Redis server something directly; words are parted by spaces.
pub async fn ask(url: &str, question: &str) -> ::redis::RedisResult<::redis::Value> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let mut words = question.split(' ');
    let mut command = redis::cmd(words.next().unwrap_or_default());
    for word in words {
        command.arg(word);
    }
    command.query_async(&mut connection).await
}
