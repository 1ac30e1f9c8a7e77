//! The SQL entry fed with nonsense: it never panics, every refusal has an SQLSTATE that is not "internal error", and what fails
//! changes nothing.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rome_core::database::{Queryable, RomeDatabase};
use rome_core::{SqlState, Value};
use rome_tests::place::{Engine, Place};
use rome_tests::random::{self, Random};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Cases for each test.
const CASES: u32 = 300;
/// Longer than any of these statements takes.
const BOUNDED: Duration = Duration::from_secs(60);

const TOKENS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT",
    "OFFSET",
    "INSERT INTO",
    "VALUES",
    "UPDATE",
    "SET",
    "DELETE FROM",
    "USING",
    "RETURNING",
    "ON CONFLICT",
    "DO NOTHING",
    "DO UPDATE SET",
    "CREATE TABLE",
    "CREATE INDEX",
    "DROP TABLE",
    "ALTER TABLE",
    "ADD COLUMN",
    "JOIN",
    "LEFT JOIN",
    "FULL JOIN",
    "CROSS JOIN",
    "ON",
    "AS",
    "AND",
    "OR",
    "NOT",
    "NULL",
    "IS",
    "IN",
    "BETWEEN",
    "LIKE",
    "EXISTS",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "UNION",
    "ALL",
    "EXCEPT",
    "WITH",
    "DISTINCT",
    "EXPLAIN",
    "ANALYZE",
    "CAST",
    "::",
    "integer",
    "text",
    "numeric",
    "date",
    "boolean",
    "t",
    "u",
    "id",
    "a",
    "b",
    "c",
    "*",
    "(",
    ")",
    ",",
    ";",
    ".",
    "+",
    "-",
    "/",
    "%",
    "||",
    "=",
    "<>",
    "<",
    ">",
    "1",
    "0",
    "-1",
    "99999999999999999999",
    "1.5",
    "1e400",
    "'x'",
    "''",
    "'2024-02-30'",
    "$1",
    "$2",
    "$0",
    "count",
    "sum",
    "max",
    "coalesce",
    "substr",
    "TRUE",
    "ARRAY[",
    "]",
    "[",
    "excluded",
    "DEFAULT",
    "FOR UPDATE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "--",
    "/*",
    "*/",
    "\"",
    "'",
    "\\",
    "\u{0}",
    "é",
    "\u{202e}",
];

const STATEMENTS: &[&str] = &[
    "SELECT a.id, b.c FROM t AS a LEFT JOIN u AS b ON a.id = b.a WHERE a.b LIKE '%x%' ORDER BY 1 DESC NULLS LAST LIMIT 3",
    "SELECT a, count(*), sum(c) FILTER (WHERE c > 1) FROM t GROUP BY a HAVING count(*) > 0",
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.id) UNION SELECT 1 INTERSECT SELECT 2",
    "SELECT CASE WHEN a IS NULL THEN 'x' ELSE b END, CAST(a AS numeric(5, 2)), c::text || 'y' FROM t",
    "INSERT INTO t (id, a, b, c) VALUES (9, 1, 'z', 2.5), (10, NULL, 'y', NULL) ON CONFLICT (id) DO UPDATE SET a = excluded.a RETURNING *",
    "UPDATE t SET a = a + 1, b = upper(b) FROM u WHERE u.a = t.id RETURNING t.id",
    "DELETE FROM t USING u WHERE u.a = t.id AND u.c BETWEEN 1 AND 2",
    "WITH w AS (SELECT id, a FROM t WHERE c IN (1, 2, NULL)) SELECT * FROM w WHERE a = ANY (ARRAY[1, 2])",
    "CREATE TABLE v (id integer PRIMARY KEY, a integer NOT NULL DEFAULT 3 CHECK (a > 0), b varchar(3) UNIQUE)",
    "ALTER TABLE t ADD COLUMN z date DEFAULT '2024-01-01'",
    "EXPLAIN ANALYZE SELECT * FROM t WHERE id = $1",
];

struct Subject {
    runtime: Runtime,
    db: RomeDatabase,
}

