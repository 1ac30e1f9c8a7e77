//! Each limit is met by an error, on the small stack of a test's thread.

use super::{TestSchema, bound_text};
use crate::sql::{ParseLimits, bind, parse};

fn state(sql: &str) -> String {
    let schema = TestSchema::new();
    let bound =
        parse(sql).and_then(|statements| statements.iter().try_for_each(|one| bind(one, &schema, &[]).map(drop)));
    match bound {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.state().to_string(),
    }
}

#[test]
fn deep_nesting_is_refused() {
    for depth in [1_000, 100_000] {
        assert_eq!(state(&format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth))), "54001");
        assert_eq!(state(&format!("SELECT {}1", "(".repeat(depth))), "54001");
        assert_eq!(state(&format!("SELECT {}true", "NOT ".repeat(depth))), "54001");
        assert_eq!(state(&format!("SELECT {}1", "- ".repeat(depth))), "54001");
        assert_eq!(state(&format!("SELECT 1{}", "::int".repeat(depth))), "54001");
        assert_eq!(state(&format!("SELECT 1{}", " + 1".repeat(depth))), "54001");
        assert_eq!(state(&format!("SELECT 1{}", " IS NULL".repeat(depth))), "54001");
        assert_eq!(state(&format!("SELECT 1{}", " UNION SELECT 1".repeat(depth))), "54001");
        assert_eq!(
            state(&format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(depth), " END".repeat(depth))),
            "54001"
        );
        assert_eq!(state(&format!("SELECT * FROM {}users{}", "(".repeat(depth), ")".repeat(depth))), "54001");
        let nested = "SELECT * FROM (".repeat(depth) + "SELECT 1" + &") AS t".repeat(depth);
        assert_eq!(state(&nested), "54001");
        assert_eq!(state(&format!("SELECT {}1{}", "abs(".repeat(depth), ")".repeat(depth))), "54001");
        assert_eq!(state(&format!("SELECT ARRAY{}1{}", "[".repeat(depth), "]".repeat(depth))), "54001");
    }
}

#[test]
fn nesting_within_the_limit_works() {
    let depth = ParseLimits::NESTING_MAX - 1;
    assert_eq!(state(&format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth))), "ok");
    assert_eq!(state(&format!("SELECT 1{}", " + 1".repeat(ParseLimits::CHAIN_MAX - 10))), "ok");
    let nested = "SELECT * FROM (".repeat(depth) + "SELECT 1" + &") AS t".repeat(depth);
    assert_eq!(state(&nested), "ok");
}

#[test]
fn long_chains_of_connectives_are_lists() {
    for connective in [" AND ", " OR "] {
        let condition = vec!["id = 1"; 50_000].join(connective);
        let sql = format!("SELECT 1 FROM users WHERE {condition}");
        let text = bound_text(&sql, &[]).unwrap();
        assert_eq!(text.matches("= 1").count(), 50_000 + 1, "the projection has one more");
        // The chain is as long while the parser fails behind it.
        assert_eq!(state(&format!("{sql} )")), "42601");
    }
    let mixed = (0..20_000).map(|n| format!("id = {n} AND age = 1")).collect::<Vec<_>>().join(" OR ");
    assert_eq!(state(&format!("SELECT 1 FROM users WHERE {mixed}")), "ok");
    let beyond = vec!["true"; ParseLimits::CONNECTIVES_MAX + 2].join(" AND ");
    assert_eq!(state(&format!("SELECT {beyond}")), "54001");
}

#[test]
fn long_unions_become_balanced() {
    let sql = vec!["SELECT 1"; ParseLimits::SET_OPERATIONS_MAX].join(" UNION ALL ");
    let text = bound_text(&sql, &[]).unwrap();
    let deepest = text.lines().map(|line| line.len() - line.trim_start().len()).max().unwrap();
    assert!(deepest < 40, "indented by {deepest}");
}

#[test]
fn names_and_texts_have_limits() {
    let megabyte = "x".repeat(1 << 20);
    assert_eq!(state(&format!("SELECT {megabyte}")), "42622");
    assert_eq!(state(&format!("SELECT \"{megabyte}\" FROM users")), "42622");
    assert_eq!(state(&format!("SELECT 1 AS {}", "x".repeat(63))), "ok");
    assert_eq!(state(&format!("SELECT 1 AS {}", "x".repeat(64))), "42622");
    assert_eq!(state(&format!("SELECT '{megabyte}'")), "ok");
    assert_eq!(state(&format!("SELECT '{}'", "x".repeat(ParseLimits::TEXT_BYTES_MAX))), "54001");
    assert_eq!(state(&format!("SELECT {}", vec!["1"; ParseLimits::COLUMNS_MAX + 1].join(","))), "54001");
    let joins = vec!["log"; ParseLimits::JOINS_MAX + 1].join(" CROSS JOIN ");
    assert_eq!(state(&format!("SELECT 1 FROM {joins}")), "54001");
}

#[test]
fn what_grows_exponentially_is_refused() {
    let mut sql = "WITH t0 AS (SELECT 1 AS a)".to_owned();
    for level in 1..60 {
        let below = level - 1;
        sql.push_str(&format!(", t{level} AS (SELECT x.a FROM t{below} x, t{below} y)"));
    }
    assert_eq!(state(&format!("{sql} SELECT * FROM t59")), "54001");
    let mut operand = "1".to_owned();
    for _ in 0..60 {
        operand = format!("(CASE {operand} WHEN 1 THEN 1 WHEN 2 THEN 2 ELSE 3 END)");
    }
    assert_eq!(state(&format!("SELECT {operand}")), "54001");
    let mut between = "1".to_owned();
    for _ in 0..60 {
        between = format!("({between} BETWEEN false AND true)");
    }
    assert_ne!(state(&format!("SELECT {between}")), "ok");
}

#[test]
fn a_list_of_many_values_binds() {
    let list = (0..100_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(state(&format!("SELECT 1 FROM users WHERE id IN ({list})")), "ok");
    let rows = (0..20_000).map(|n| format!("({n}, 'x')")).collect::<Vec<_>>().join(",");
    assert_eq!(state(&format!("INSERT INTO users (id, name) VALUES {rows}")), "ok");
}
