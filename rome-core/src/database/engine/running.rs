//! A prepared statement inside a transaction.

use super::Engine;
use super::statement::{Action, Prepared, Script, prepare_one};
use crate::catalog::Catalog;
use crate::database::ddl::{Ddl, PendingIndex, PendingMove};
use crate::database::{ColumnMeta, QueryResult, Row};
use crate::error::{Error, Result, SqlState};
use crate::exec::change::run_change;
use crate::plan::{StoreTraits, explain_change, explain_query};
use crate::txn::{ReadMode, Txn};
use crate::value::Value;
use std::sync::Arc;
use std::time::Instant;

/// What remains to be done once a transaction has committed.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    /// The catalog was changed.
    pub(super) schema: bool,
    pub(super) pending: Vec<PendingIndex>,
    pub(super) moves: Vec<PendingMove>,
    pub(super) garbage: Vec<u32>,
}

impl Engine {
    /// Runs a prepared statement in a transaction. The catalog is the transaction's own: DDL replaces it.
    pub(super) async fn run_in(
        &self,
        prepared: &Prepared,
        values: &[Value],
        txn: &mut Txn,
        catalog: &mut Arc<Catalog>,
        autocommit: bool,
        aftermath: &mut Aftermath,
    ) -> Result<QueryResult> {
        for table in &prepared.tables {
            txn.use_table(table)?;
        }
        let command = prepared.action.command();
        let result = |rows: Vec<Vec<Value>>, affected: u64, command| {
            let columns = Arc::clone(&prepared.columns);
            let rows = rows.into_iter().map(|row| Row::new(Arc::clone(&columns), row)).collect();
            QueryResult { columns: Arc::clone(&prepared.columns), rows, affected, command, ..QueryResult::default() }
        };
        if txn.read_mode() != ReadMode::Strong {
            self.choose_copies(txn, &prepared.tables).await?;
        }
        match &prepared.action {
            Action::Query { node, locks } => {
                if *locks {
                    txn.validate_at_commit();
                }
                let rows = crate::exec::run(node, &mut self.context(txn, catalog, values)).await?;
                let affected = rows.len() as u64;
                Ok(QueryResult { report: txn.report(), ..result(rows, affected, command) })
            }
            Action::Change(change) => {
                let done = run_change(change, &mut self.context(txn, catalog, values)).await?;
                Ok(result(done.rows, done.affected, command))
            }
            Action::Explain { analyze, statement } => {
                let lines =
                    Box::pin(self.explain(*analyze, statement, values, txn, catalog, autocommit, aftermath)).await?;
                let rows: Vec<Vec<Value>> = lines.into_iter().map(|line| vec![Value::from(line)]).collect();
                let affected = rows.len() as u64;
                Ok(result(rows, affected, command))
            }
            Action::Schema(change) => {
                let mut ddl = Ddl::new(self, txn, catalog, autocommit);
                let command = ddl.run(change.clone()).await?;
                aftermath.schema = true;
                aftermath.pending.append(&mut ddl.pending);
                aftermath.moves.append(&mut ddl.moves);
                aftermath.garbage.append(&mut ddl.garbage);
                Ok(result(vec![], 0, command))
            }
            Action::Control(_) => Err(Error::new(
                SqlState::INVALID_TRANSACTION_STATE,
                format!("{command} as SQL text is not possible here"),
            )
            .with_hint("Begin, commit and roll back by the methods of the database and the transaction.")),
        }
    }