impl Subject {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let db = runtime.block_on(async {
            let db = Place::new(Engine::Memory).database().await;
            for statement in [
                "CREATE TABLE t (id integer PRIMARY KEY, a integer, b text, c numeric CHECK (c < 1000))",
                "CREATE TABLE u (id integer PRIMARY KEY, a integer REFERENCES t (id), c integer UNIQUE)",
                "CREATE INDEX t_a ON t (a, b)",
                "INSERT INTO t VALUES (1, 1, 'x', 1.5), (2, NULL, 'y', 2), (3, 3, NULL, NULL)",
                "INSERT INTO u VALUES (1, 1, 1), (2, 2, 2), (3, NULL, NULL)",
            ] {
                db.execute(statement).await.unwrap();
            }
            db
        });
        Self { runtime, db }
    }

    /// Everything that a statement could change. A table that an earlier statement dropped counts as its error.
    async fn content(&self) -> Vec<String> {
        let mut content = Vec::new();
        for table in self.db.catalog().tables() {
            let rows = self.db.query(format!("SELECT * FROM \"{}\"", table.name.replace('"', "\"\""))).await;
            let rows = rows.map(|rows| rows.iter().map(|row| format!("{:?}", row.values())).collect::<Vec<_>>());
            content.push(format!("{} {:?}: {rows:?}", table.name, table.columns));
        }
        content.sort();
        content
    }

    /// Feeds a statement. What succeeds may do what it says; what fails must not.
    fn feed(&self, statement: &str, values: Vec<Value>) -> Result<(), TestCaseError> {
        self.runtime.block_on(async {
            let before = self.content().await;
            let run = tokio::time::timeout(BOUNDED, self.db.query((statement, values)));
            match run.await {
                Err(_) => Err(TestCaseError::fail(format!("{statement:?} does not end"))),
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => {
                    prop_assert_ne!(error.state(), SqlState::INTERNAL_ERROR, "{}: {}", statement, error);
                    prop_assert_ne!(error.state(), SqlState::DATA_CORRUPTED, "{}: {}", statement, error);
                    prop_assert!(!error.message().is_empty());
                    prop_assert_eq!(self.content().await, before, "{} failed and changed something", statement);
                    Ok(())
                }
            }
        })
    }
}

fn check<S: Strategy>(strategy: S, feed: impl Fn(&Subject, S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let subject = Subject::new();
    TestRunner::new(config).run(&strategy, |case| feed(&subject, case)).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn random_text() {
    check(".{0,200}", |subject, text| subject.feed(&text, vec![]));
}

#[test]
fn random_bytes_as_text() {
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    check(bytes, |subject, bytes| subject.feed(&String::from_utf8_lossy(&bytes), vec![]));
}

#[test]
fn token_soup() {
    let soup = prop::collection::vec(select(TOKENS), 1..25);
    check(soup, |subject, tokens| subject.feed(&tokens.join(" "), vec![]));
}

/// Soup that begins like a statement gets further.
#[test]
fn begun_statements() {
    let soup = (select(STATEMENTS), any::<Index>(), prop::collection::vec(select(TOKENS), 0..8));
    check(soup, |subject, (statement, end, tokens)| {
        let words: Vec<&str> = statement.split(' ').collect();
        let kept = &words[..end.index(words.len())];
        subject.feed(&format!("{} {}", kept.join(" "), tokens.join(" ")), vec![])
    });
}

/// Valid statements with a word removed, doubled, replaced or swapped, and with any values.
#[test]
fn mutated_statements() {
    let change = (any::<Index>(), any::<Index>(), select(TOKENS), 0..4_u8);
    let values = prop::collection::vec(
        prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), Just("x".into())],
        0..3,
    );
    let cases = (select(STATEMENTS), prop::collection::vec(change, 0..4), values);
    check(cases, |subject, (statement, changes, values)| {
        let mut words: Vec<&str> = statement.split(' ').collect();
        for (first, second, token, kind) in changes {
            if words.is_empty() {
                break;
            }
            let (first, second) = (first.index(words.len()), second.index(words.len()));
            match kind {
                0 => drop(words.remove(first)),
                1 => words.insert(first, words[second]),
                2 => words[first] = token,
                _ => words.swap(first, second),
            }
        }
        subject.feed(&words.join(" "), values)
    });
}

/// Valid queries and changes of the generator that PostgreSQL is compared with: no panic and no internal error.
#[test]
fn generated_statements() {
    let subject = Subject::new();
    let mut random = Random::new(7);
    for statement in random::tables(&mut random).into_iter().chain(random::constrained_tables()) {
        subject.runtime.block_on(subject.db.execute(statement)).unwrap();
    }
    for _ in 0..CASES {
        subject.feed(&random::query(&mut random).0, vec![]).unwrap();
        subject.feed(&random::change(&mut random).0, vec![]).unwrap();
    }
}
