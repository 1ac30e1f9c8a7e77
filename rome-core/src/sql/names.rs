//! Identifiers, names of relations, and the names that PostgreSQL gives to the columns of a result.

use super::types::type_label;
use crate::error::{Error, Result, SqlState};
use sqlparser::ast::{self, Expr, Ident, ObjectName, ObjectNamePart, SelectItem, SetExpr};

/// An identifier as it is stored: folded to lower case unless quoted.
pub(super) fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The parts of a name, folded.
pub(super) fn parts(name: &ObjectName) -> Result<Vec<String>> {
    let parts = name.0.iter().map(|part| match part {
        ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
        ObjectNamePart::Function(_) => Err(Error::unsupported("a function in place of a name")),
    });
    parts.collect()
}

/// Words that PostgreSQL reserves and that therefore name nothing unless they are quoted. The parser is more lenient.
const RESERVED: [&str; 24] = [
    "all",
    "and",
    "as",
    "case",
    "check",
    "create",
    "distinct",
    "else",
    "end",
    "except",
    "from",
    "group",
    "having",
    "intersect",
    "into",
    "limit",
    "not",
    "on",
    "or",
    "order",
    "select",
    "then",
    "union",
    "where",
];

/// The name of a table or index: plain, or in the schema `public`.
pub(super) fn relation(name: &ObjectName) -> Result<String> {
    if let Some(ObjectNamePart::Identifier(Ident { value, quote_style: None, .. })) = name.0.last()
        && RESERVED.contains(&value.to_lowercase().as_str())
    {
        return Err(Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{value}\"")));
    }
    let mut parts = parts(name)?;
    match (parts.pop(), parts.as_slice()) {
        (Some(name), []) => Ok(name),
        (Some(name), [schema]) if schema == "public" => Ok(name),
        (Some(name), _) => Err(undefined_table(&format!("{}.{name}", parts.join(".")))),
        (None, _) => Err(Error::internal("a name without parts")),
    }
}

/// The name of a function: plain, or in `pg_catalog`.
pub(super) fn function(name: &ObjectName) -> Result<String> {
    let mut parts = parts(name)?;
    match (parts.pop(), parts.as_slice()) {
        (Some(name), []) => Ok(name),
        (Some(name), [schema]) if schema == "pg_catalog" || schema == "public" => Ok(name),
        (Some(name), _) => {
            Err(Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {}.{name} does not exist", parts.join("."))))
        }
        (None, _) => Err(Error::internal("a name without parts")),
    }
}

/// A name that can only be one identifier, of a column or constraint.
pub(super) fn single(name: &ObjectName) -> Result<String> {
    let mut parts = parts(name)?;
    match (parts.pop(), parts.is_empty()) {
        (Some(name), true) => Ok(name),
        (Some(name), false) => Err(Error::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{}\" does not exist", parts.first().map_or(name.as_str(), String::as_str)),
        )),
        (None, _) => Err(Error::internal("a name without parts")),
    }
}

/// 42P01
pub(super) fn undefined_table(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist")).with_table(name)
}

/// 42703 for a column of a known table.
pub(super) fn undefined_column_of(column: &str, table: &str) -> Error {
    Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{column}\" of relation \"{table}\" does not exist"))
        .with_table(table)
        .with_column(column)
}

/// How strongly an expression suggests a name: a type's name gives way to a column's or function's.
enum Suggestion {
    None,
    Weak(String),
    Strong(String),
}

/// The name of a result's column, where no alias gives one.
pub(super) fn output_name(expr: &Expr) -> String {
    match suggestion(expr) {
        Suggestion::Strong(name) | Suggestion::Weak(name) => name,
        Suggestion::None => "?column?".to_owned(),
    }
}

fn suggestion(expr: &Expr) -> Suggestion {
    let strong = |name: &str| Suggestion::Strong(name.to_owned());
    match expr {
        Expr::Identifier(ident) => Suggestion::Strong(fold(ident)),
        Expr::CompoundIdentifier(idents) => {
            idents.last().map_or(Suggestion::None, |ident| Suggestion::Strong(fold(ident)))
        }
        Expr::CompoundFieldAccess { root, .. } => suggestion(root),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => suggestion(inner),
        Expr::Cast { expr, data_type, .. } => match suggestion(expr) {
            Suggestion::Strong(name) => Suggestion::Strong(name),
            _ => type_label(data_type).map_or(Suggestion::None, Suggestion::Weak),
        },
        Expr::TypedString(typed) => type_label(&typed.data_type).map_or(Suggestion::None, Suggestion::Weak),
        Expr::Interval(_) => Suggestion::Weak("interval".to_owned()),
        Expr::Value(value) if matches!(value.value, ast::Value::Boolean(_)) => Suggestion::Weak("bool".to_owned()),
        Expr::Case { else_result, .. } => match else_result.as_deref().map(suggestion) {
            Some(Suggestion::Strong(name)) => Suggestion::Strong(name),
            _ => Suggestion::Weak("case".to_owned()),
        },
        Expr::Function(function) => match function.name.0.last() {
            Some(ObjectNamePart::Identifier(ident)) => Suggestion::Strong(fold(ident)),
            _ => Suggestion::None,
        },
        Expr::Exists { .. } => strong("exists"),
        Expr::Array(_) => strong("array"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Substring { shorthand, .. } => strong(if *shorthand { "substr" } else { "substring" }),
        Expr::Position { .. } => strong("position"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Trim { trim_where, .. } => match trim_where {
            Some(ast::TrimWhereField::Leading) => strong("ltrim"),
            Some(ast::TrimWhereField::Trailing) => strong("rtrim"),
            _ => strong("btrim"),
        },
        Expr::Tuple(_) => strong("row"),
        Expr::Subquery(query) => subquery_name(query),
        _ => Suggestion::None,
    }
}

/// A scalar subquery takes the name of its column.
fn subquery_name(query: &ast::Query) -> Suggestion {
    let mut body = &*query.body;
    loop {
        match body {
            SetExpr::Select(select) => {
                return match select.projection.first() {
                    Some(SelectItem::ExprWithAlias { alias, .. }) => Suggestion::Strong(fold(alias)),
                    Some(SelectItem::UnnamedExpr(expr)) => suggestion(expr),
                    _ => Suggestion::None,
                };
            }
            SetExpr::Query(query) => body = &query.body,
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return Suggestion::None,
        }
    }
}
