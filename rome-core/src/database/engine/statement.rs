//! From text to a prepared statement, and the cache of these.
//!
//! A cached statement is found by its text and the types of its parameters, and is good as long as each table it uses has the description that it
//! was planned with. A hit parses, binds and plans nothing.

use super::Engine;
use crate::catalog::{Catalog, SchemaView, Table};
use crate::database::ColumnMeta;
use crate::error::{Error, Result, SqlState};
use crate::exec::RowRules;
use crate::exec::node::{Change, Node, OutputColumn};
use crate::plan::logical::{Bound, Control, SchemaChange};
use crate::plan::{WatchPlan, plan_watch};
use crate::plan::{plan_delete, plan_insert, plan_query, plan_rules, plan_update};
use crate::sql;
use crate::value::{DataType, Value};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Statements that are kept.
const CAPACITY: usize = 1_000;
/// Longer texts are not kept.
const LONGEST_TEXT: usize = 64 << 10;

/// A statement that is ready to run.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) action: Action,
    /// The tables it relies on.
    pub(super) tables: Vec<Arc<Table>>,
    /// The result's columns.
    pub(super) columns: Arc<[ColumnMeta]>,
}

/// What running it means.
#[derive(Debug)]
pub(super) enum Action {
    Query {
        node: Box<Node>,
        /// FOR UPDATE occurs in it.
        locks: bool,
    },
    Change(Box<Change>),
    Explain {
        analyze: bool,
        statement: Box<Prepared>,
    },
    Schema(SchemaChange),
    Control(Control),
}

impl Action {
    /// Whether it can do with a read-only transaction.
    pub(super) fn only_reads(&self) -> bool {
        match self {
            Self::Query { locks, .. } => !locks,
            Self::Explain { analyze, statement } => !analyze || statement.action.only_reads(),
            Self::Change(_) | Self::Schema(_) | Self::Control(_) => false,
        }
    }

    /// PostgreSQL's command tag.
    pub(super) fn command(&self) -> &'static str {
        match self {
            Self::Query { .. } => "SELECT",
            Self::Change(change) => match change.as_ref() {
                Change::Insert(_) => "INSERT",
                Change::Update(_) => "UPDATE",
                Change::Delete(_) => "DELETE",
            },
            Self::Explain { .. } => "EXPLAIN",
            Self::Schema(_) => "DDL",
            Self::Control(control) => match control {
                Control::Begin { .. } => "BEGIN",
                Control::Commit => "COMMIT",
                Control::Rollback | Control::RollbackTo(_) => "ROLLBACK",
                Control::Savepoint(_) => "SAVEPOINT",
                Control::Release(_) => "RELEASE",
                Control::Set(..) => "SET",
                Control::Show(_) => "SHOW",
            },
        }
    }
}

/// A statement as prepared for parameters of some types.
type Variant = (Vec<DataType>, Arc<Prepared>);

/// The statements that were prepared before.
#[derive(Debug, Default)]
pub(super) struct StatementCache {
    kept: Mutex<HashMap<Arc<str>, Vec<Variant>>>,
}

impl StatementCache {
    fn get(&self, text: &str, types: &[DataType], catalog: &Catalog) -> Option<Arc<Prepared>> {
        let kept = self.kept.lock();
        let (_, prepared) = kept.get(text)?.iter().find(|(kept, _)| kept == types)?;
        let current = |table: &Arc<Table>| {
            catalog.table_by_id(table.id).is_some_and(|now| Arc::ptr_eq(&now, table) || *now == **table)
        };
        prepared.tables.iter().all(current).then(|| Arc::clone(prepared))
    }

    fn put(&self, text: &Arc<str>, types: Vec<DataType>, prepared: &Arc<Prepared>) {
        if text.len() > LONGEST_TEXT {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.len() >= CAPACITY && !kept.contains_key(text) {
            // Which one goes matters little: texts in use come back at once.
            if let Some(any) = kept.keys().next().cloned() {
                kept.remove(&any);
            }
        }
        let versions = kept.entry(Arc::clone(text)).or_default();
        versions.retain(|(kept, _)| *kept != types);
        versions.push((types, Arc::clone(prepared)));
    }
}

/// The statements of a text.
pub(super) enum Script {
    /// The usual case.
    One(Arc<Prepared>),
    /// Several, without parameters: each is prepared when its turn comes, since it may use what an earlier one makes.
    Several(Vec<sqlparser::ast::Statement>),
}

impl Engine {
    /// The statements of a text; a single one ready to run.
    pub(super) fn prepare(&self, text: &Arc<str>, values: &[Value], catalog: &Catalog) -> Result<Script> {
        let types: Vec<DataType> = values.iter().map(parameter_type).collect();
        if let Some(prepared) = self.statements.get(text, &types, catalog) {
            return Ok(Script::One(prepared));
        }
        let parsed = sql::parse(text)?;
        if let [statement] = parsed.as_slice() {
            let prepared = prepare_one(statement, catalog, &types)?;
            if !matches!(prepared.action, Action::Schema(_) | Action::Control(_)) {
                self.statements.put(text, types, &prepared);
            }
            return Ok(Script::One(prepared));
        }
        if !values.is_empty() {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            )
            .with_hint("Run the statements one by one."));
        }
        Ok(Script::Several(parsed))
    }
}

