//! Watching queries: the rows, then every change, once and in order.

use super::*;
use futures::StreamExt;
use rome_core::database::{Row, RowChange, Watch, WatchCursor, WatchItem};
use std::collections::BTreeMap;
use std::time::Duration;

/// What does not come within this does not come.
const PATIENCE: Duration = Duration::from_secs(30);
/// What has not come within this is taken not to come.
const SILENCE: Duration = Duration::from_millis(300);

async fn hosts(db: &dyn Database) {
    db.execute("CREATE TABLE host (id bigint PRIMARY KEY, rack text NOT NULL, load bigint NOT NULL)").await.unwrap();
    db.execute("INSERT INTO host VALUES (1, 'a', 10), (2, 'a', 20), (3, 'b', 30)").await.unwrap();
}

async fn next(watch: &mut Watch) -> WatchItem {
    let item = tokio::time::timeout(PATIENCE, watch.next()).await.expect("something is told in time");
    item.expect("a watch does not end").unwrap()
}

fn pair(row: &Row) -> (i64, i64) {
    (row.get_at(0).unwrap(), row.get_at(1).unwrap())
}

/// What a watch has told, as text: `rows 1=10 2=20`, `+1=10`, `1=10>11`, `-1=11`.
async fn told(watch: &mut Watch) -> String {
    let shown = |row: &Row| {
        let (id, load) = pair(row);
        format!("{id}={load}")
    };
    match next(watch).await {
        WatchItem::Reset => "reset".to_owned(),
        WatchItem::Rows(rows) => format!("rows {}", rows.iter().map(shown).collect::<Vec<_>>().join(" ")),
        WatchItem::Current(_) => "current".to_owned(),
        WatchItem::Changes { changes, .. } => {
            let change = |change: &RowChange| match change {
                RowChange::Inserted(row) => format!("+{}", shown(row)),
                RowChange::Updated { old, new } => format!("{}>{}", shown(old), pair(new).1),
                RowChange::Deleted(row) => format!("-{}", shown(row)),
            };
            changes.iter().map(change).collect::<Vec<_>>().join(" ")
        }
        WatchItem::Lost { site, error } => format!("lost {site}: {error}"),
        WatchItem::Regained { site } => format!("regained {site}"),
    }
}

async fn is_silent(watch: &mut Watch) -> bool {
    tokio::time::timeout(SILENCE, watch.next()).await.is_err()
}

fn of_rack(rack: &str) -> sea_query::SelectStatement {
    let mut query = Query::select();
    query
        .columns(["id", "load"])
        .from("host")
        .and_where(Expr::col("rack").eq(rack))
        .order_by("id", Order::Asc)
        .to_owned()
}

async fn watch(db: &dyn Database, rack: &str, from: Option<WatchCursor>) -> Watch {
    use rome_core::database::IntoStatement;
    db.watch(of_rack(rack).into_statement(), from).await.unwrap()
}

pub async fn rows_then_changes(db: &dyn Database) {
    hosts(db).await;
    let mut watch = watch(db, "a", None).await;
    assert_eq!(told(&mut watch).await, "rows 1=10 2=20");
    assert_eq!(told(&mut watch).await, "current");
    db.execute("UPDATE host SET load = 11 WHERE id = 1").await.unwrap();
    assert_eq!(told(&mut watch).await, "1=10>11");
    // Another rack is another matter, until it becomes this one.
    db.execute("UPDATE host SET load = 31 WHERE id = 3").await.unwrap();
    db.execute("UPDATE host SET rack = 'a' WHERE id = 3").await.unwrap();
    assert_eq!(told(&mut watch).await, "+3=31");
    db.execute("UPDATE host SET rack = 'c' WHERE id = 2").await.unwrap();
    assert_eq!(told(&mut watch).await, "-2=20");
    // A whole transaction at once, only what came of it.
    let tx = db.begin().await.unwrap();
    tx.execute("INSERT INTO host VALUES (4, 'a', 40), (5, 'a', 50)").await.unwrap();
    tx.execute("DELETE FROM host WHERE id = 5").await.unwrap();
    tx.execute("UPDATE host SET load = 41 WHERE id = 4").await.unwrap();
    tx.execute("DELETE FROM host WHERE id = 1").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(told(&mut watch).await, "-1=11 +4=41");
    // What changes nothing, and what is rolled back, is not told.
    db.execute("UPDATE host SET load = load WHERE id = 4").await.unwrap();
    let tx = db.begin().await.unwrap();
    tx.execute("DELETE FROM host").await.unwrap();
    tx.rollback().await.unwrap();
    assert!(is_silent(&mut watch).await);
    db.execute("UPDATE host SET id = 6 WHERE id = 4").await.unwrap();
    assert_eq!(told(&mut watch).await, "-4=41 +6=41");
    db.execute("TRUNCATE host").await.unwrap();
    assert_eq!(told(&mut watch).await, "-3=31 -6=41");
}

