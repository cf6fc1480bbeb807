//! People with roles, and services with keys.

use folio::actors::auth::Role;
use folio::ids::UserId;
use serde_json::json;

use super::http::Server;
use super::people::Somebody;

impl Server {
    /// Somebody with a role, signed in.
    pub async fn with_role(&self, name: &str, role: Role) -> Somebody {
        let somebody = self.with_user(name).await;
        let set = self.app.storage.db.write("UPDATE users SET role = $2 WHERE id = $1");
        set.bind(somebody.id.parse::<UserId>().unwrap()).bind(role.name()).execute().await.unwrap();
        somebody.again().await
    }
}

impl Somebody {
    /// Makes a key for a service: the key and its id.
    pub async fn makes_a_key(&self, scopes: &[&str]) -> (String, String) {
        let heard = self.sends("POST", "/api/v1/keys", &json!({ "name": "chat", "scopes": scopes })).await;
        assert_eq!(heard.status, 201, "{}", heard.json());
        let text = |field: &str| heard.json()[field].as_str().unwrap().to_owned();
        (text("key"), text("id"))
    }
}
