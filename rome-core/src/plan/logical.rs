//! The logical tree: what a bound query means, before anything is decided about how to run it. `sql` builds it, `plan` consumes it.
//!
//! Every column of every relation has a statement-wide [`ColId`], so that moving filters and reordering joins renumbers nothing. A reference to
//! a column of an enclosing query (correlation) is simply a `Column` whose id no relation of the subquery produces.

use crate::catalog::Table;
pub use crate::catalog::{AlterAction, NewColumn, NewForeignKey, NewIndex, NewTable, SchemaChange};
use crate::exec::expr::{AggregateCall, ColId, Expr, LogicalBody, SortKey};
use crate::exec::node::{ConflictTarget, JoinKind, OutputColumn, SetOp};
use std::sync::Arc;

/// A relational expression over columns with statement-wide ids.
#[derive(Clone, Debug)]
pub enum Rel {
    /// One row without columns (`SELECT 1`).
    OneRow,
    /// Literal rows.
    Values {
        /// Ids of the columns.
        columns: Vec<ColId>,
        /// The rows, each expression already cast to the column's common type.
        rows: Vec<Vec<Expr>>,
    },
    /// A table.
    Scan {
        /// The table.
        table: Arc<Table>,
        /// For each column used or usable: its id and its position in `table.columns`. May list all; the planner prunes.
        columns: Vec<(ColId, usize)>,
        /// The name by which the statement knows it, for EXPLAIN.
        alias: String,
        /// FOR UPDATE or FOR SHARE.
        lock: bool,
    },
    /// WHERE, HAVING.
    Filter {
        /// Input.
        input: Box<Rel>,
        /// A boolean.
        predicate: Expr,
    },
    /// Computes columns; produces exactly these.
    Project {
        /// Input.
        input: Box<Rel>,
        /// Id and expression of each output column.
        exprs: Vec<(ColId, Expr)>,
    },
    /// A join. Produces the left columns then the right (Semi and Anti: the left).
    Join {
        /// Its kind.
        kind: JoinKind,
        /// Left side.
        left: Box<Rel>,
        /// Right side.
        right: Box<Rel>,
        /// The condition; `None` for CROSS JOIN. USING and NATURAL have been rewritten.
        on: Option<Expr>,
    },
    /// GROUP BY. Produces the groups, then the aggregates.
    Aggregate {
        /// Input.
        input: Box<Rel>,
        /// Id and expression of each group.
        groups: Vec<(ColId, Expr)>,
        /// Id and call of each aggregate.
        aggregates: Vec<(ColId, AggregateCall)>,
    },
    /// DISTINCT, or DISTINCT ON.
    Distinct {
        /// Input.
        input: Box<Rel>,
        /// DISTINCT ON.
        on: Option<Vec<Expr>>,
    },
    /// ORDER BY.
    Sort {
        /// Input.
        input: Box<Rel>,
        /// The keys.
        keys: Vec<SortKey>,
    },
    /// LIMIT and OFFSET: bigint expressions over no row.
    Limit {
        /// Input.
        input: Box<Rel>,
        /// At most so many; NULL is all.
        limit: Option<Expr>,
        /// Skip so many.
        offset: Option<Expr>,
    },
    /// UNION, INTERSECT, EXCEPT. Both sides have been projected to the common types.
    SetOp {
        /// Which.
        op: SetOp,
        /// ALL
        all: bool,
        /// Left side.
        left: Box<Rel>,
        /// Right side.
        right: Box<Rel>,
        /// Ids of the result's columns, by position.
        columns: Vec<ColId>,
    },
}

impl Rel {
    /// The columns that it produces, in order.
    pub fn columns(&self) -> Vec<ColId> {
        match self {
            Self::OneRow => vec![],
            Self::Values { columns, .. } | Self::SetOp { columns, .. } => columns.clone(),
            Self::Scan { columns, .. } => columns.iter().map(|(id, _)| *id).collect(),
            Self::Project { exprs, .. } => exprs.iter().map(|(id, _)| *id).collect(),
            Self::Filter { input, .. }
            | Self::Distinct { input, .. }
            | Self::Sort { input, .. }
            | Self::Limit { input, .. } => input.columns(),
            Self::Join { kind: JoinKind::Semi | JoinKind::Anti, left, .. } => left.columns(),
            Self::Join { left, right, .. } => {
                let mut columns = left.columns();
                columns.extend(right.columns());
                columns
            }
            Self::Aggregate { groups, aggregates, .. } => {
                groups.iter().map(|(id, _)| *id).chain(aggregates.iter().map(|(id, _)| *id)).collect()
            }
        }
    }
}

/// A bound query: a tree, and which of its columns are the result.
#[derive(Clone, Debug)]
pub struct Query {
    /// The tree.
    pub rel: Rel,
    /// The result's columns: id in `rel`, name and type.
    pub output: Vec<(ColId, OutputColumn)>,
}