pub async fn goes_on_at_a_cursor(db: &dyn Database) {
    hosts(db).await;
    let mut first = watch(db, "a", None).await;
    let mut cursor = None;
    while cursor.is_none() {
        if let WatchItem::Current(at) = next(&mut first).await {
            cursor = Some(at);
        }
    }
    let cursor = cursor.unwrap();
    db.execute("UPDATE host SET load = 11 WHERE id = 1").await.unwrap();
    let WatchItem::Changes { cursor: after, .. } = next(&mut first).await else { panic!("a change") };
    drop(first);
    db.execute("UPDATE host SET load = 12 WHERE id = 1").await.unwrap();
    db.execute("DELETE FROM host WHERE id = 2").await.unwrap();
    // As an application keeps it.
    let kept: WatchCursor = after.to_string().parse().unwrap();
    let mut again = watch(db, "a", Some(kept)).await;
    assert_eq!(told(&mut again).await, "1=11>12");
    assert_eq!(told(&mut again).await, "-2=20");
    let mut earlier = watch(db, "a", Some(cursor)).await;
    assert_eq!(told(&mut earlier).await, "1=10>11");
    assert_eq!(told(&mut earlier).await, "1=11>12");
    assert_eq!(told(&mut earlier).await, "-2=20");
    assert!(is_silent(&mut earlier).await);
    // A cursor of another table.
    db.execute("CREATE TABLE other (id bigint PRIMARY KEY)").await.unwrap();
    use rome_core::database::IntoStatement;
    let mut wrong = db.watch("SELECT id FROM other".into_statement(), Some(after)).await.unwrap();
    let error = wrong.next().await.expect("an item").unwrap_err();
    assert_eq!(error.state(), SqlState::INVALID_PARAMETER_VALUE, "{error}");
    assert!(wrong.next().await.is_none());
}

pub async fn what_can_not_be_watched(db: &dyn Database) {
    use rome_core::database::IntoStatement;
    hosts(db).await;
    let refused = [
        ("SELECT count(*) FROM host", "an aggregate"),
        ("SELECT a.id FROM host a JOIN host b ON a.id = b.load", "a join"),
        ("SELECT DISTINCT rack FROM host", "DISTINCT"),
        ("SELECT id FROM host LIMIT 1", "LIMIT"),
        ("SELECT id FROM host UNION SELECT 1", "a set operation"),
        ("SELECT id FROM host WHERE load > (SELECT 1)", "a subquery"),
        ("SELECT id FROM host FOR UPDATE", "FOR UPDATE"),
        ("DELETE FROM host", "no query"),
        ("SELECT 1", "no table"),
    ];
    for (query, why) in refused {
        let mut watch = db.watch(query.into_statement(), None).await.unwrap();
        let error = watch.next().await.expect("an item").unwrap_err();
        assert_eq!(error.state(), SqlState::FEATURE_NOT_SUPPORTED, "{query}: {error}");
        assert!(error.message().contains(why), "{query}: {error}");
        assert!(watch.next().await.is_none());
    }
    let mut missing = db.watch("SELECT id FROM missing".into_statement(), None).await.unwrap();
    assert_eq!(missing.next().await.expect("an item").unwrap_err().state(), SqlState::UNDEFINED_TABLE);
    let mut wrong = db.watch("SELECT id FROM host WHERE load = $1".into_statement(), None).await.unwrap();
    assert_eq!(wrong.next().await.expect("an item").unwrap_err().state(), SqlState::UNDEFINED_PARAMETER);
    // An expression that fails for some row ends the watch when that row comes.
    let mut failing = db.watch("SELECT id, 10 / load FROM host".into_statement(), None).await.unwrap();
    while !matches!(next(&mut failing).await, WatchItem::Current(_)) {}
    db.execute("UPDATE host SET load = 0 WHERE id = 1").await.unwrap();
    let error = tokio::time::timeout(PATIENCE, failing.next()).await.unwrap().expect("an item").unwrap_err();
    assert_eq!(error.state(), SqlState::DIVISION_BY_ZERO, "{error}");
}

