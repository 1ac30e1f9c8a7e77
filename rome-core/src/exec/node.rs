//! The executable plan: what `plan` makes and this stage runs. All expressions refer to slots of their input's row.

use super::expr::{AggregateCall, Expr, SortKey};
use crate::catalog::Table;
use crate::value::DataType;
use std::sync::Arc;

/// A relational operator with everything it needs to run.
#[derive(Clone, Debug)]
pub enum Node {
    /// One row without columns.
    OneRow,
    /// No rows (a filter that is known to be false), of so many columns.
    Nothing {
        /// Columns.
        width: usize,
    },
    /// Computed rows; expressions see no row (outer values and parameters they do).
    Values {
        /// The rows.
        rows: Vec<Vec<Expr>>,
    },
    /// Rows of a table by an access path.
    Scan(Scan),
    /// Rows for which the predicate is true.
    Filter {
        /// Input.
        input: Box<Node>,
        /// Over the input's row.
        predicate: Expr,
    },
    /// Computes a new row from each.
    Project {
        /// Input.
        input: Box<Node>,
        /// Over the input's row.
        exprs: Vec<Expr>,
    },
    /// For each batch of outer rows, fetches the matching inner rows by key or index in one read. The output row is outer then inner
    /// (outer alone for Semi and Anti).
    LookupJoin {
        /// Inner, Left, Semi or Anti.
        kind: JoinKind,
        /// The outer side.
        outer: Box<Node>,
        /// The inner table. Its access path's expressions are over the *outer* row; its filter is over the inner row alone.
        inner: Scan,
        /// What must hold besides, over outer then inner.
        on: Option<Expr>,
    },
    /// Builds a table of the right side, probes with the left. The output row is left then right (left alone for Semi and Anti).
    HashJoin {
        /// Any kind.
        kind: JoinKind,
        /// Probe side.
        left: Box<Node>,
        /// Build side.
        right: Box<Node>,
        /// Keys over the left row, of the same types as the right ones. NULL keys never match.
        left_keys: Vec<Expr>,
        /// Keys over the right row.
        right_keys: Vec<Expr>,
        /// What must hold besides, over left then right.
        on: Option<Expr>,
        /// Columns of the left and of the right side, for NULL padding.
        widths: (usize, usize),
    },
    /// Compares each pair; the right side is held in memory.
    NestedLoopJoin {
        /// Any kind.
        kind: JoinKind,
        /// Outer side.
        left: Box<Node>,
        /// Inner side.
        right: Box<Node>,
        /// Over left then right; `None` is true.
        on: Option<Expr>,
        /// Columns of the left and of the right side.
        widths: (usize, usize),
    },
    /// Groups by hash. The output row is the groups, then the aggregates. Without groups exactly one row.
    Aggregate {
        /// Input.
        input: Box<Node>,
        /// Over the input's row.
        groups: Vec<Expr>,
        /// Over the input's row.
        aggregates: Vec<AggregateCall>,
    },
    /// Sorts; keeps only the first `limit` where given (top-N).
    Sort {
        /// Input.
        input: Box<Node>,
        /// Over the input's row.
        keys: Vec<SortKey>,
        /// LIMIT plus OFFSET of the node above, over no row.
        limit: Option<Expr>,
    },
    /// Skips and stops.
    Limit {
        /// Input.
        input: Box<Node>,
        /// Rows at most: a bigint over no row, NULL for all.
        limit: Option<Expr>,
        /// Rows to skip.
        offset: Option<Expr>,
    },
    /// Removes duplicates, NULLs counted equal; keeps the first of each.
    Distinct {
        /// Input.
        input: Box<Node>,
        /// DISTINCT ON: by these expressions only; `None` is the whole row.
        on: Option<Vec<Expr>>,
    },
    /// UNION, INTERSECT, EXCEPT; both sides have the same types.
    SetOp {
        /// Which.
        op: SetOp,
        /// ALL
        all: bool,
        /// Left side.
        left: Box<Node>,
        /// Right side.
        right: Box<Node>,
    },
}

/// A scan of one table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The table.
    pub table: Arc<Table>,
    /// Positions in `table.columns` of the output row's columns.
    pub columns: Vec<usize>,
    /// How rows are found.
    pub access: Access,
    /// What each placement column equals, where that is known of all of them: rows are at the homes of these values' combinations, and nowhere
    /// else. As [`Access::prefix`]; `None` is every home of the table.
    pub placed: Option<Vec<Vec<Expr>>>,
    /// The prefix is a whole key with claims, by which its rows are found wherever they are ([`super::claims`]).
    pub by_claim: bool,
    /// Checked on each row, over the output columns.
    pub filter: Option<Expr>,
    /// Descending key order.
    pub reverse: bool,
    /// No more rows than this (after the filter) are needed: a hint for the size of reads, from LIMIT; over no row.
    pub row_goal: Option<Expr>,
    /// FOR UPDATE: the rows' versions are validated at commit even if nothing is written.
    pub lock: bool,
    /// The planner's estimate, for EXPLAIN.
    pub estimated_rows: f64,
}

