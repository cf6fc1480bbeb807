//! `folio healthcheck`: asks a running Folio whether it is ready, for containers and scripts.
//!
//! A plain socket serves: it starts in a millisecond and needs no runtime.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use folio::config::Loaded;
use url::Url;

use super::{Failure, say, settled};

const WITHIN: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

#[derive(Args)]
pub struct Healthcheck {
    /// Asks this address instead of the one in the settings; http only.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Healthcheck {
    pub fn run(self, loaded: impl Fn() -> Loaded) -> Result<(), Failure> {
        let url = match self.url {
            Some(url) => url,
            None => format!("http://{}/health/ready", near(settled(&loaded())?.listen)),
        };
        let (status, body) = ask(&url).map_err(|why| Failure::failed(format!("{url} does not answer: {why}")))?;
        match status.as_str() {
            "200" => say("Folio is ready.\n"),
            _ => Err(Failure::failed(format!("{url} answers {status}: {}", body.trim()))),
        }
    }
}

/// The address on this machine by which a listener is reached.
pub fn near(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Asks once; gives status and body.
fn ask(url: &str) -> Result<(String, String), String> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "http").ok_or("it is no http address")?;
    let (host, port) = url.host_str().zip(url.port_or_known_default()).ok_or("it has no host")?;
    let address = (host.trim_matches(['[', ']']), port).to_socket_addrs().map_err(|error| error.to_string())?.next();
    let address = address.ok_or("its host has no address")?;
    let answer = exchange(address, host, url.path()).map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is no HTTP")?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).ok_or("the answer is no HTTP")?;
    Ok((status.to_owned(), body.chars().filter(|letter| !letter.is_control()).take(500).collect()))
}

fn exchange(address: SocketAddr, host: &str, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}
