//! Whether a row of a table belongs to a result, and what it is there: for results in which each row follows from one row of a table.

use super::eval::{Scope, evaluate, holds};
use super::expr::Expr;
use super::functions::CallContext;
use crate::error::Result;
use crate::value::Value;

/// A condition and what is made of the rows for which it holds. Without subqueries.
#[derive(Clone, Debug)]
pub struct RowMatch {
    /// Positions in the table's row of the columns that the expressions see, in this order.
    pub positions: Vec<usize>,
    /// All must be true.
    pub filters: Vec<Expr>,
    /// The columns of the result.
    pub output: Vec<Expr>,
}

impl RowMatch {
    /// What a row of the table is in the result; `None` where it is not part of it.
    ///
    /// # Errors
    /// Those of the expressions.
    pub fn of(&self, row: &[Value], params: &[Value], calls: &CallContext) -> Result<Option<Vec<Value>>> {
        let seen: Vec<Value> =
            self.positions.iter().map(|position| row.get(*position).cloned().unwrap_or(Value::Null)).collect();
        let scope = Scope::new(params, &[], calls);
        for filter in &self.filters {
            if !holds(filter, &seen, &scope)? {
                return Ok(None);
            }
        }
        self.output.iter().map(|expr| evaluate(expr, &seen, &scope)).collect::<Result<_>>().map(Some)
    }
}