/// Binds and plans one statement.
pub(super) fn prepare_one(
    statement: &sqlparser::ast::Statement,
    catalog: &Catalog,
    types: &[DataType],
) -> Result<Arc<Prepared>> {
    let bound = sql::bind(statement, catalog, types)?;
    check_parameters(&bound, types.len())?;
    Ok(Arc::new(plan(bound.bound, bound.tables)?))
}

/// Binds and plans the watch of a query.
pub(super) fn prepare_watch(text: &str, values: &[Value], catalog: &Catalog) -> Result<WatchPlan> {
    let types: Vec<DataType> = values.iter().map(parameter_type).collect();
    let parsed = sql::parse(text)?;
    let [statement] = parsed.as_slice() else {
        return Err(Error::unsupported("watching several statements"));
    };
    let bound = sql::bind(statement, catalog, &types)?;
    check_parameters(&bound, types.len())?;
    match bound.bound {
        Bound::Query(query) => plan_watch(&query),
        _ => Err(Error::unsupported("watching a statement that is no query")),
    }
}

fn check_parameters(bound: &sql::BoundStatement, given: usize) -> Result<()> {
    if bound.parameters == given {
        return Ok(());
    }
    Err(Error::new(
        SqlState::UNDEFINED_PARAMETER,
        format!("the statement has {} parameters, but {given} values were given", bound.parameters),
    ))
}

/// The rules of a table whose rows a statement changes without naming it.
pub(super) fn row_rules(table: &Table) -> Result<RowRules> {
    plan_rules(&sql::bind_rules(table)?)
}

/// The type of a parameter as far as its value tells: text may stand for anything.
fn parameter_type(value: &Value) -> DataType {
    match value {
        Value::Null | Value::Text(_) => DataType::Unknown,
        value => value.natural_type(),
    }
}

fn plan(bound: Bound, tables: Vec<Arc<Table>>) -> Result<Prepared> {
    let (action, columns): (Action, Vec<OutputColumn>) = match bound {
        Bound::Query(query) => {
            let (node, columns) = plan_query(&query)?;
            let locks = locks(&node);
            (Action::Query { node: Box::new(node), locks }, columns)
        }
        Bound::Insert(insert) => {
            let (change, columns) = plan_insert(&insert)?;
            (Action::Change(Box::new(change)), columns)
        }
        Bound::Update(update) => {
            let (change, columns) = plan_update(&update)?;
            (Action::Change(Box::new(change)), columns)
        }
        Bound::Delete(delete) => {
            let (change, columns) = plan_delete(&delete)?;
            (Action::Change(Box::new(change)), columns)
        }
        Bound::Explain { analyze, statement } => {
            let statement = Box::new(plan(*statement, tables.clone())?);
            let column = OutputColumn { name: "QUERY PLAN".to_owned(), data_type: DataType::Text };
            (Action::Explain { analyze, statement }, vec![column])
        }
        Bound::Schema(change) => (Action::Schema(change), vec![]),
        Bound::Control(control) => (Action::Control(control), vec![]),
    };
    let columns =
        columns.into_iter().map(|column| ColumnMeta { name: column.name.into(), data_type: column.data_type });
    Ok(Prepared { action, tables, columns: columns.collect() })
}

fn locks(node: &Node) -> bool {
    match node {
        Node::OneRow | Node::Nothing { .. } | Node::Values { .. } => false,
        Node::Scan(scan) => scan.lock,
        Node::LookupJoin { outer, inner, .. } => inner.lock || locks(outer),
        Node::Filter { input, .. }
        | Node::Project { input, .. }
        | Node::Aggregate { input, .. }
        | Node::Sort { input, .. }
        | Node::Limit { input, .. }
        | Node::Distinct { input, .. } => locks(input),
        Node::HashJoin { left, right, .. }
        | Node::NestedLoopJoin { left, right, .. }
        | Node::SetOp { left, right, .. } => locks(left) || locks(right),
    }
}
