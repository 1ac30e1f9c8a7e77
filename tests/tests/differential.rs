//! Rome compared with PostgreSQL: random queries over random tables, random changes to constrained tables, and statements that must
//! fail. Rows, their order where it is total, column names and types, counts and SQLSTATEs must be the same.
//!
//! A run is repeated by its seed: `ROME_TEST_SEED` (a number; the default is fixed) and `ROME_TEST_STATEMENTS`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use rome_core::database::{Executor, Queryable, RomeDatabase, Statement};
use rome_core::{DataType, Error, Value};
use rome_sql::SqlDatabase;
use rome_tests::audit::audit;
use rome_tests::place::{Engine, Place};
use rome_tests::random::{self, Random};
use rome_tests::server::shared::Shared;
use rome_tests::server::source::Kind;
use std::fmt::Write as _;
use uuid::Uuid;

const SEED: u64 = 20_240_229;
const STATEMENTS: usize = 400;
/// Disagreements that a failing run shows.
const SHOWN: usize = 12;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// What a statement gave, as text.
#[derive(Clone, PartialEq, Debug)]
struct Answer {
    columns: Vec<(String, String)>,
    rows: Vec<Vec<String>>,
    affected: u64,
}

/// Rome and PostgreSQL with the same content.
struct Pair {
    rome: RomeDatabase,
    postgres: SqlDatabase,
    schema: String,
    admin: SqlDatabase,
    /// Goes with the value.
    _server: Shared,
}

impl Pair {
    async fn new() -> Self {
        let server = Shared::new(Kind::Postgres);
        let url = server.url.clone();
        let schema = format!("differential_{}", Uuid::new_v4().simple());
        let admin = SqlDatabase::connect(&url).await.unwrap();
        admin.execute(format!("CREATE SCHEMA {schema}")).await.unwrap();
        let postgres = SqlDatabase::connect(&format!("{url}?options[search_path]={schema}")).await.unwrap();
        Self { rome: Place::new(Engine::Memory).database().await, postgres, schema, admin, _server: server }
    }

    async fn both(&self, sql: &str) -> (Result<Answer, Error>, Result<Answer, Error>) {
        (answer(&self.rome, sql).await, answer(&self.postgres, sql).await)
    }

