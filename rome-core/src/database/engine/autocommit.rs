//! A statement as its own transaction, run again by itself where it loses against others.

use super::Engine;
use super::running::Aftermath;
use super::statement::{Action, Prepared, Script};
use crate::database::{QueryResult, Row, RowStream, Statement};
use crate::error::{Error, Result, SqlState};
use crate::txn::{Mode, ReadMode};
use crate::value::Value;
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Batches of rows that wait between the producer and the consumer of a stream.
const STREAM_BATCHES: usize = 2;

impl Engine {
    /// Runs a statement to its end.
    pub(super) async fn run_autocommit(&self, statement: &Statement, reading: ReadMode) -> Result<QueryResult> {
        let (text, values) = statement.render(crate::database::Dialect::Postgres);
        let committing = AtomicBool::new(false);
        let run = self.run_with_retries(&text, &values, reading, &committing);
        let Some(limit) = self.options.statement_timeout else { return run.await };
        match tokio::time::timeout(limit, run).await {
            Ok(result) => result,
            // What was sent takes effect, or not, whether anybody waits for it or not.
            Err(_) if committing.load(Ordering::Relaxed) => Err(timed_out_committing()),
            Err(_) => Err(statement_timeout()),
        }
    }

    /// `committing` says whether a change is on its way.
    async fn run_with_retries(
        &self,
        text: &Arc<str>,
        values: &[Value],
        reading: ReadMode,
        committing: &AtomicBool,
    ) -> Result<QueryResult> {
        let mut attempts = self.retry.start();
        let mut refreshed = false;
        loop {
            match self.run_once(text, values, reading, committing).await {
                Ok((result, aftermath)) => {
                    // What follows is retried by itself and may queue on the very key on which this statement holds its place.
                    drop(attempts);
                    self.finish(aftermath).await?;
                    return Ok(result);
                }
                // Perhaps another client has made the table since the catalog was read.
                Err(error) if is_undefined(&error) && !refreshed => {
                    refreshed = true;
                    self.refresh_catalog().await?;
                }
                Err(error) if error.state() == SqlState::CONNECTION_FAILURE && !refreshed => {
                    refreshed = true;
                    // Perhaps a site has left, or can be reached by now.
                    if !self.sites_changed().await {
                        return Err(error);
                    }
                }
                Err(error) => self.again(error, &mut attempts).await?,
            }
        }
    }

    async fn run_once(
        &self,
        text: &Arc<str>,
        values: &[Value],
        reading: ReadMode,
        committing: &AtomicBool,
    ) -> Result<(QueryResult, Aftermath)> {
        let mut catalog = self.catalog();
        let script = self.prepare(text, values, &catalog)?;
        let mode = match &script {
            Script::One(prepared) if prepared.action.only_reads() => Mode::ReadOnly,
            Script::One(prepared) if matches!(prepared.action, Action::Change(_) | Action::Explain { .. }) => {
                Mode::SingleStatement
            }
            _ => Mode::Interactive,
        };
        let mut txn = self.client.begin(mode);
        if mode == Mode::ReadOnly {
            txn.set_read_mode(reading);
        }
        let mut aftermath = Aftermath::default();
        let result = match script {
            Script::One(prepared) => self.run_in(&prepared, values, &mut txn, &mut catalog, true, &mut aftermath).await,
            Script::Several(_) => self.run_text_in(text, values, &mut txn, &mut catalog, true, &mut aftermath).await,
        };
        let result = match result {
            Ok(result) => result,
            Err(error) => return Err(txn.explained(error).await),
        };
        committing.store(txn.has_writes(), Ordering::Relaxed);
        let committed = txn.commit().await;
        if committed.is_err() {
            committing.store(false, Ordering::Relaxed);
        }
        committed.map(|_| (result, aftermath))
    }

