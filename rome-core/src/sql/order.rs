//! ORDER BY.
//!
//! A key is a column of the projection below the sort: one of the result's, or an extra one that is not part of the result.

use super::grouping::{Item, index_at, named_item};
use super::{Binder, coerce, names, operators, walk};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{Expr, SortKey};
use crate::plan::logical::{Query, Rel};
use crate::value::DataType;
use sqlparser::ast;

/// One key.
pub(super) struct Key {
    /// Position among the items, then the extra columns.
    pub column: usize,
    descending: bool,
    nulls_first: bool,
}

impl Key {
    /// Over the columns of the projection.
    pub fn over(&self, columns: &[Expr]) -> Result<SortKey> {
        let expr = columns.get(self.column).cloned().ok_or_else(|| Error::internal("a sort key"))?;
        Ok(SortKey { expr, descending: self.descending, nulls_first: self.nulls_first })
    }
}

/// The keys of a SELECT, and the columns that they need besides the result's.
pub(super) struct Keys {
    pub keys: Vec<Key>,
    /// Over the rows of FROM; numbered after the items.
    pub extra: Vec<Expr>,
    items: usize,
}

impl Keys {
    /// None, for a list of so many items.
    pub fn new(items: usize) -> Self {
        Self { keys: vec![], extra: vec![], items }
    }
}

impl<'a> Binder<'a> {
    /// Binds ORDER BY of a plain SELECT.
    pub(super) fn sort_keys(&mut self, order_by: &'a ast::OrderBy, items: &[Item], keys: &mut Keys) -> Result<()> {
        for order in order_exprs(order_by)? {
            let column = self.order_target(&order.expr, items, keys, "ORDER BY")?;
            let data_type = match column.checked_sub(items.len()) {
                None => items.get(column).map(|item| &item.expr.data_type),
                Some(extra) => keys.extra.get(extra).map(|expr| &expr.data_type),
            };
            data_type.map_or(Ok(()), check_order)?;
            keys.keys.push(key(column, &order.options)?);
        }
        Ok(())
    }

    /// The column that an expression of ORDER BY or DISTINCT ON means: a name of the result, a position in it, or anything over FROM.
    pub(super) fn order_target(
        &mut self,
        expr: &'a ast::Expr,
        items: &[Item],
        keys: &mut Keys,
        clause: &str,
    ) -> Result<usize> {
        if let Some(digits) = constant_position(expr, clause)? {
            return index_at(items.len(), digits, clause);
        }
        if let ast::Expr::Identifier(ident) = expr {
            let name = names::fold(ident);
            if named_item(items, &name, clause)?.is_some()
                && let Some(position) = items.iter().position(|item| item.name == name)
            {
                return Ok(position);
            }
        }
        let expr = self.settled(expr)?;
        if let Some(position) = items.iter().position(|item| walk::same(&item.expr, &expr)) {
            return Ok(position);
        }
        if let Some(position) = keys.extra.iter().position(|known| walk::same(known, &expr)) {
            return Ok(keys.items + position);
        }
        keys.extra.push(expr);
        Ok(keys.items + keys.extra.len() - 1)
    }

    /// ORDER BY over the result of a set operation or VALUES: names and positions only.
    pub(super) fn order_by_output(&mut self, query: Query, order_by: Option<&'a ast::OrderBy>) -> Result<Query> {
        let Some(order_by) = order_by else { return Ok(query) };
        let mut columns = vec![];
        let mut items = vec![];
        for (id, column) in &query.output {
            let expr = Expr::column(*id, column.data_type.clone());
            items.push(Item { name: column.name.clone(), expr: expr.clone() });
            columns.push(expr);
        }
        let mut keys = vec![];
        for order in order_exprs(order_by)? {
            let column = match (&order.expr, constant_position(&order.expr, "ORDER BY")?) {
                (_, Some(digits)) => index_at(items.len(), digits, "ORDER BY")?,
                (ast::Expr::Identifier(ident), None) => {
                    let name = names::fold(ident);
                    named_item(&items, &name, "ORDER BY")?;
                    items.iter().position(|item| item.name == name).ok_or_else(|| {
                        Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"))
                            .with_column(name.as_str())
                    })?
                }
                _ => {
                    return Err(Error::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        "invalid UNION/INTERSECT/EXCEPT ORDER BY clause",
                    )
                    .with_detail("Only result column names can be used, not expressions or functions.")
                    .with_hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause."));
                }
            };
            keys.push(key(column, &order.options)?.over(&columns)?);
        }
        keys.iter().try_for_each(|key| check_order(&key.expr.data_type))?;
        let settled = keys.into_iter().map(|key| Ok(SortKey { expr: coerce::settle(key.expr)?, ..key }));
        let keys = settled.collect::<Result<_>>()?;
        Ok(Query { rel: Rel::Sort { input: Box::new(query.rel), keys }, output: query.output })
    }
}

fn order_exprs(order_by: &ast::OrderBy) -> Result<&[ast::OrderByExpr]> {
    match &order_by.kind {
        ast::OrderByKind::Expressions(exprs) if order_by.interpolate.is_none() => Ok(exprs),
        _ => Err(Error::unsupported("this form of ORDER BY")),
    }
}

/// The digits of a position.
fn constant_position<'e>(expr: &'e ast::Expr, clause: &str) -> Result<Option<&'e str>> {
    let ast::Expr::Value(value) = expr else { return Ok(None) };
    match &value.value {
        ast::Value::Number(digits, _) => Ok(Some(digits)),
        ast::Value::Placeholder(_) => Ok(None),
        _ => Err(Error::new(SqlState::SYNTAX_ERROR, format!("non-integer constant in {clause}"))),
    }
}

fn key(column: usize, options: &ast::OrderByOptions) -> Result<Key> {
    let descending = match &options.sort {
        None | Some(ast::OrderBySort::Asc) => false,
        Some(ast::OrderBySort::Desc) => true,
        Some(ast::OrderBySort::Using(_)) => return Err(Error::unsupported("ORDER BY ... USING")),
    };
    // NULL counts as greater than everything.
    Ok(Key { column, descending, nulls_first: options.nulls_first.unwrap_or(descending) })
}

fn check_order(data_type: &DataType) -> Result<()> {
    if operators::has_order(data_type) {
        return Ok(());
    }
    Err(Error::new(
        SqlState::UNDEFINED_FUNCTION,
        format!("could not identify an ordering operator for type {data_type}"),
    ))
}