    /// The lines of EXPLAIN. ANALYZE runs the statement and adds what it took, a commit that is still to come included.
    #[allow(clippy::too_many_arguments)]
    async fn explain(
        &self,
        analyze: bool,
        statement: &Prepared,
        values: &[Value],
        txn: &mut Txn,
        catalog: &mut Arc<Catalog>,
        autocommit: bool,
        aftermath: &mut Aftermath,
    ) -> Result<Vec<String>> {
        let capabilities = self.client.store().capabilities();
        let topology = Arc::clone(catalog.topology());
        let local = self.client.local();
        let copied = statement.tables.iter().filter(|table| txn.reads_copy_of(table)).map(|table| table.id).collect();
        let traits = StoreTraits { follow: capabilities.follow, local, topology: &topology, copied: &copied };
        let mut lines = match &statement.action {
            Action::Query { node, .. } => explain_query(node, traits),
            Action::Change(change) => explain_change(change, catalog.as_ref(), traits),
            _ => return Err(Error::unsupported("EXPLAIN of a statement that is no query or change")),
        };
        let report = txn.report();
        if !copied.is_empty() {
            lines.push(match report.staleness {
                Some(staleness) if !report.staleness_unknown => {
                    format!("Copies miss nothing older than {staleness:.1?}")
                }
                _ => "Copies: how stale they are is not known".to_owned(),
            });
        }
        if analyze {
            let (before, started) = (txn.round_trips(), Instant::now());
            let result = Box::pin(self.run_in(statement, values, txn, catalog, autocommit, aftermath)).await?;
            let reads = txn.round_trips().reads - before.reads;
            let wide = txn.round_trips().wide - before.wide;
            let commits = u64::from(autocommit && txn.commits_by_round_trip());
            lines.push(format!(
                "Actual: rows {}, round trips {} (reads {reads}, commits {commits}), time {:.3} ms without the commit",
                result.affected,
                reads + commits,
                started.elapsed().as_secs_f64() * 1e3
            ));
            if topology.is_spread() {
                lines.push(format!("Actual wide-area round trips of the reads: {wide}"));
            }
        }
        lines.push(format!("Store: {} (durability {})", capabilities.engine, capabilities.durability));
        Ok(lines)
    }

    /// Runs all statements of a text in a transaction; the result is the last one's.
    pub(super) async fn run_text_in(
        &self,
        text: &Arc<str>,
        values: &[Value],
        txn: &mut Txn,
        catalog: &mut Arc<Catalog>,
        autocommit: bool,
        aftermath: &mut Aftermath,
    ) -> Result<QueryResult> {
        match self.prepare(text, values, catalog)? {
            Script::One(prepared) => self.run_in(&prepared, values, txn, catalog, autocommit, aftermath).await,
            Script::Several(statements) => {
                let mut last = QueryResult::default();
                for statement in &statements {
                    let prepared = prepare_one(statement, catalog, &[])?;
                    // Several statements are one transaction: an index is filled inside it.
                    last = self.run_in(&prepared, &[], txn, catalog, false, aftermath).await?;
                }
                Ok(last)
            }
        }
    }

    /// Runs a statement of the program's own inside a transaction.
    pub(in crate::database) async fn query_inside(
        &self,
        txn: &mut Txn,
        catalog: &Arc<Catalog>,
        sql: &str,
    ) -> Result<Vec<Vec<Value>>> {
        let mut catalog = Arc::clone(catalog);
        let mut aftermath = Aftermath::default();
        let text: Arc<str> = sql.into();
        let run = self.run_text_in(&text, &[], txn, &mut catalog, false, &mut aftermath);
        let result = Box::pin(run).await?;
        Ok(result.rows.iter().map(|row| row.values().to_vec()).collect())
    }

    /// A result of text lines under one column.
    pub(super) fn one_column(name: &str, lines: Vec<String>, command: &'static str) -> QueryResult {
        let columns: Arc<[ColumnMeta]> =
            [ColumnMeta { name: name.into(), data_type: crate::DataType::Text }].into_iter().collect();
        let rows: Vec<Row> =
            lines.into_iter().map(|line| Row::new(Arc::clone(&columns), vec![Value::from(line)])).collect();
        QueryResult { columns, affected: rows.len() as u64, rows, command, ..QueryResult::default() }
    }
}
