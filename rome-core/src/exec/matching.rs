//! Whether a row of a table belongs to a result, and what it is there: for results in which each row follows from one row of a table.
//!
//! Most rows do not: only the columns that the condition needs are decoded to find that out.

use super::eval::{Scope, evaluate, holds};
use super::expr::{Expr, ExprKind};
use super::functions::CallContext;
use super::keys::decode_column;
use crate::catalog::Table;
use crate::encoding::RowReader;
use crate::error::{Error, Result};
use crate::value::Value;
use bytes::Bytes;
use std::collections::BTreeSet;

/// A condition and what is made of the rows for which it holds. Without subqueries.
#[derive(Clone, Debug)]
pub struct RowMatch {
    /// Positions in the table's row of the columns that the expressions see, in this order.
    positions: Vec<usize>,
    /// All must be true.
    filters: Vec<Expr>,
    /// The slots that `filters` need, and the others that `output` needs.
    needed: [Vec<usize>; 2],
    /// The columns of the result.
    output: Vec<Expr>,
}

impl RowMatch {
    /// Rows for which all `filters` hold, as `output`; slots of both are of the columns at these positions of the table.
    pub fn new(positions: Vec<usize>, filters: Vec<Expr>, output: Vec<Expr>) -> Self {
        let (mut first, mut all) = (BTreeSet::new(), BTreeSet::new());
        filters.iter().for_each(|expr| slots(expr, &mut first));
        output.iter().for_each(|expr| slots(expr, &mut all));
        let rest = all.difference(&first).copied().collect();
        Self { positions, filters, needed: [first.into_iter().collect(), rest], output }
    }

    /// What a stored row of the table is in the result; `None` where it is not part of it.
    ///
    /// # Errors
    /// Those of the expressions; XX001 where the bytes are no row.
    pub fn of(
        &self,
        table: &Table,
        stored: &Bytes,
        params: &[Value],
        calls: &CallContext,
    ) -> Result<Option<Vec<Value>>> {
        let reader = RowReader::new(stored)?;
        let mut seen = vec![Value::Null; self.positions.len()];
        let scope = Scope::new(params, &[], calls);
        let [first, rest] = &self.needed;
        self.decode(table, &reader, first, &mut seen)?;
        if !self.all_hold(&seen, &scope)? {
            return Ok(None);
        }
        self.decode(table, &reader, rest, &mut seen)?;
        self.output.iter().map(|expr| evaluate(expr, &seen, &scope)).collect::<Result<_>>().map(Some)
    }

    fn decode(&self, table: &Table, reader: &RowReader<'_>, slots: &[usize], seen: &mut [Value]) -> Result<()> {
        for slot in slots {
            let column = self.positions.get(*slot).and_then(|position| table.columns.get(*position));
            let column = column.ok_or_else(|| Error::internal("a watched column that the table does not have"))?;
            if let Some(value) = seen.get_mut(*slot) {
                *value = decode_column(reader, column)?;
            }
        }
        Ok(())
    }

    fn all_hold(&self, seen: &[Value], scope: &Scope<'_>) -> Result<bool> {
        for filter in &self.filters {
            if !holds(filter, seen, scope)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn slots(expr: &Expr, into: &mut BTreeSet<usize>) {
    if let ExprKind::Slot(slot) = expr.kind {
        into.insert(slot);
    }
    expr.children().into_iter().for_each(|child| slots(child, into));
}
