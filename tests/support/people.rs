//! People who act through the front door.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::Server;
use super::raw::{Heard, ask, say, send_json};

/// What everybody's password is, unless a test says otherwise.
pub const PASSWORD: &str = "a long walk by the sea";

/// Somebody who has registered and signed in.
#[derive(Clone, Debug)]
pub struct Somebody {
    pub name: String,
    pub id: String,
    pub access: String,
    pub refresh: String,
    pub address: SocketAddr,
}

impl Server {
    /// Somebody new, signed in.
    pub async fn with_user(&self, name: &str) -> Somebody {
        let body = json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
        let heard = post(self.address, "/api/v1/auth/register", "", &body).await;
        assert_eq!(heard.status, 201, "{}", heard.json());
        let heard = sign_in(self.address, name, PASSWORD).await;
        assert_eq!(heard.status, 200, "{}", heard.json());
        Somebody::of(self.address, name, &heard.json())
    }
}

impl Somebody {
    /// Whoever got this answer to a sign-in.
    pub fn of(address: SocketAddr, name: &str, answer: &Value) -> Somebody {
        let text = |field: &str| answer[field].as_str().unwrap_or_else(|| panic!("{field} in {answer}")).to_owned();
        let (access, refresh) = (text("access_token"), text("refresh_token"));
        Somebody { name: name.to_owned(), id: text("user_id"), access, refresh, address }
    }

    /// Signs in once more, as another device would.
    pub async fn again(&self) -> Somebody {
        let heard = sign_in(self.address, &self.name, PASSWORD).await;
        assert_eq!(heard.status, 200, "{}", heard.json());
        Somebody::of(self.address, &self.name, &heard.json())
    }

    /// Asks for new tokens.
    pub async fn refreshes(&self) -> Heard {
        post(self.address, "/api/v1/auth/refresh", "", &json!({ "refresh_token": self.refresh })).await
    }

    /// Whether the access token is good.
    pub async fn is_known(&self) -> bool {
        match self.gets("/api/v1/auth/verify").await.status {
            200 => true,
            401 => false,
            other => panic!("{other}"),
        }
    }

    /// The header that says who it is.
    pub fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.access)
    }

    /// Asks for something.
    pub async fn gets(&self, path: &str) -> Heard {
        self.asks("GET", path).await
    }

    /// Asks for something without a body.
    pub async fn asks(&self, method: &str, path: &str) -> Heard {
        say(self.address, ask(&format!("{method} {path}"), &self.bearer())).await.remove(0)
    }

    /// Sends something.
    pub async fn sends(&self, method: &str, path: &str, body: &Value) -> Heard {
        let request = send_json(&format!("{method} {path}"), &self.bearer(), body.to_string().as_bytes());
        say(self.address, request).await.remove(0)
    }
}

/// Tries to sign in.
pub async fn sign_in(address: SocketAddr, name: &str, password: &str) -> Heard {
    post(address, "/api/v1/auth/login", "", &json!({ "username": name, "password": password })).await
}

/// Sends something as nobody in particular.
pub async fn post(address: SocketAddr, path: &str, headers: &str, body: &Value) -> Heard {
    say(address, send_json(&format!("POST {path}"), headers, body.to_string().as_bytes())).await.remove(0)
}