/// Which key ranges of which order of the table are read.
#[derive(Clone, Debug)]
pub struct Access {
    /// Position in `table.indexes`; `None` is the primary key's order.
    pub index: Option<usize>,
    /// Values for the leading key columns; each term is one or more alternatives (`IN`), all combinations are read.
    /// Expressions have been cast to the column's type; NULL matches nothing.
    /// All key columns of the primary key or of a unique index given: a point look-up. None given and no bounds: a full scan.
    pub prefix: Vec<Vec<Expr>>,
    /// Lower bound for the key column after the prefix.
    pub lower: Option<KeyBound>,
    /// Upper bound for the key column after the prefix.
    pub upper: Option<KeyBound>,
}

/// One end of a range, in terms of values: `lower` is the smaller value also where the key column is descending.
/// A range with any bound excludes NULLs.
#[derive(Clone, Debug)]
pub struct KeyBound {
    /// The bound's value. NULL matches nothing.
    pub value: Expr,
    /// Whether the value itself is inside.
    pub inclusive: bool,
}

/// Join kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinKind {
    /// Matching pairs.
    Inner,
    /// And left rows without a match.
    Left,
    /// And right rows without a match.
    Right,
    /// And both.
    Full,
    /// Left rows with a match, once.
    Semi,
    /// Left rows without a match.
    Anti,
}

/// Set operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetOp {
    /// UNION
    Union,
    /// INTERSECT
    Intersect,
    /// EXCEPT
    Except,
}

/// A data-changing statement, ready to run.
#[derive(Clone, Debug)]
pub enum Change {
    /// INSERT
    Insert(Insert),
    /// UPDATE
    Update(Update),
    /// DELETE
    Delete(Delete),
}

/// INSERT.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The table.
    pub table: Arc<Table>,
    /// The rows: one value for each of `targets`, not yet coerced to the columns' types.
    pub source: Node,
    /// Positions in `table.columns` that the source's columns fill.
    pub targets: Vec<usize>,
    /// (row, target) pairs where VALUES said DEFAULT; the source holds NULL there.
    pub default_marks: Vec<(usize, usize)>,
    /// For each column of the table its default, over no row; identity columns have none here.
    pub defaults: Vec<Option<Expr>>,
    /// OVERRIDING SYSTEM VALUE
    pub overriding_system: bool,
    /// ON CONFLICT.
    pub on_conflict: Option<OnConflict>,
    /// The checks with their names, over the full row (all of `table.columns`).
    pub checks: Vec<(String, Expr)>,
    /// RETURNING, over the full row.
    pub returning: Option<Vec<Expr>>,
}

/// ON CONFLICT.
#[derive(Clone, Debug)]
pub struct OnConflict {
    /// Which uniqueness: `None` is any (DO NOTHING only).
    pub target: Option<ConflictTarget>,
    /// DO UPDATE; `None` is DO NOTHING.
    pub update: Option<ConflictUpdate>,
}

/// The uniqueness that ON CONFLICT names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConflictTarget {
    /// The primary key.
    PrimaryKey,
    /// Position in `table.indexes`.
    Index(usize),
}

/// DO UPDATE SET ... WHERE ...
#[derive(Clone, Debug)]
pub struct ConflictUpdate {
    /// Column positions and new values, over the existing full row followed by the excluded full row.
    pub assignments: Vec<(usize, Assignment)>,
    /// Over the existing row followed by the excluded row.
    pub predicate: Option<Expr>,
}

/// A new value for a column.
#[derive(Clone, Debug)]
pub enum Assignment {
    /// Computed; not yet coerced to the column's type.
    Expr(Expr),
    /// The column's default (its next number for an identity column).
    Default,
}

/// UPDATE.
#[derive(Clone, Debug)]
pub struct Update {
    /// The table.
    pub table: Arc<Table>,
    /// Rows to update: the full row of the target (all of `table.columns`), then what FROM adds. A target row that comes several
    /// times is updated once.
    pub source: Node,
    /// Column positions and new values, over the source's row.
    pub assignments: Vec<(usize, Assignment)>,
    /// As in [`Insert::defaults`].
    pub defaults: Vec<Option<Expr>>,
    /// The checks with their names, over the full new row.
    pub checks: Vec<(String, Expr)>,
    /// RETURNING, over the full new row followed by what FROM adds.
    pub returning: Option<Vec<Expr>>,
}

/// DELETE.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The table.
    pub table: Arc<Table>,
    /// Rows to delete: the full row of the target, then what USING adds.
    pub source: Node,
    /// RETURNING, over the source's row.
    pub returning: Option<Vec<Expr>>,
}

/// A column of a statement's result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutputColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
}
