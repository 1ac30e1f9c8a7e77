//! What running a plan needs: the transaction, the schema, parameters, limits, and the answers of subqueries.

use super::eval::{Answer, Answers, Form, Membership, Question, Scope, evaluate, holds};
use super::expr::Expr;
use super::functions::{CallContext, time_ordered};
use super::node::Node;
use super::operators::{Operator, build, page_limits};
use crate::catalog::{Column, SchemaView, Table, TableId};
use crate::error::{Error, Result, SqlState};
use crate::txn::Txn;
use crate::value::Value;
use async_trait::async_trait;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::sync::Arc;

/// Hands out the numbers of identity columns.
#[async_trait]
pub trait NumberSource: Send + Sync {
    /// The next `count` numbers of a column. Never handed out twice, never taken back.
    ///
    /// # Errors
    /// 22003 where the sequence is used up, and the store's errors.
    async fn next(&self, table: TableId, column: &Column, count: usize) -> Result<Vec<i64>>;
}

/// What a table asks of its rows, bound over a row of all its columns.
#[derive(Clone, Debug, Default)]
pub struct RowRules {
    /// The checks with their names.
    pub checks: Vec<(String, Expr)>,
    /// The defaults by position, over no row.
    pub defaults: Vec<Option<Expr>>,
}

/// Binds the rules of a table that the plan does not carry: one whose rows change because a foreign key's action reaches them.
pub type BindRules = fn(&Table) -> Result<RowRules>;

/// Limits on one statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes that sorts, hash tables and collected rows may take, by estimate.
    pub memory_bytes: usize,
    /// How deeply subqueries may nest while they run.
    pub subquery_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, subquery_depth: 32 }
    }
}

/// What one operator did, for EXPLAIN ANALYZE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeStatistics {
    /// Rows that it produced, over all runs.
    pub rows: u64,
    /// How often it ran: more than once inside correlated subqueries.
    pub runs: u64,
}

/// What a statement did.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Rows that scans read, before their filters.
    pub rows_read: u64,
    /// Runs of subqueries.
    pub subqueries: u64,
    /// By operator, where asked for.
    nodes: Option<HashMap<usize, NodeStatistics>>,
}

impl Statistics {
    /// Also count the rows of each operator.
    pub fn count_nodes(&mut self) {
        self.nodes.get_or_insert_default();
    }

    /// What an operator of the plan that ran did; the same node in memory must be asked for.
    pub fn of(&self, node: &Node) -> NodeStatistics {
        let counted = self.nodes.as_ref().and_then(|nodes| nodes.get(&address(node)));
        counted.copied().unwrap_or_default()
    }

    pub(super) fn counts_nodes(&self) -> bool {
        self.nodes.is_some()
    }

    pub(super) fn add(&mut self, node: &Node, rows: usize, runs: u64) {
        if let Some(nodes) = &mut self.nodes {
            let counted = nodes.entry(address(node)).or_default();
            counted.rows += rows as u64;
            counted.runs += runs;
        }
    }
}

fn address(node: &Node) -> usize {
    std::ptr::from_ref(node) as usize
}

/// One statement's run.
pub struct ExecContext<'t> {
    /// The transaction.
    pub txn: &'t mut Txn,
    /// The schema as of this statement.
    pub schema: Arc<dyn SchemaView>,
    /// The statement's parameters, of the types that binding gave them.
    pub params: Arc<[Value]>,
    /// Time, randomness, names.
    pub calls: CallContext,
    /// Numbers for identity columns.
    pub numbers: Arc<dyn NumberSource>,
    /// Rules of tables that the plan does not carry.
    pub rules: BindRules,
    /// Limits.
    pub limits: Limits,
    /// What was done so far.
    pub statistics: Statistics,
    /// The values handed to the subquery that is running; none outside of subqueries.
    outer: Vec<Value>,
    depth: usize,
    answers: Arc<Answers>,
    memory_bytes: usize,
}