impl LogicalBody for Query {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// A bound statement.
#[derive(Clone, Debug)]
pub enum Bound {
    /// SELECT, VALUES, set operations.
    Query(Query),
    /// INSERT.
    Insert(BoundInsert),
    /// UPDATE.
    Update(BoundUpdate),
    /// DELETE.
    Delete(BoundDelete),
    /// `EXPLAIN [ANALYZE]`.
    Explain {
        /// Run it, and report what was measured.
        analyze: bool,
        /// What to explain.
        statement: Box<Bound>,
    },
    /// DDL.
    Schema(SchemaChange),
    /// BEGIN, COMMIT, SAVEPOINT and so on, as text.
    Control(Control),
}

/// INSERT as bound.
#[derive(Clone, Debug)]
pub struct BoundInsert {
    /// The table.
    pub table: Arc<Table>,
    /// Positions of the target columns.
    pub targets: Vec<usize>,
    /// The rows, one column for each target, in the order of `source.output`.
    pub source: Query,
    /// (row, target) where VALUES said DEFAULT.
    pub default_marks: Vec<(usize, usize)>,
    /// For each column of the table its default; no row is visible.
    pub defaults: Vec<Option<Expr>>,
    /// OVERRIDING SYSTEM VALUE
    pub overriding_system: bool,
    /// ON CONFLICT.
    pub on_conflict: Option<BoundOnConflict>,
    /// The checks with their names, over `row`.
    pub checks: Vec<(String, Expr)>,
    /// Ids of the full row's columns, by position in `table.columns`: what `checks`, `returning` and ON CONFLICT mean by the table's columns.
    pub row: Vec<ColId>,
    /// Ids of the columns of `excluded`.
    pub excluded: Vec<ColId>,
    /// RETURNING.
    pub returning: Option<Vec<(Expr, OutputColumn)>>,
}

/// A column's position and its new value; `None` is DEFAULT.
pub type BoundAssignment = (usize, Option<Expr>);

/// ON CONFLICT as bound.
#[derive(Clone, Debug)]
pub struct BoundOnConflict {
    /// Which uniqueness.
    pub target: Option<ConflictTarget>,
    /// DO UPDATE: assignments by column position (`None` is DEFAULT), and WHERE; over `row` and `excluded`.
    pub update: Option<(Vec<BoundAssignment>, Option<Expr>)>,
}

/// UPDATE as bound.
#[derive(Clone, Debug)]
pub struct BoundUpdate {
    /// The table.
    pub table: Arc<Table>,
    /// Ids of the full row's columns, by position in `table.columns`; `source` produces all of them.
    pub row: Vec<ColId>,
    /// The target's scan (listing all columns), joined with FROM, filtered by WHERE.
    pub source: Rel,
    /// New values by column position (`None` is DEFAULT), over the source's columns.
    pub assignments: Vec<(usize, Option<Expr>)>,
    /// As in [`BoundInsert::defaults`].
    pub defaults: Vec<Option<Expr>>,
    /// Over `row`, meaning the new row.
    pub checks: Vec<(String, Expr)>,
    /// RETURNING, over `row` (the new row) and the other columns of the source.
    pub returning: Option<Vec<(Expr, OutputColumn)>>,
}

/// What a table asks of its rows, as bound without a statement.
#[derive(Clone, Debug)]
pub struct BoundRules {
    /// Ids of the row's columns, by position.
    pub row: Vec<ColId>,
    /// The checks with their names, over `row`.
    pub checks: Vec<(String, Expr)>,
    /// The defaults by position, over no row.
    pub defaults: Vec<Option<Expr>>,
}

/// DELETE as bound.
#[derive(Clone, Debug)]
pub struct BoundDelete {
    /// The table.
    pub table: Arc<Table>,
    /// Ids of the full row's columns, by position; `source` produces all of them.
    pub row: Vec<ColId>,
    /// The target's scan, joined with USING, filtered by WHERE.
    pub source: Rel,
    /// RETURNING.
    pub returning: Option<Vec<(Expr, OutputColumn)>>,
}

/// Statements that steer a session.
#[derive(Clone, PartialEq, Debug)]
pub enum Control {
    /// BEGIN / START TRANSACTION
    Begin {
        /// READ ONLY
        read_only: bool,
    },
    /// COMMIT
    Commit,
    /// ROLLBACK
    Rollback,
    /// SAVEPOINT
    Savepoint(String),
    /// RELEASE
    Release(String),
    /// ROLLBACK TO
    RollbackTo(String),
    /// SET name = value (`None` is DEFAULT)
    Set(String, Option<String>),
    /// SHOW name
    Show(String),
}
