//! Defaults and checks as DDL sees them: bound for their errors, kept as text.

use crate::catalog::Table;
use crate::error::{Error, Result};
use crate::exec::expr::{ColId, Expr, ExprKind};
use crate::exec::functions::Volatility;
use crate::sql;
use sqlparser::ast::{Expr as Ast, Ident, visit_expressions_mut};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Checks that all defaults of a table are expressions of their columns' types.
pub(super) fn check_defaults(table: &Table) -> Result<()> {
    table.columns.iter().try_for_each(|column| sql::bind_default(column).map(drop))
}

/// Checks that a text is a condition over a table's columns.
pub(super) fn check_condition(text: &str, table: &Table) -> Result<()> {
    let row: Vec<ColId> = (0..).map(ColId).take(table.columns.len()).collect();
    sql::bind_check(text, table, &row).map(drop)
}

/// Whether a default gives another value with each call.
pub(super) fn is_volatile(table: &Table, column: &str) -> Result<bool> {
    let column = table.columns.iter().find(|found| found.name == column);
    let bound = column.map(sql::bind_default).transpose()?.flatten();
    Ok(bound.is_some_and(|expr| calls_volatile(&expr)))
}

fn calls_volatile(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Call(function, _) if function.volatility == Volatility::Volatile)
        || expr.children().into_iter().any(calls_volatile)
}

/// The text of a check with a column renamed.
pub(super) fn renamed(text: &str, from: &str, to: &str) -> Result<String> {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_expr());
    let mut expression = parsed.map_err(|error| Error::internal(format!("a stored expression is no SQL: {error}")))?;
    let same = |ident: &Ident| match ident.quote_style {
        Some(_) => ident.value == from,
        None => ident.value.to_lowercase() == from,
    };
    let _ = visit_expressions_mut(&mut expression, |expr: &mut Ast| {
        match expr {
            Ast::Identifier(ident) if same(ident) => *ident = Ident::with_quote('"', to),
            Ast::CompoundIdentifier(parts) => {
                if let Some(last) = parts.last_mut().filter(|last| same(last)) {
                    *last = Ident::with_quote('"', to);
                }
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(expression.to_string())
}
