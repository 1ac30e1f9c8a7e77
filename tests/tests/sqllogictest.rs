//! sqllogictest scripts on Rome in memory: those of this crate, and the SQLite project's where they lie beside the repository in `shared/sqllogictest`.
//!
//! The latter take long without optimisation, so a run takes a slice of their queries: all statements, and every n-th query, n by
//! `ROME_TEST_SLT_EVERY` (1 runs everything).

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use async_trait::async_trait;
use rome_core::database::{Executor, RomeDatabase, Statement};
use rome_core::{DataType, Error, Value};
use rome_tests::place::{Engine, Place};
use sqllogictest::{AsyncDB, Control, DBOutput, DefaultColumnType, Record, ResultMode, Runner};
use std::path::{Path, PathBuf};

/// Which part of the queries a run takes, unless the environment says otherwise.
const EVERY: usize = 10;
/// Results of more values are in SQLite's scripts by their hash only, unless a script says otherwise.
const SQLITE_HASH_THRESHOLD: usize = 8;

/// A database as the scripts see it: PostgreSQL by name, SQLite's way of writing values.
struct Subject(RomeDatabase);

#[async_trait]
impl AsyncDB for Subject {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let result = self.0.run(Statement::text(sql, vec![])).await?;
        if result.columns.is_empty() {
            return Ok(DBOutput::StatementComplete(result.affected));
        }
        let types: Vec<DataType> = result.columns.iter().map(|column| column.data_type.clone()).collect();
        let text = |(value, data_type): (&Value, &DataType)| match value {
            Value::Null => "NULL".to_owned(),
            Value::Text(text) if text.is_empty() => "(empty)".to_owned(),
            Value::Float(number) => format!("{number:.3}"),
            value => value.to_text(data_type),
        };
        let rows = result.rows.iter().map(|row| row.values().iter().zip(&types).map(text).collect()).collect();
        let types = types.iter().map(|data_type| match data_type {
            DataType::Int2 | DataType::Int4 | DataType::Int8 => DefaultColumnType::Integer,
            data_type if data_type.is_number() => DefaultColumnType::FloatingPoint,
            _ => DefaultColumnType::Text,
        });
        Ok(DBOutput::Rows { types: types.collect(), rows })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "postgresql"
    }

    fn error_sql_state(error: &Error) -> Option<String> {
        Some(error.state().code().to_owned())
    }
}

/// Runs a script on an empty database; returns the queries that were run and those that failed.
async fn run(path: &Path, mode: ResultMode, every: usize) -> (usize, Vec<String>) {
    let db = Place::new(Engine::Memory).database().await;
    let mut runner = Runner::new(move || {
        let db = db.clone();
        async move { Ok(Subject(db)) }
    });
    runner.add_label("postgresql");
    if mode == ResultMode::ValueWise {
        runner.with_hash_threshold(SQLITE_HASH_THRESHOLD);
    }
    runner.run_async(Record::Control(Control::ResultMode(mode))).await.unwrap();
    let records = sqllogictest::parse_file::<DefaultColumnType>(path).unwrap_or_else(|error| panic!("{error}"));
    let (mut seen, mut run, mut failures) = (0, 0, Vec::new());
    for record in records {
        if matches!(record, Record::Query { .. }) {
            seen += 1;
            if seen % every != 0 {
                continue;
            }
            run += 1;
        }
        if let Err(error) = runner.run_async(record).await {
            failures.push(error.to_string());
        }
    }
    (run, failures)
}

async fn check(path: PathBuf, mode: ResultMode, every: usize) {
    let (run, failures) = run(&path, mode, every).await;
    println!("{}: {run} queries, {} failures", path.display(), failures.len());
    let shown: Vec<&String> = failures.iter().take(5).collect();
    assert!(failures.is_empty(), "{}: {} failures, the first: {shown:#?}", path.display(), failures.len());
    assert!(run > 0, "{} has no queries", path.display());
}

#[tokio::test]
async fn own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for script in scripts {
        check(script, ResultMode::RowWise, 1).await;
    }
}

/// A script of the SQLite project's.
async fn of_sqlite(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/sqllogictest").join(name);
    if !path.exists() {
        println!("not run: {} does not exist; the scripts in tests/slt are what this checkout has", path.display());
        return;
    }
    let every = std::env::var("ROME_TEST_SLT_EVERY").ok();
    let every = every.map_or(EVERY, |every| every.parse().expect("ROME_TEST_SLT_EVERY is a number above zero"));
    // One value to a line, in these.
    check(path, ResultMode::ValueWise, every).await;
}

#[tokio::test]
async fn select1() {
    of_sqlite("select1.test").await;
}

#[tokio::test]
async fn select2() {
    of_sqlite("select2.test").await;
}

#[tokio::test]
async fn select3() {
    of_sqlite("select3.test").await;
}

#[tokio::test]
async fn select4() {
    of_sqlite("select4.test").await;
}

#[tokio::test]
async fn select5() {
    of_sqlite("select5.test").await;
}