    async fn set_up(&self, statements: &[String]) {
        for statement in statements {
            let (rome, postgres) = self.both(statement).await;
            postgres.unwrap_or_else(|error| panic!("PostgreSQL: {statement}: {error}"));
            rome.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    async fn remove(self) {
        drop(self.postgres);
        self.admin.execute(format!("DROP SCHEMA {} CASCADE", self.schema)).await.unwrap();
    }
}

async fn answer(db: &dyn Executor, sql: &str) -> Result<Answer, Error> {
    let result = db.run(Statement::text(sql, vec![])).await?;
    let columns = result.columns.iter().map(|column| (column.name.to_string(), type_name(&column.data_type))).collect();
    let types: Vec<&DataType> = result.columns.iter().map(|column| &column.data_type).collect();
    let text = |(value, data_type): (&Value, &&DataType)| match value {
        Value::Null => "NULL".to_owned(),
        // PostgreSQL's binary form of zero is without digits, and its scale is lost on the way.
        Value::Numeric(number) if number.is_zero() => "0".to_owned(),
        value => value.to_text(data_type),
    };
    let rows = result.rows.iter().map(|row| row.values().iter().zip(&types).map(text).collect()).collect();
    Ok(Answer { columns, rows, affected: result.affected })
}

/// A type's name as far as a SQL server's answer tells it: without length and precision, and all texts alike.
fn type_name(data_type: &DataType) -> String {
    if data_type.is_text() {
        "text".to_owned()
    } else {
        data_type.to_string().split('(').next().unwrap_or_default().to_owned()
    }
}

/// How two answers differ, if they do.
fn difference(
    rome: &Result<Answer, Error>,
    postgres: &Result<Answer, Error>,
    ordered: bool,
    any_violation: bool,
) -> Option<String> {
    match (rome, postgres) {
        (Ok(rome), Ok(postgres)) => {
            let (mut rome, mut postgres) = (rome.clone(), postgres.clone());
            // A SQL server tells an empty result's columns only where it is asked to describe the statement.
            if rome.columns.is_empty() || postgres.columns.is_empty() {
                (rome.columns, postgres.columns) = (vec![], vec![]);
            }
            if !ordered {
                rome.rows.sort();
                postgres.rows.sort();
            }
            (rome != postgres).then(|| format!("Rome:       {rome:?}\nPostgreSQL: {postgres:?}"))
        }
        (Err(rome), Err(postgres)) => {
            let violations = |error: &Error| ["22", "23"].contains(&&error.state().code()[..2]);
            let same = rome.state() == postgres.state() || any_violation && violations(rome) && violations(postgres);
            (!same).then(|| format!("Rome:       {rome}\nPostgreSQL: {postgres}"))
        }
        (Ok(rome), Err(postgres)) => Some(format!("Rome:       {rome:?}\nPostgreSQL: {postgres}")),
        (Err(rome), Ok(postgres)) => Some(format!("Rome:       {rome}\nPostgreSQL: {postgres:?}")),
    }
}

/// Differences found so far.
#[derive(Default)]
struct Findings {
    count: usize,
    shown: String,
}

impl Findings {
    fn add(&mut self, statement: &str, difference: &str) {
        self.count += 1;
        if self.count <= SHOWN {
            let _ = write!(self.shown, "\n{statement}\n{difference}\n");
        }
    }

    fn check(&self, statements: usize) {
        assert!(self.count == 0, "{} of {statements} statements differ:\n{}", self.count, self.shown);
    }
}

#[tokio::test]
async fn queries() {
    let seed = number("ROME_TEST_SEED", SEED);
    let statements = number("ROME_TEST_STATEMENTS", STATEMENTS as u64) as usize;
    println!("ROME_TEST_SEED={seed} ROME_TEST_STATEMENTS={statements}");
    let mut random = Random::new(seed);
    let mut findings = Findings::default();
    let (mut rows, mut errors) = (0, 0);
    // Several sets of tables, with different data and indexes.
    for _ in 0..4 {
        let pair = Pair::new().await;
        pair.set_up(&random::tables(&mut random)).await;
        for _ in 0..statements / 4 {
            let (query, ordered) = random::query(&mut random);
            let (rome, postgres) = pair.both(&query).await;
            match &postgres {
                Ok(answer) => rows += answer.rows.len(),
                Err(error) => {
                    errors += 1;
                    println!("PostgreSQL: {error}: {query}");
                }
            }
            if let Some(difference) = difference(&rome, &postgres, ordered, false) {
                findings.add(&query, &difference);
            }
        }
        pair.remove().await;
    }
    println!("{statements} queries, {rows} rows, {errors} errors, {} differences", findings.count);
    findings.check(statements);
    assert!(rows > statements, "the queries find too little to prove much: {rows} rows");
    assert!(errors * 10 < statements, "too many queries fail: {errors}");
}

#[tokio::test]
async fn changes() {
    let seed = number("ROME_TEST_SEED", SEED);
    let statements = number("ROME_TEST_STATEMENTS", STATEMENTS as u64) as usize;
    println!("ROME_TEST_SEED={seed} ROME_TEST_STATEMENTS={statements}");
    let mut random = Random::new(seed);
    let pair = Pair::new().await;
    pair.set_up(&random::constrained_tables()).await;
    let mut findings = Findings::default();
    let (mut done, mut refused) = (0, 0);
    for _ in 0..statements {
        let (change, any_violation) = random::change(&mut random);
        let (rome, postgres) = pair.both(&change).await;
        match &postgres {
            Ok(answer) => done += usize::from(answer.affected > 0),
            Err(_) => refused += 1,
        }
        if let Some(difference) = difference(&rome, &postgres, false, any_violation) {
            findings.add(&change, &difference);
        }
        for table in ["p", "c", "cascading", "nulling", "falling"] {
            let (rome, postgres) = pair.both(&format!("SELECT * FROM {table} ORDER BY id")).await;
            if let Some(difference) = difference(&rome, &postgres, true, false) {
                findings.add(&format!("{change}; {table}"), &difference);
                // What follows would differ for this reason alone.
                findings.check(statements);
            }
        }
    }
    println!("{done} changes did something, {refused} were refused, {} differences", findings.count);
    findings.check(statements);
    assert!(done > statements / 5 && refused > statements / 10, "{done} done, {refused} refused");
    audit(pair.rome.store().as_ref()).await;
    pair.remove().await;
}

/// Statements that PostgreSQL refuses, or that are close to it, one by one.
#[tokio::test]
async fn refusals() {
    let pair = Pair::new().await;
    pair.set_up(&[
        "CREATE TABLE t (id integer PRIMARY KEY, s smallint, b bigint, n numeric(5, 2), v varchar(3), c char(3), d date, x text)".to_owned(),
        "INSERT INTO t VALUES (1, 10, 100, 1.5, 'abc', 'ab', '2024-02-29', 'text'), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)".to_owned(),
    ])
    .await;
    let mut findings = Findings::default();
    let statements: Vec<&str> =
        include_str!("refusals.sql").lines().filter(|line| !line.starts_with("--") && !line.is_empty()).collect();
    for statement in &statements {
        let (rome, postgres) = pair.both(statement).await;
        if let Some(difference) = difference(&rome, &postgres, true, false) {
            findings.add(statement, &difference);
        }
    }
    findings.check(statements.len());
    pair.remove().await;
}
