//! What INSERT, UPDATE and DELETE have in common: assignments, defaults, checks, RETURNING.

use super::from::table_relation;
use super::parse::syntax_error;
use super::scope::{Clause, Namespace, Scope};
use super::{Binder, coerce, names};
use crate::catalog::Table;
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{ColId, Expr};
use crate::exec::node::OutputColumn;
use sqlparser::ast::{self, SelectItem};

impl<'a> Binder<'a> {
    /// SET: positions in the table's columns, and new values; `None` is DEFAULT.
    pub(super) fn assignments(
        &mut self,
        table: &Table,
        assignments: &'a [ast::Assignment],
        namespace: &Namespace,
    ) -> Result<Vec<(usize, Option<Expr>)>> {
        let scope = Scope::new(namespace.clone(), Clause::Set);
        let bound = self.within(scope, |binder| {
            let mut bound: Vec<(usize, Option<Expr>)> = vec![];
            for assignment in assignments {
                match &assignment.target {
                    ast::AssignmentTarget::ColumnName(name) => {
                        bound.push(binder.assignment(table, name, &assignment.value)?);
                    }
                    ast::AssignmentTarget::Tuple(names) => {
                        bound.extend(binder.tuple_assignment(table, names, &assignment.value)?);
                    }
                }
            }
            Ok(bound)
        })?;
        for (index, (position, value)) in bound.iter().enumerate() {
            if value.is_some() {
                refuse_generated(table, *position)?;
            }
            if bound.iter().take(index).any(|(earlier, _)| earlier == position) {
                let name = table.columns.get(*position).map_or("", |column| column.name.as_str());
                return Err(syntax_error(format!("multiple assignments to same column \"{name}\"")).with_column(name));
            }
        }
        Ok(bound)
    }

    fn assignment(
        &mut self,
        table: &Table,
        name: &ast::ObjectName,
        value: &'a ast::Expr,
    ) -> Result<(usize, Option<Expr>)> {
        let position = target_position(table, name)?;
        if is_default(value) {
            return Ok((position, None));
        }
        let expr = self.expr(value)?;
        Ok((position, Some(assign_to(table, position, expr)?)))
    }

    /// `(a, b) = (1, 2)`, `(a, b) = ROW(1, 2)`, `(a, b) = (SELECT 1, 2)`
    fn tuple_assignment(
        &mut self,
        table: &Table,
        names: &[ast::ObjectName],
        value: &'a ast::Expr,
    ) -> Result<Vec<(usize, Option<Expr>)>> {
        if let ast::Expr::Subquery(query) = value {
            let mut bound = vec![];
            for (index, name) in names.iter().enumerate() {
                let position = target_position(table, name)?;
                let expr = self.scalar_subquery(query, index, names.len())?;
                bound.push((position, Some(assign_to(table, position, expr)?)));
            }
            return Ok(bound);
        }
        let fields = super::expr::row_fields(value).unwrap_or_else(|| match value {
            ast::Expr::Nested(inner) => vec![&**inner],
            other => vec![other],
        });
        if fields.len() != names.len() {
            return Err(syntax_error("number of columns does not match number of values"));
        }
        names.iter().zip(fields).map(|(name, value)| self.assignment(table, name, value)).collect()
    }

    /// RETURNING, over what is visible in `namespace`.
    pub(super) fn returning(
        &mut self,
        returning: Option<&'a Vec<SelectItem>>,
        namespace: Namespace,
    ) -> Result<Option<Vec<(Expr, OutputColumn)>>> {
        let Some(returning) = returning else { return Ok(None) };
        let scope = Scope::new(namespace, Clause::Returning);
        let items = self.within(scope, |binder| binder.items(returning))?;
        let columns = items.into_iter().map(|item| {
            let expr = coerce::settle(item.expr)?;
            let column = OutputColumn { name: item.name, data_type: expr.data_type.clone() };
            Ok((expr, column))
        });
        columns.collect::<Result<_>>().map(Some)
    }
}

/// The namespace of the target alone.
pub(super) fn target_namespace(table: &Table, row: &[ColId], alias: Option<String>) -> Namespace {
    Namespace::of(table_relation(table, row, alias))
}

/// The position of a column that is to be written. `t.c` is what PostgreSQL reads as a field of a column t.
pub(super) fn target_position(table: &Table, name: &ast::ObjectName) -> Result<usize> {
    let parts = names::parts(name)?;
    let column = match parts.as_slice() {
        [column] => column,
        [first, ..] => first,
        [] => return Err(Error::internal("a name without parts")),
    };
    match table.column_named(column) {
        Some((position, _)) if parts.len() == 1 => Ok(position),
        _ => Err(names::undefined_column_of(column, &table.name)),
    }
}

/// A value made to fit a column.
pub(super) fn assign_to(table: &Table, position: usize, expr: Expr) -> Result<Expr> {
    let column = table.columns.get(position).ok_or_else(|| Error::internal("a column's position"))?;
    coerce::assign(expr, &column.name, &column.data_type)
}

/// The keyword DEFAULT in place of a value.
pub(super) fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// A GENERATED ALWAYS column takes no value but its next number.
fn refuse_generated(table: &Table, position: usize) -> Result<()> {
    match table.columns.get(position) {
        Some(column) if column.identity.as_ref().is_some_and(|identity| identity.always) => {
            let message = format!("column \"{}\" can only be updated to DEFAULT", column.name);
            Err(Error::new(SqlState::GENERATED_ALWAYS, message)
                .with_detail(format!("Column \"{}\" is an identity column defined as GENERATED ALWAYS.", column.name))
                .with_column(column.name.as_str()))
        }
        _ => Ok(()),
    }
}