impl<'t> ExecContext<'t> {
    /// A context for one statement.
    pub fn new(
        txn: &'t mut Txn,
        schema: Arc<dyn SchemaView>,
        params: Arc<[Value]>,
        calls: CallContext,
        numbers: Arc<dyn NumberSource>,
        rules: BindRules,
    ) -> Self {
        Self {
            txn,
            schema,
            params,
            calls,
            numbers,
            rules,
            limits: Limits::default(),
            statistics: Statistics::default(),
            outer: vec![],
            depth: 0,
            answers: Arc::default(),
            memory_bytes: 0,
        }
    }

    /// A key for a row of a table without a primary key: a time-ordered UUID.
    pub fn hidden_key(&self) -> Value {
        Value::Uuid(time_ordered(&self.calls))
    }

    /// The value of an expression over a row, running the subqueries that it needs.
    ///
    /// # Errors
    /// Those of the expression and of its subqueries.
    pub async fn evaluate(&mut self, expr: &Expr, row: &[Value]) -> Result<Value> {
        self.answering(|cx| cx.try_evaluate(expr, row)).await
    }

    /// Whether a condition is true over a row.
    ///
    /// # Errors
    /// As [`ExecContext::evaluate`].
    pub async fn holds(&mut self, expr: &Expr, row: &[Value]) -> Result<bool> {
        self.answering(|cx| holds(expr, row, &cx.scope(&cx.answers))).await
    }

    /// The values of several expressions over a row.
    ///
    /// # Errors
    /// As [`ExecContext::evaluate`].
    pub async fn evaluate_all(&mut self, exprs: &[Expr], row: &[Value]) -> Result<Vec<Value>> {
        let mut values = Vec::with_capacity(exprs.len());
        for expr in exprs {
            values.push(self.evaluate(expr, row).await?);
        }
        Ok(values)
    }

    /// A bigint over no row, as LIMIT has; `None` for NULL.
    pub(super) async fn evaluate_count(&mut self, expr: Option<&Expr>) -> Result<Option<i64>> {
        let Some(expr) = expr else { return Ok(None) };
        match self.evaluate(expr, &[]).await? {
            Value::Null => Ok(None),
            Value::Int(count) => Ok(Some(count)),
            other => Err(Error::internal(format_args!("a count of type {}", other.natural_type()))),
        }
    }

    /// One attempt without running subqueries: a missing answer is an error and leaves a question behind.
    pub(super) fn try_evaluate(&self, expr: &Expr, row: &[Value]) -> Result<Value> {
        evaluate(expr, row, &self.scope(&self.answers))
    }

    /// Forgets the question that an attempt left behind; whether there was one.
    pub(super) fn drop_question(&self) -> bool {
        self.answers.take_question().is_some()
    }

    fn scope<'a>(&'a self, answers: &'a Answers) -> Scope<'a> {
        Scope::new(&self.params, &self.outer, &self.calls).with_answers(answers)
    }

    /// Attempts something until no answer of a subquery is missing.
    pub(super) async fn answering<T: Send>(&mut self, mut attempt: impl FnMut(&Self) -> Result<T> + Send) -> Result<T> {
        loop {
            match attempt(self) {
                Ok(value) => return Ok(value),
                Err(error) => match self.answers.take_question() {
                    Some(question) => self.answer(question).await?,
                    None => return Err(error),
                },
            }
        }
    }

