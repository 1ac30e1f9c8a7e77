//! A transaction of several statements.

use super::autocommit::{is_undefined, statement_timeout};
use super::running::Aftermath;
use super::statement::{Action, Script};
use super::{Engine, FEATURES};
use crate::catalog::Catalog;
use crate::database::{
    Dialect, Executor, Features, QueryResult, RowStream, Statement, Transaction, TransactionOptions,
};
use crate::error::{Error, Result, SqlState};
use crate::plan::logical::Control;
use crate::txn::{Mode, ReadMode, Savepoint, Txn};
use crate::value::Value;
use async_trait::async_trait;
use futures::StreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// An open transaction.
#[derive(Debug)]
pub(super) struct RomeTransaction {
    engine: Arc<Engine>,
    options: TransactionOptions,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    txn: Txn,
    /// The catalog as this transaction sees it, its own DDL included.
    catalog: Arc<Catalog>,
    aftermath: Aftermath,
    savepoints: Vec<Mark>,
    /// A statement failed: everything is refused until a rollback.
    failed: bool,
    statement_timeout: Option<Duration>,
}

#[derive(Debug)]
struct Mark {
    name: String,
    point: Savepoint,
    catalog: Arc<Catalog>,
    garbage: usize,
}

impl RomeTransaction {
    pub(super) fn begin(engine: Arc<Engine>, options: TransactionOptions) -> Self {
        let read_only = options.read_only || options.read_mode != ReadMode::Strong;
        let mut txn = engine.client.begin(if read_only { Mode::ReadOnly } else { Mode::Interactive });
        txn.set_read_mode(options.read_mode);
        let state = State {
            txn,
            catalog: engine.catalog(),
            aftermath: Aftermath::default(),
            savepoints: Vec::new(),
            failed: false,
            statement_timeout: options.statement_timeout.or(engine.options.statement_timeout),
        };
        Self { engine, options, started: Instant::now(), state: Mutex::new(state) }
    }