pub async fn another_description(db: &dyn Database) {
    hosts(db).await;
    let mut watch = watch(db, "b", None).await;
    assert_eq!(told(&mut watch).await, "rows 3=30");
    assert_eq!(told(&mut watch).await, "current");
    db.execute("ALTER TABLE host ADD COLUMN note text").await.unwrap();
    assert_eq!(told(&mut watch).await, "reset");
    assert_eq!(told(&mut watch).await, "rows 3=30");
    assert_eq!(told(&mut watch).await, "current");
    db.execute("UPDATE host SET load = 31, note = 'x' WHERE id = 3").await.unwrap();
    assert_eq!(told(&mut watch).await, "3=30>31");
    db.execute("DROP TABLE host").await.unwrap();
    assert_eq!(told(&mut watch).await, "reset");
    let error = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().expect("an item").unwrap_err();
    assert_eq!(error.state(), SqlState::UNDEFINED_TABLE, "{error}");
}

/// Whoever follows the changes has, after each, what some commit left: the sum never differs, and in the end all is equal.
pub async fn a_copy_is_whole_at_any_moment(db: &dyn Database) {
    db.execute("CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL)").await.unwrap();
    for id in 0..8_i64 {
        db.execute(("INSERT INTO account VALUES ($1, 100)", [id.into()])).await.unwrap();
    }
    use rome_core::database::IntoStatement;
    let mut watch = db.watch("SELECT id, balance FROM account".into_statement(), None).await.unwrap();
    let transfers = async {
        let transfer = |from: i64, to: i64| {
            db.transaction(move |tx| {
                Box::pin(async move {
                    tx.execute(("UPDATE account SET balance = balance - 1 WHERE id = $1", [from.into()])).await?;
                    tx.execute(("UPDATE account SET balance = balance + 1 WHERE id = $1", [to.into()])).await?;
                    Ok::<_, Error>(())
                })
            })
        };
        let clerks = (0..4_i64).map(|clerk| async move {
            for step in 0..10_i64 {
                transfer((clerk + step) % 8, (clerk * 3 + step + 1) % 8).await.unwrap();
            }
        });
        futures::future::join_all(clerks).await;
        db.execute("INSERT INTO account VALUES (99, 0)").await.unwrap();
    };
    let copy = async {
        let mut copy: BTreeMap<i64, i64> = BTreeMap::new();
        let mut transactions = 0;
        while !copy.contains_key(&99) {
            match next(&mut watch).await {
                WatchItem::Rows(rows) => copy.extend(rows.iter().map(pair)),
                WatchItem::Changes { changes, .. } => {
                    transactions += 1;
                    for change in &changes {
                        match change {
                            RowChange::Inserted(row) => assert!(copy.insert(pair(row).0, pair(row).1).is_none()),
                            RowChange::Updated { old, new } => {
                                assert_eq!(copy.insert(pair(new).0, pair(new).1), Some(pair(old).1));
                            }
                            RowChange::Deleted(row) => assert_eq!(copy.remove(&pair(row).0), Some(pair(row).1)),
                        }
                    }
                    assert_eq!(copy.values().sum::<i64>(), 800, "after {transactions} transactions");
                }
                WatchItem::Current(_) => assert_eq!(copy.values().sum::<i64>(), 800),
                other => panic!("{other:?}"),
            }
        }
        copy
    };
    let ((), copy) = tokio::join!(transfers, copy);
    let rows: Vec<(i64, i64)> = db.query_as("SELECT id, balance FROM account ORDER BY id").await.unwrap();
    assert_eq!(copy.into_iter().collect::<Vec<_>>(), rows);
}
