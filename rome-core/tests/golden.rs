//! Golden scripts of SQL: what statements return, how they are planned, and which errors they give.
//!
//! Each script in `tests/scripts` runs on a fresh in-memory database. A line `> ...` is one statement; a prefix names an open transaction
//! (`t1: begin`). Rows come as PostgreSQL's text, errors as SQLSTATE and message. `UPDATE_GOLDENFILES=1 cargo test` rewrites them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rome_core::database::{DatabaseExt, Executor, IntoStatement, Options, QueryResult, RomeDatabase, Transaction};
use rome_core::store::MemoryStore;
use rome_core::{Error, Value};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

struct Runner {
    runtime: tokio::runtime::Runtime,
    database: RomeDatabase,
    transactions: HashMap<String, Box<dyn Transaction>>,
}

impl Runner {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = runtime.block_on(RomeDatabase::open(Arc::new(MemoryStore::new()), Options::default())).unwrap();
        Self { runtime, database, transactions: HashMap::new() }
    }
}

/// A line of EXPLAIN ANALYZE without the time, which no script can expect.
fn without_time(line: String) -> String {
    match line.split_once(", time ") {
        Some((head, _)) if head.starts_with("Actual: ") => head.to_owned(),
        _ => line,
    }
}

fn shown(result: Result<QueryResult, Error>) -> String {
    let mut out = String::new();
    match result {
        Err(error) => {
            writeln!(out, "{} {}", error.state(), error.message()).unwrap();
            if let Some(detail) = error.detail() {
                writeln!(out, "  {detail}").unwrap();
            }
        }
        Ok(result) if result.columns.is_empty() => writeln!(out, "{} {}", result.command, result.affected).unwrap(),
        Ok(result) => {
            let names: Vec<&str> = result.columns.iter().map(|column| &*column.name).collect();
            if names != ["QUERY PLAN"] {
                writeln!(out, "{}", names.join("|")).unwrap();
            }
            for row in &result.rows {
                let values = row.values().iter().zip(row.columns()).map(|(value, column)| match value {
                    Value::Null => "∅".to_owned(),
                    value => without_time(value.to_text(&column.data_type)),
                });
                let line = values.collect::<Vec<_>>().join("|");
                // Measured times differ from run to run.
                let line = line.split_once(", time ").map_or(line.as_str(), |(stable, _)| stable);
                writeln!(out, "{line}").unwrap();
            }
        }
    }
    out
}

impl goldenscript::Runner for Runner {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        context: &goldenscript::Context,
    ) -> Result<String, Box<dyn std::error::Error>> {
        let sql = command.name.as_str();
        let Some(name) = &context.prefix else {
            return Ok(shown(self.runtime.block_on(self.database.run(sql.into_statement()))));
        };
        match sql {
            "begin" => {
                let transaction = self.runtime.block_on(self.database.begin()).unwrap();
                self.transactions.insert(name.clone(), transaction);
                Ok("begun\n".to_owned())
            }
            "commit" => {
                let transaction = self.transactions.remove(name).expect("no such transaction");
                let done = self.runtime.block_on(transaction.commit());
                Ok(done.map_or_else(|error| shown(Err(error)), |()| "committed\n".to_owned()))
            }
            "rollback" => {
                let transaction = self.transactions.remove(name).expect("no such transaction");
                self.runtime.block_on(transaction.rollback()).unwrap();
                Ok("rolled back\n".to_owned())
            }
            sql => {
                let transaction = self.transactions.get(name).expect("no such transaction");
                Ok(shown(self.runtime.block_on(transaction.run(sql.into_statement()))))
            }
        }
    }
}

#[test]
fn scripts() {
    let mut paths: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        goldenscript::run(&mut Runner::new(), &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
