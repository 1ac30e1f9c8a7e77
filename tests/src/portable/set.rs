//! UNION, INTERSECT, EXCEPT.

use super::*;

fn rams(table: &'static str) -> sea_query::SelectStatement {
    Query::select().column("ram").from(table).to_owned()
}

async fn combined(db: &dyn Database, first: &'static str, union: UnionType, second: &'static str) -> Vec<i64> {
    let mut rows: Vec<i64> = db.query_as(rams(first).union(union, rams(second)).to_owned()).await.unwrap();
    rows.sort_unstable();
    rows
}

pub async fn union_distinct(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(combined(db, "host", UnionType::Distinct, "server").await, [2, 4, 8, 16, 32, 64]);
    let nulls: Vec<Option<i64>> = db
        .query_as("SELECT site_id FROM host WHERE id = 5 UNION SELECT host_id FROM server WHERE id = 4")
        .await
        .unwrap();
    assert_eq!(nulls, [None]);
}

pub async fn union_all(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(combined(db, "host", UnionType::All, "server").await, [2, 4, 8, 16, 16, 32, 32, 64, 64]);
}

pub async fn intersect(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(combined(db, "host", UnionType::Intersect, "server").await, [16]);
}

pub async fn except(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(combined(db, "host", UnionType::Except, "server").await, [32, 64]);
}

pub async fn ordered_and_limited(db: &dyn Database) {
    cloud(db).await;
    let text = "SELECT name, ram FROM host UNION ALL SELECT name, ram FROM server ORDER BY ram DESC, name LIMIT 3";
    let rows: Vec<(String, i64)> = db.query_as(text).await.unwrap();
    assert_eq!(rows, [("b1".to_owned(), 64), ("l2".to_owned(), 64), ("b2".to_owned(), 32)]);
    assert_eq!(state_of(db.query("SELECT id FROM host UNION SELECT id, name FROM site").await), SqlState::SYNTAX_ERROR);
}
