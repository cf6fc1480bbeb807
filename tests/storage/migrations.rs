//! Tables: the same on both engines, and never older than the binary that made them.

use folio::storage::db::{Db, Engine};
use folio::storage::streams::StreamStore;

use crate::support::engines::Fresh;
use crate::support::streams::{Node, says, stream, user};

crate::on_both_engines! {
    nodes_that_start_at_once_migrate_once
    a_newer_schema_is_refused
    a_migration_that_was_changed_is_refused
    what_was_said_before_the_entries_were_moved_is_in_its_place
}

async fn nodes_that_start_at_once_migrate_once(fresh: &Fresh) {
    let config = fresh.config();
    // One SQLite file belongs to one process: nobody else opens it.
    let count = if fresh.engine == Engine::Sqlite { 1 } else { 4 };
    let nodes = (0..count).map(|_| Db::open(&config));
    let nodes = futures_util::future::try_join_all(nodes).await.unwrap();
    let all = futures_util::future::join_all(nodes.iter().map(|it| it.migrate())).await;
    let to = all[0].as_ref().unwrap().to;
    assert!(to >= 1 && all.iter().all(|it| it.as_ref().is_ok_and(|it| it.to == to)), "{all:?}");
    let again = nodes[0].migrate().await.unwrap();
    assert_eq!((again.from, again.to), (to, to));
}

async fn a_newer_schema_is_refused(fresh: &Fresh) {
    let db = fresh.open().await;
    let binary = db.migrate().await.unwrap().to;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'from the future', TRUE, $1, 0)";
    db.write(newer).bind(vec![0_u8]).execute().await.unwrap();
    let refusal = db.migrate().await.unwrap_err().to_string();
    assert!(
        refusal.contains("schema 9999") && refusal.contains(&format!("up to {binary}: run the newer")),
        "{refusal}"
    );
}

async fn a_migration_that_was_changed_is_refused(fresh: &Fresh) {
    let db = fresh.open().await;
    let change = "UPDATE _sqlx_migrations SET checksum = $1 WHERE version = 1";
    db.write(change).bind(vec![0_u8]).execute().await.unwrap();
    let refusal = db.migrate().await.unwrap_err().to_string();
    assert!(refusal.starts_with("migration 1 was applied in another form"), "{refusal}");
}

async fn what_was_said_before_the_entries_were_moved_is_in_its_place(fresh: &Fresh) {
    let db = Db::open(&fresh.config()).await.unwrap();
    let mut before = match db {
        Db::Sqlite { .. } => sqlx::migrate!("migrations/sqlite"),
        Db::Postgres(_) => sqlx::migrate!("migrations/postgres"),
    };
    before.migrations.to_mut().retain(|it| it.version < 6);
    match &db {
        Db::Sqlite { write, .. } => before.run(write).await.unwrap(),
        Db::Postgres(pool) => before.run(pool).await.unwrap(),
    }
    let (node, ada) = (Node::start(&db).await, user());
    let streams = [stream(&db).await, stream(&db).await];
    let mut said = Vec::new();
    for it in 0..6 {
        said.push(node.append(says(streams[it % 2], ada, format!("c-{it}"), "hi")).await.unwrap());
    }
    db.migrate().await.unwrap();
    let again = node.append(says(streams[1], ada, "c-3", "hi")).await.unwrap();
    assert!(again.repeated && (again.seq, again.id) == (2, said[3].id));
    assert_eq!(node.append(says(streams[0], ada, "c-6", "hi")).await.unwrap().seq, 4);
    let page = StreamStore { db: db.clone() }.page(streams[0], 0, 9).await.unwrap();
    let page: Vec<_> = page.iter().map(|it| (it.seq, it.client_id.as_deref().unwrap())).collect();
    assert_eq!(page, [(1, "c-0"), (2, "c-2"), (3, "c-4"), (4, "c-6")]);
}

#[tokio::test]
async fn both_engines_have_the_same_tables_columns_and_nullability() {
    let (sqlite, postgres) = (Fresh::new(Engine::Sqlite).await, Fresh::new(Engine::Postgres).await);
    let columns = [
        (
            &sqlite,
            "SELECT t.name, c.name, c.\"notnull\" = 0 FROM pragma_table_list AS t, pragma_table_info(t.name) AS c
                    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\'
                    ORDER BY 1, 2",
        ),
        (
            &postgres,
            "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT), is_nullable = 'YES'
                       FROM information_schema.columns
                      WHERE table_schema = current_schema() AND table_name NOT LIKE '\\_sqlx%'
                      ORDER BY table_name COLLATE \"C\", column_name COLLATE \"C\"",
        ),
    ];
    let mut found: Vec<Vec<(String, String, bool)>> = Vec::new();
    for (fresh, text) in columns {
        found.push(fresh.open().await.sql(text).all().await.unwrap());
    }
    assert!(found[0].len() > 15);
    assert_eq!(found[0], found[1]);
    let loose = "SELECT name FROM pragma_table_list WHERE type = 'table' AND strict = 0
                    AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'";
    let loose: Vec<(String,)> = sqlite.open().await.sql(loose).all().await.unwrap();
    assert!(loose.is_empty(), "not STRICT: {loose:?}");
    postgres.end().await;
}