    /// Runs a query and hands out its rows as they come. Anything else than a query is run to its end first.
    pub(super) async fn stream_autocommit(self: Arc<Self>, statement: &Statement) -> Result<RowStream<'static>> {
        let (text, values) = statement.render(crate::database::Dialect::Postgres);
        let script = match self.prepare(&text, &values, &self.catalog()) {
            Err(error) if is_undefined(&error) => self.prepare(&text, &values, &*self.refresh_catalog().await?)?,
            script => script?,
        };
        match script {
            Script::One(prepared)
                if prepared.action.only_reads() && matches!(prepared.action, Action::Query { .. }) =>
            {
                let (sender, receiver) = mpsc::channel(STREAM_BATCHES);
                tokio::spawn(async move { self.produce(text, prepared, values, sender).await });
                Ok(rows_of(receiver))
            }
            _ => {
                let result = self.run_autocommit(statement, ReadMode::Strong).await?;
                Ok(futures::stream::iter(result.rows.into_iter().map(Ok)).boxed())
            }
        }
    }

    /// Produces a stream's rows until they end or nobody wants them. Until the first row is handed out a conflict starts it over.
    async fn produce(
        &self,
        text: Arc<str>,
        mut prepared: Arc<Prepared>,
        values: Vec<Value>,
        sender: mpsc::Sender<Result<Vec<Row>>>,
    ) {
        let mut attempts = self.retry.start();
        loop {
            let mut sent = false;
            let Err(error) = self.produce_once(&prepared, &values, &sender, &mut sent).await else { return };
            let error = if sent {
                error
            } else {
                match self.again(error, &mut attempts).await {
                    Ok(()) => match self.prepare(&text, &values, &self.catalog()) {
                        Ok(Script::One(again)) => {
                            prepared = again;
                            continue;
                        }
                        Ok(Script::Several(_)) => Error::internal("a statement became several"),
                        Err(error) => error,
                    },
                    Err(error) => error,
                }
            };
            // A receiver that has gone wants no error either.
            let _ = sender.send(Err(error)).await;
            return;
        }
    }

    async fn produce_once(
        &self,
        prepared: &Prepared,
        values: &[Value],
        sender: &mpsc::Sender<Result<Vec<Row>>>,
        sent: &mut bool,
    ) -> Result<()> {
        let Action::Query { node, .. } = &prepared.action else {
            return Err(Error::internal("only queries stream"));
        };
        let catalog = self.catalog();
        let mut txn = self.client.begin(Mode::ReadOnly);
        for table in &prepared.tables {
            txn.use_table(table)?;
        }
        let mut context = self.context(&mut txn, &catalog, values);
        let mut operator = crate::exec::open(node, &mut context).await?;
        while let Some(batch) = operator.next(&mut context).await? {
            let rows = batch.into_iter().map(|row| Row::new(Arc::clone(&prepared.columns), row)).collect();
            if sender.send(Ok(rows)).await.is_err() {
                return Ok(());
            }
            *sent = true;
        }
        // What came from several homes is right only if all of it held at once: the stream ends with an error where it did not.
        txn.commit().await.map(|_| ())
    }
}

/// Whether the catalog at hand may simply be too old.
pub(super) fn is_undefined(error: &Error) -> bool {
    [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::UNDEFINED_OBJECT, SqlState::OBJECT_IN_USE]
        .contains(&error.state())
}

/// SQLSTATE 08007.
fn timed_out_committing() -> Error {
    Error::new(
        SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
        "the statement's time was over while its change was on its way to the store",
    )
    .with_hint("It may or may not have taken effect: read before repeating it.")
}

/// SQLSTATE 57014.
pub(super) fn statement_timeout() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
}

fn rows_of(receiver: mpsc::Receiver<Result<Vec<Row>>>) -> RowStream<'static> {
    let batches = futures::stream::unfold(receiver, |mut receiver| async move {
        let batch = receiver.recv().await?;
        Some((batch, receiver))
    });
    batches
        .flat_map(|batch| {
            let rows: Vec<Result<Row>> = match batch {
                Ok(rows) => rows.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(rows)
        })
        .boxed()
}
