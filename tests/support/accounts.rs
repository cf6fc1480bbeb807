//! People who are simply there, without a way in.

use folio::actors::users::names::Name;
use folio::clock::Clock;
use folio::ids::UserId;
use folio::storage::db::Db;

/// An account that is active, with an empty profile.
pub async fn account(db: &Db, name: &str) -> UserId {
    crowd(db, &[name.to_owned()]).await.remove(0)
}

/// Many of them, in one go.
pub async fn crowd(db: &Db, names: &[String]) -> Vec<UserId> {
    let clock = Clock::system();
    let people: Vec<(UserId, Name)> = names.iter().map(|it| (UserId::new(&clock), Name::read(it).unwrap())).collect();
    let (now, mut tx) = (clock.now(), db.begin().await.unwrap());
    let head = "INSERT INTO users (id, name, name_folded, email, email_folded, password, role, state, grants, created_at, updated_at)";
    let users = tx.insert_rows(head, "", 11, &people, |stmt, (id, name)| {
        let email = format!("{}@example.org", id.0.simple());
        let stmt = stmt.bind(*id).bind(name.shown.clone()).bind(name.folded.clone()).bind(email.clone()).bind(email);
        stmt.bind("-").bind("user").bind("active").bind(1_i64).bind(now).bind(now)
    });
    users.await.unwrap();
    let head = "INSERT INTO names (folded, skeleton, user_id)";
    let taken = tx.insert_rows(head, "", 3, &people, |stmt, (id, name)| {
        stmt.bind(name.folded.clone()).bind(name.skeleton.clone()).bind(*id)
    });
    taken.await.unwrap();
    let list = || sqlx::types::Json(serde_json::json!([]));
    let head = "INSERT INTO profiles (user_id, version, display_name, headline, bio, location, links, expertise, contact, updated_at)";
    let profiles = tx.insert_rows(head, "", 10, &people, |stmt, (id, name)| {
        let stmt = stmt.bind(*id).bind(1_i64).bind(name.shown.clone()).bind("").bind("").bind("");
        stmt.bind(list()).bind(list()).bind(list()).bind(now)
    });
    profiles.await.unwrap();
    let head = "INSERT INTO preferences (user_id, version, body, updated_at)";
    let nothing = || sqlx::types::Json(serde_json::json!({}));
    let preferences =
        tx.insert_rows(head, "", 4, &people, |stmt, (id, _)| stmt.bind(*id).bind(1_i64).bind(nothing()).bind(now));
    preferences.await.unwrap();
    tx.commit().await.unwrap();
    people.into_iter().map(|it| it.0).collect()
}

/// Puts an account into another state, behind everybody's back.
pub async fn set_state(db: &Db, user: UserId, state: &'static str) {
    db.write("UPDATE users SET state = $2 WHERE id = $1").bind(user).bind(state).execute().await.unwrap();
}
