//! Defaults and checks, which the catalog keeps as SQL text.

use super::from::table_relation;
use super::parse::{operands, syntax_error};
use super::scope::{Clause, Namespace, Relation, Scope};
use super::{Binder, coerce, parse};
use crate::catalog::{Column, SchemaView, Table, TableId};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{ColId, Expr};
use crate::plan::logical::BoundRules;
use crate::topology::Topology;
use crate::value::DataType;
use sqlparser::ast::{self, BinaryOperator, SelectItem, SetExpr, Statement};
use std::sync::Arc;

/// Binds the text of a default for a column, over no row; `None` for a column without one.
///
/// # Errors
/// Where the text is no expression, mentions columns, or does not convert to the column's type (42804).
pub fn bind_default(column: &Column) -> Result<Option<Expr>> {
    let Some(text) = &column.default else { return Ok(None) };
    default_of_type(text, &column.name, &column.data_type).map(Some)
}

/// Binds the text of a CHECK constraint over a table's columns, which have these ids by position.
///
/// # Errors
/// Where the text is no condition over the columns.
pub fn bind_check(text: &str, table: &Table, row: &[ColId]) -> Result<Expr> {
    check_over(text, table_relation(table, row, None)).map(|(expr, _)| expr)
}

/// Binds what a table asks of its rows.
///
/// # Errors
/// Where a stored text does not bind.
pub fn bind_rules(table: &Table) -> Result<BoundRules> {
    let row: Vec<ColId> = (0..).map(ColId).take(table.columns.len()).collect();
    let checks = bind_checks(table, &row)?;
    let defaults = bind_defaults(table)?;
    Ok(BoundRules { row, checks, defaults })
}

/// The defaults of a table's columns, by position.
pub(super) fn bind_defaults(table: &Table) -> Result<Vec<Option<Expr>>> {
    table.columns.iter().map(bind_default).collect()
}

/// The checks of a table, over the row of these ids.
pub(super) fn bind_checks(table: &Table, row: &[ColId]) -> Result<Vec<(String, Expr)>> {
    let checks = table.checks.iter().map(|check| Ok((check.name.clone(), bind_check(&check.expression, table, row)?)));
    checks.collect()
}

/// Binds a default for a column of a type.
pub(super) fn default_of_type(text: &str, column: &str, data_type: &DataType) -> Result<Expr> {
    let statement = expression_statement(text)?;
    let mut binder = Binder::new(&NoTables, &[]);
    let scope = Scope::new(Namespace::default(), Clause::Default);
    let expr = binder.within(scope, |binder| binder.expr(expression(&statement)?))?;
    refuse_parameters(&binder)?;
    coerce::assign(expr, column, data_type).map_err(|error| {
        if error.state() != SqlState::DATATYPE_MISMATCH {
            return error;
        }
        let message = error.message().replace(" but expression is", " but default expression is");
        Error::new(SqlState::DATATYPE_MISMATCH, message).with_hint("You will need to rewrite or cast the expression.")
    })
}

/// Binds a check over a relation; gives also the names of the columns that it mentions.
pub(super) fn check_over(text: &str, relation: Relation) -> Result<(Expr, Vec<String>)> {
    let statement = expression_statement(text)?;
    let columns = relation.columns.clone();
    let mut binder = Binder::new(&NoTables, &[]);
    let scope = Scope::new(Namespace::of(relation), Clause::Check);
    let expr = binder.within(scope, |binder| binder.condition(expression(&statement)?, "CHECK"))?;
    refuse_parameters(&binder)?;
    let mut used = vec![];
    super::walk::columns_of(&expr, &mut used);
    let mentioned = columns.iter().filter(|column| {
        let mut own = vec![];
        super::walk::columns_of(&column.expr, &mut own);
        own.iter().any(|id| used.contains(id))
    });
    let mentioned = mentioned.map(|column| column.name.clone()).collect();
    Ok((expr, mentioned))
}

fn refuse_parameters(binder: &Binder<'_>) -> Result<()> {
    match binder.parameters_used {
        0 => Ok(()),
        number => Err(Error::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter ${number}"))),
    }
}

/// An expression's text as a statement around it: the parser reads statements.
fn expression_statement(text: &str) -> Result<Statement> {
    let mut statements = parse(&format!("SELECT ({text})"))?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => Err(syntax_error("syntax error: not an expression")),
    }
}

fn expression(statement: &Statement) -> Result<&ast::Expr> {
    if let Statement::Query(query) = statement
        && let SetExpr::Select(select) = &*query.body
        && let [SelectItem::UnnamedExpr(expr)] = select.projection.as_slice()
        && select.from.is_empty()
    {
        return Ok(expr);
    }
    Err(syntax_error("syntax error: not an expression"))
}

/// The text of an expression of the syntax tree, as the catalog keeps it.
pub(super) fn text_of(expr: &ast::Expr) -> String {
    // A long chain is written without the brackets that balancing it has implied.
    match expr {
        ast::Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } => {
            let parts: Vec<String> = operands(expr.clone(), op).iter().map(ast::Expr::to_string).collect();
            parts.join(&format!(" {op} "))
        }
        other => other.to_string(),
    }
}

/// Defaults and checks see no tables.
struct NoTables;

impl SchemaView for NoTables {
    fn table(&self, _name: &str) -> Option<Arc<Table>> {
        None
    }

    fn table_by_id(&self, _id: TableId) -> Option<Arc<Table>> {
        None
    }

    fn topology(&self) -> Arc<Topology> {
        Arc::new(Topology::single(""))
    }
}