    /// Refuses where the transaction has failed or is too old.
    fn check(&self, state: &mut State) -> Result<()> {
        // A transaction that has ended by its age says so from then on.
        if self.options.timeout.is_some_and(|limit| self.started.elapsed() >= limit) {
            state.failed = true;
            return Err(transaction_timeout());
        }
        if state.failed {
            return Err(Error::new(
                SqlState::IN_FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }

    /// How long the next statement may take, and the error when it takes longer.
    fn time_left(&self, state: &State) -> Option<(Duration, Error)> {
        let of_transaction = self.options.timeout.map(|limit| limit.saturating_sub(self.started.elapsed()));
        match (state.statement_timeout, of_transaction) {
            (Some(statement), Some(transaction)) if transaction < statement => {
                Some((transaction, transaction_timeout()))
            }
            (Some(statement), _) => Some((statement, statement_timeout())),
            (None, Some(transaction)) => Some((transaction, transaction_timeout())),
            (None, None) => None,
        }
    }

    async fn statement(&self, text: &Arc<str>, values: &[Value]) -> Result<QueryResult> {
        let mut guard = self.state.lock().await;
        let state = &mut *guard;
        self.check(state)?;
        // Whatever ends this statement early, a dropped future included, leaves the transaction failed.
        state.failed = true;
        let limit = self.time_left(state);
        let run = self.run_text(state, text, values);
        let result = match limit {
            None => run.await,
            Some((limit, error)) => tokio::time::timeout(limit, run).await.unwrap_or(Err(error)),
        };
        match result {
            Ok(result) => {
                state.failed = false;
                Ok(result)
            }
            Err(error) => {
                let error = state.txn.explained(error).await;
                Err(self.engine.caught_up(error).await)
            }
        }
    }

    async fn run_text(&self, state: &mut State, text: &Arc<str>, values: &[Value]) -> Result<QueryResult> {
        let mut script = self.engine.prepare(text, values, &state.catalog);
        if script.as_ref().is_err_and(is_undefined) && !state.aftermath.schema {
            // Perhaps another client has made the table since the catalog was read.
            state.catalog = self.engine.refresh_catalog().await?;
            script = self.engine.prepare(text, values, &state.catalog);
        }
        if let Script::One(prepared) = script?
            && let Action::Control(control) = &prepared.action
        {
            return self.control(state, control);
        }
        let State { txn, catalog, aftermath, .. } = state;
        self.engine.run_text_in(text, values, txn, catalog, false, aftermath).await
    }

    /// Statements that steer the transaction, as text.
    fn control(&self, state: &mut State, control: &Control) -> Result<QueryResult> {
        let command = Action::Control(control.clone()).command();
        let done = QueryResult { command, ..QueryResult::default() };
        match control {
            Control::Savepoint(name) => mark(state, name),
            Control::Release(name) => release(state, name)?,
            Control::RollbackTo(name) => rollback_to(state, name)?,
            Control::Set(name, value) if name == "statement_timeout" => {
                state.statement_timeout = match value {
                    None => self.options.statement_timeout,
                    Some(value) => parse_duration(name, value)?,
                };
            }
            Control::Show(name) if name == "statement_timeout" => {
                let shown = state.statement_timeout.map_or(0, |limit| limit.as_millis());
                return Ok(Engine::one_column(name, vec![format!("{shown}ms")], command));
            }
            Control::Show(name) if name == "transaction_isolation" => {
                return Ok(Engine::one_column(name, vec!["serializable".to_owned()], command));
            }
            Control::Set(name, value) if name.starts_with("rome.") => set_reading(state, name, value.as_deref())?,
            Control::Show(name) if name.starts_with("rome.") => {
                return Ok(Engine::one_column(name, vec![shown_reading(state, name)?], command));
            }
            Control::Set(name, _) | Control::Show(name) => {
                return Err(unrecognized(name));
            }
            Control::Begin { .. } | Control::Commit | Control::Rollback => {
                return Err(Error::new(
                    SqlState::ACTIVE_SQL_TRANSACTION,
                    format!("{command} as SQL text is not possible inside this transaction"),
                )
                .with_hint("Use the transaction's methods."));
            }
        }
        Ok(done)
    }
}

fn mark(state: &mut State, name: &str) {
    let point = state.txn.savepoint();
    state.savepoints.push(Mark {
        name: name.to_owned(),
        point,
        catalog: Arc::clone(&state.catalog),
        garbage: state.aftermath.garbage.len(),
    });
}

fn position(state: &State, name: &str) -> Result<usize> {
    state
        .savepoints
        .iter()
        .rposition(|mark| mark.name == name)
        .ok_or_else(|| Error::new(SqlState::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist")))
}

fn release(state: &mut State, name: &str) -> Result<()> {
    // An unknown name is an error like any other: it leaves the transaction failed.
    let at = position(state, name).inspect_err(|_| state.failed = true)?;
    state.savepoints.truncate(at);
    Ok(())
}

fn rollback_to(state: &mut State, name: &str) -> Result<()> {
    let at = position(state, name).inspect_err(|_| state.failed = true)?;
    state.savepoints.truncate(at + 1);
    if let Some(mark) = state.savepoints.get(at) {
        state.txn.rollback_to(&mark.point);
        state.catalog = Arc::clone(&mark.catalog);
        state.aftermath.garbage.truncate(mark.garbage);
    }
    state.failed = false;
    Ok(())
}

fn unrecognized(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

/// `SET rome.read_mode` and `SET rome.max_staleness`: how current the answers of a read-only transaction must be from now on.
fn set_reading(state: &mut State, name: &str, value: Option<&str>) -> Result<()> {
    let mode = match (name, value) {
        ("rome.read_mode" | "rome.max_staleness", None) | ("rome.read_mode", Some("strong")) => ReadMode::Strong,
        ("rome.read_mode", Some("available")) => ReadMode::Available,
        ("rome.max_staleness", Some(value)) => match parse_duration(name, value)? {
            Some(max) => ReadMode::Stale { max },
            None => ReadMode::Strong,
        },
        ("rome.read_mode", Some(value)) => {
            let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .with_hint("Available values: strong, available. For stale reads set rome.max_staleness."));
        }
        _ => return Err(unrecognized(name)),
    };
    if mode != ReadMode::Strong && state.txn.mode() != Mode::ReadOnly {
        return Err(Error::new(
            SqlState::ACTIVE_SQL_TRANSACTION,
            format!("parameter \"{name}\" can be set in a read-only transaction only"),
        )
        .with_hint("What a transaction writes must rest on what is true: begin a read-only one."));
    }
    state.txn.set_read_mode(mode);
    Ok(())
}

/// `SHOW rome.staleness` and its like.
fn shown_reading(state: &State, name: &str) -> Result<String> {
    let report = state.txn.report();
    Ok(match (name, state.txn.read_mode()) {
        ("rome.read_mode", ReadMode::Strong) => "strong".to_owned(),
        ("rome.read_mode", ReadMode::Stale { .. }) => "stale".to_owned(),
        ("rome.read_mode", ReadMode::Available) => "available".to_owned(),
        ("rome.max_staleness", ReadMode::Stale { max }) => format!("{}ms", max.as_millis()),
        ("rome.max_staleness", _) => "0".to_owned(),
        ("rome.staleness", _) if report.staleness_unknown => "unknown".to_owned(),
        ("rome.staleness", _) => format!("{}ms", report.staleness.unwrap_or_default().as_millis()),
        ("rome.missing_sites", _) => report.missing_sites.join(", "),
        _ => return Err(unrecognized(name)),
    })
}

fn transaction_timeout() -> Error {
    Error::new(SqlState::TRANSACTION_TIMEOUT, "terminating transaction due to transaction timeout")
}

/// Milliseconds, or a number with `ms`, `s` or `min`; 0 is none.
fn parse_duration(parameter: &str, value: &str) -> Result<Option<Duration>> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let scale = match unit.trim() {
        "" | "ms" => Some(1),
        "s" => Some(1_000),
        "min" => Some(60_000),
        _ => None,
    };
    let millis = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    match millis {
        Some(0) => Ok(None),
        Some(millis) => Ok(Some(Duration::from_millis(millis))),
        None => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"{parameter}\": \"{value}\""),
        )
        .with_hint("Valid units for this parameter are \"ms\", \"s\" and \"min\".")),
    }
}

#[async_trait]
impl Executor for RomeTransaction {
    async fn run(&self, statement: Statement) -> Result<QueryResult> {
        let (text, values) = statement.render(Dialect::Postgres);
        self.statement(&text, &values).await
    }