    fn answer(&mut self, question: Question) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if self.depth >= self.limits.subquery_depth {
                return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, "subqueries nest too deeply"));
            }
            self.statistics.subqueries += 1;
            let node = Arc::clone(&question.node);
            let enclosing = std::mem::replace(&mut self.outer, question.outer.clone());
            let memory_bytes = self.memory_bytes;
            self.depth += 1;
            let answer = self.ask(&node, question.form).await;
            self.depth -= 1;
            self.outer = enclosing;
            // What the subquery's operators held is free again; what it answered is small or was counted while it was collected.
            self.memory_bytes = memory_bytes;
            let answer = answer?;
            if let Answer::Rows(rows) = &answer {
                self.reserve(rows.size_bytes())?;
            }
            self.answers.give(question, answer);
            Ok(())
        })
    }

    async fn ask(&mut self, node: &Node, form: Form) -> Result<Answer> {
        let mut operator = open(node, self).await?;
        let mut membership = Membership::default();
        let mut values = vec![];
        while let Some(batch) = operator.next(self).await? {
            for row in batch {
                self.reserve(row_bytes(&row))?;
                match form {
                    Form::Exists => return Ok(Answer::Value(Value::Bool(true))),
                    Form::Rows => membership.insert(row),
                    Form::Scalar | Form::Array => values.extend(row.into_iter().next()),
                }
                if form == Form::Scalar && values.len() > 1 {
                    let message = "more than one row returned by a subquery used as an expression";
                    return Err(Error::new(SqlState::CARDINALITY_VIOLATION, message));
                }
            }
        }
        Ok(match form {
            Form::Exists => Answer::Value(Value::Bool(false)),
            Form::Rows => Answer::Rows(Arc::new(membership)),
            Form::Scalar => Answer::Value(values.pop().unwrap_or(Value::Null)),
            Form::Array => Answer::Value(Value::Array(values.into())),
        })
    }

    /// Accounts for memory that an operator is about to hold.
    ///
    /// # Errors
    /// 53200 beyond the limit.
    pub fn reserve(&mut self, bytes: usize) -> Result<()> {
        self.memory_bytes = self.memory_bytes.saturating_add(bytes);
        if self.memory_bytes <= self.limits.memory_bytes {
            return Ok(());
        }
        let detail = format!("The query needs more than its limit of {} bytes.", self.limits.memory_bytes);
        Err(Error::new(SqlState::OUT_OF_MEMORY, "out of memory")
            .with_detail(detail)
            .with_hint("Filter more rows out, or add an index that serves the query's order or joins."))
    }

    /// Gives memory back.
    pub fn release(&mut self, bytes: usize) {
        self.memory_bytes = self.memory_bytes.saturating_sub(bytes);
    }
}

impl std::fmt::Debug for ExecContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecContext").field("statistics", &self.statistics).finish_non_exhaustive()
    }
}

/// Opens a plan: everything that its leaves can read without a row of another leaf is read in one round trip.
///
/// # Errors
/// Those of the reads and of the key expressions.
pub async fn open<'n>(node: &'n Node, cx: &mut ExecContext<'_>) -> Result<Box<dyn Operator + 'n>> {
    let mut operator = build(node, cx);
    let mut reads = vec![];
    operator.first_reads(cx, &mut reads)?;
    if !reads.is_empty() {
        let limits = page_limits(reads.len());
        let results = cx.txn.read(reads, limits).await?;
        operator.accept(&mut results.into_iter())?;
    }
    Ok(operator)
}

/// Runs a plan to its end.
///
/// # Errors
/// Those of its operators; 53200 where the rows do not fit the limit on memory.
pub async fn run(node: &Node, cx: &mut ExecContext<'_>) -> Result<Vec<Vec<Value>>> {
    let mut operator = open(node, cx).await?;
    let mut rows = vec![];
    while let Some(batch) = operator.next(cx).await? {
        cx.reserve(batch.iter().map(|row| row_bytes(row)).sum())?;
        rows.extend(batch);
    }
    Ok(rows)
}

/// What a row takes in memory, by estimate.
pub(super) fn row_bytes(row: &[Value]) -> usize {
    let heap = |value: &Value| match value {
        Value::Text(text) => text.len() + 16,
        Value::Bytes(bytes) => bytes.len() + 32,
        Value::Json(document) => document_bytes(document),
        Value::Array(items) => row_bytes(items),
        _ => 0,
    };
    24 + std::mem::size_of_val(row) + row.iter().map(heap).sum::<usize>()
}

fn document_bytes(document: &serde_json::Value) -> usize {
    use serde_json::Value as Json;
    32 + match document {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(document_bytes).sum(),
        Json::Object(members) => members.iter().map(|(key, value)| key.len() + 48 + document_bytes(value)).sum(),
        _ => 0,
    }
}
