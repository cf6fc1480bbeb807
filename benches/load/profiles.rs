//! The scenario `profiles`: somebody who has signed in reads the profiles of many people in turn.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::client::Connection;
use crate::http;

/// Who reads, and how many people's profiles.
///
/// With FOLIO_PROFILE_CACHED_FOR=1s on the server and more people than are read in five seconds no read finds its
/// profile in a cache. `folio admin import` makes people.
#[derive(Args)]
pub struct Options {
    /// Where Folio listens
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: url::Url,
    /// Who signs in; is registered where nobody has the name
    #[arg(long, default_value = "loader")]
    user: String,
    /// The password
    #[arg(long, default_value = "load after load after load")]
    password: String,
    /// People whose profiles are read
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    people: u32,
    /// Connections, each with one request under way at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// How long to ask
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Requests a second over all connections; 0 is as fast as answers come
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    rate: u32,
}

/// Runs the scenario; fails when an answer was wrong or did not come.
pub fn run(options: &Options) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|it| it.to_string())?;
    let (token, paths) = runtime.block_on(prepare(options))?;
    println!("people   {}", paths.len());
    let Options { url, connections, seconds, rate, .. } = options;
    let times = http::run(&http::Options {
        url: url.clone(),
        paths,
        headers: vec![format!("authorization: Bearer {token}")],
        connections: *connections,
        seconds: *seconds,
        rate: *rate,
        status: 200,
        expect: None,
        any_body: false,
        pid: None,
    })?;
    println!("FLOOR profiles.uncached_p99_ms={:.2}", times.quantile(0.99).as_secs_f64() * 1e3);
    Ok(())
}

/// Signs in and lists whom to read.
async fn prepare(options: &Options) -> Result<(String, Vec<String>), String> {
    let address = format!(
        "{}:{}",
        options.url.host_str().ok_or("the URL has no host")?,
        options.url.port_or_known_default().unwrap_or(80)
    );
    let mut resolved = tokio::net::lookup_host(&address).await.map_err(|it| format!("{address}: {it}"))?;
    let address = resolved.next().ok_or("the host has no address")?;
    let mut connection = Connection::open(address).await.map_err(|it| format!("{address}: {it}"))?;
    let who = json!({ "username": options.user, "password": options.password });
    // Whoever is there already signs in all the same.
    let _ = ask(&mut connection, "POST /api/v1/auth/register", "", Some(&who)).await?;
    let signed_in = ask(&mut connection, "POST /api/v1/auth/login", "", Some(&who)).await?;
    let token = signed_in["access_token"].as_str().ok_or_else(|| format!("nobody signed in: {signed_in}"))?.to_owned();
    let (mut paths, mut place) = (Vec::new(), String::new());
    while paths.len() < options.people as usize {
        let listed = ask(&mut connection, &format!("GET /api/v1/users?size=100{place}"), &token, None).await?;
        let items = listed["items"].as_array().ok_or_else(|| format!("no list: {listed}"))?;
        paths.extend(items.iter().filter_map(|it| Some(format!("/api/v1/profile/user/{}", it["user_id"].as_str()?))));
        let Some(next) = listed["next"].as_str() else { break };
        place = format!("&cursor={next}");
    }
    paths.truncate(options.people as usize);
    Ok((token, paths))
}

async fn ask(connection: &mut Connection, line: &str, token: &str, body: Option<&Value>) -> Result<Value, String> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let bearer = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let size = body.len();
    let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{kind}{bearer}Content-Length: {size}\r\n\r\n{body}");
    let asked = tokio::time::timeout(Duration::from_secs(30), connection.ask(request.as_bytes())).await;
    let answer = asked.map_err(|_| format!("{line}: no answer"))?.map_err(|it| format!("{line}: {it}"))?;
    serde_json::from_slice(answer.body).map_err(|it| format!("{line}: {it}"))
}