    /// Inside a transaction the rows are read to the end first: the next statement may not run between them.
    async fn run_stream(&self, statement: Statement) -> Result<RowStream<'_>> {
        let result = self.run(statement).await?;
        Ok(futures::stream::iter(result.rows.into_iter().map(Ok)).boxed())
    }

    fn features(&self) -> Features {
        FEATURES
    }
}

#[async_trait]
impl Transaction for RomeTransaction {
    async fn savepoint(&self, name: &str) -> Result<()> {
        let mut state = self.state.lock().await;
        self.check(&mut state)?;
        mark(&mut state, name);
        Ok(())
    }

    async fn rollback_to(&self, name: &str) -> Result<()> {
        rollback_to(&mut *self.state.lock().await, name)
    }

    async fn release(&self, name: &str) -> Result<()> {
        let mut state = self.state.lock().await;
        self.check(&mut state)?;
        release(&mut state, name)
    }

    async fn is_torn(&self) -> bool {
        self.state.lock().await.txn.is_torn().await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let mut state = self.state.lock().await;
        self.check(&mut state)?;
        drop(state);
        let Self { engine, state, .. } = *self;
        let State { txn, aftermath, .. } = state.into_inner();
        match txn.commit().await {
            Ok(_) => engine.finish(aftermath).await,
            Err(error) => Err(engine.caught_up(error).await),
        }
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
