//! SQL text to bound, typed statements.
//!
//! Text in PostgreSQL's dialect passes through [`parse`] (sqlparser, guarded by [`ParseLimits`]) and [`bind`], which resolves every name
//! against a [`SchemaView`], gives every expression its type by PostgreSQL's rules, inserts the casts that those imply, and yields the
//! logical tree of [`crate::plan::logical`]. Nothing later looks at names or at the syntax tree again.
//!
//! Where to find what:
//!
//! | file | idea |
//! |---|---|
//! | `parse` | limits, syntax errors, and making long chains of AND and OR shallow |
//! | `names`, `types`, `literals` | identifiers, type names, constants |
//! | `coerce`, `operators` | which types convert, and what operators take and give |
//! | `scope` | what a name means at some place, enclosing queries included |
//! | `expr` | expressions |
//! | `grouping`, `walk` | GROUP BY and aggregates; rewriting trees |
//! | `from`, `select`, `order`, `set_op` | queries |
//! | `insert`, `update`, `target` | data changes |
//! | `ddl`, `alter`, `control` | schema changes and the session |
//! | `stored` | defaults and checks that the catalog keeps as text |
//!
//! Invariants: every [`ColId`] is made once in a statement; an operand has the type that its operator takes, except that the integer
//! types (and the two of floating point, and text and varchar), which share a representation, are not cast to one another; no input
//! leads to a panic or to the end of the stack, since nesting is bounded by [`ParseLimits`] before anything recurses over it.

mod alter;
mod coerce;
mod control;
mod ddl;
mod expr;
mod from;
mod grouping;
mod insert;
mod literals;
mod names;
mod operators;
mod order;
mod parse;
mod scope;
mod select;
mod set_op;
mod statement;
mod stored;
mod target;
#[cfg(test)]
mod tests;
mod types;
mod update;
mod walk;

pub use parse::{ParseLimits, parse};
pub use stored::{bind_check, bind_default, bind_rules};

use crate::catalog::{SchemaView, Table};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{ColId, Expr};
use crate::plan::logical::Bound;
use crate::value::DataType;
use scope::{CommonTable, Scope};
use sqlparser::ast;
use std::sync::Arc;

/// A statement that has been bound.
#[derive(Clone, Debug)]
pub struct BoundStatement {
    /// What it means.
    pub bound: Bound,
    /// Each table that the binding relied on, once.
    pub tables: Vec<Arc<Table>>,
    /// How many parameters it takes: the highest `$n`.
    pub parameters: usize,
}

/// Resolves the names and types of a statement.
///
/// `parameters` are the types of `$1`, `$2`, ... as far as the values tell: [`DataType::Unknown`] for text and NULL, which then adopt the
/// type that their place asks for.
///
/// # Errors
/// Whatever is wrong with the statement, with PostgreSQL's SQLSTATE and words.
pub fn bind(statement: &ast::Statement, schema: &dyn SchemaView, parameters: &[DataType]) -> Result<BoundStatement> {
    let mut binder = Binder::new(schema, parameters);
    let bound = binder.bind_statement(statement)?;
    Ok(BoundStatement { bound, tables: binder.tables, parameters: binder.parameters_used })
}

/// The state of binding one statement.
struct Binder<'a> {
    schema: &'a dyn SchemaView,
    parameters: &'a [DataType],
    parameters_used: usize,
    tables: Vec<Arc<Table>>,
    next_column: u32,
    /// The queries around the place at hand, innermost last.
    scopes: Vec<Scope>,
    /// The names that WITH has given so far.
    common_tables: Vec<CommonTable<'a>>,
    depth: usize,
    nodes: usize,
}

impl<'a> Binder<'a> {
    fn new(schema: &'a dyn SchemaView, parameters: &'a [DataType]) -> Self {
        Self {
            schema,
            parameters,
            parameters_used: 0,
            tables: vec![],
            next_column: 0,
            scopes: vec![],
            common_tables: vec![],
            depth: 0,
            nodes: 0,
        }
    }

    /// A new column.
    fn new_column(&mut self) -> ColId {
        let id = ColId(self.next_column);
        self.next_column += 1;
        id
    }

    /// Notes that the binding relies on a table.
    fn rely_on(&mut self, table: &Arc<Table>) {
        if !self.tables.iter().any(|known| known.id == table.id) {
            self.tables.push(Arc::clone(table));
        }
    }

    /// Looks a table up.
    fn table(&mut self, name: &str) -> Result<Arc<Table>> {
        let table = self.schema.table(name).ok_or_else(|| names::undefined_table(name))?;
        self.rely_on(&table);
        Ok(table)
    }

    /// Counts a node of the statement against the limit. A common table that is used twice counts twice, so that a chain of them, each
    /// using the one before twice, can't grow without bounds.
    fn count_node(&mut self) -> Result<()> {
        self.nodes += 1;
        if self.nodes > ParseLimits::EXPRESSION_NODES_MAX {
            return Err(too_complex("expressions", ParseLimits::EXPRESSION_NODES_MAX));
        }
        Ok(())
    }

    /// A second copy of something bound, which counts like the first: nested constructs that each need their operand twice grow exponentially.
    fn copy(&mut self, expr: &Expr) -> Result<Expr> {
        self.count_copied(expr)?;
        Ok(expr.clone())
    }

    fn count_copied(&mut self, expr: &Expr) -> Result<()> {
        self.count_node()?;
        expr.children().into_iter().try_for_each(|child| self.count_copied(child))
    }

    /// Goes one level deeper, on a new piece of stack where the present one runs out.
    fn deeper<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        const STACK_LEFT_BYTES: usize = 256 << 10;
        const STACK_PIECE_BYTES: usize = 2 << 20;
        self.count_node()?;
        if self.depth >= ParseLimits::DEPTH_MAX {
            return Err(too_complex("levels of nesting", ParseLimits::DEPTH_MAX));
        }
        self.depth += 1;
        let result = stacker::maybe_grow(STACK_LEFT_BYTES, STACK_PIECE_BYTES, || step(self));
        self.depth -= 1;
        result
    }
}

/// The error where a statement exceeds one of [`ParseLimits`].
fn too_complex(what: &str, limit: usize) -> Error {
    Error::new(SqlState::STATEMENT_TOO_COMPLEX, format!("statement too complex: more than {limit} {what}"))
        .with_hint("Split the statement into simpler ones.")
}
