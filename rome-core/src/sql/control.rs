//! Statements that steer the session.

use super::names;
use crate::error::{Error, Result};
use crate::plan::logical::Control;
use sqlparser::ast::{self, Set, Statement, TransactionAccessMode, TransactionMode};

/// The control statement that this is, if it is one.
pub(super) fn control(statement: &Statement) -> Result<Option<Control>> {
    Ok(Some(match statement {
        Statement::StartTransaction { modes, modifier, statements, exception, .. } => {
            if modifier.is_some() || !statements.is_empty() || exception.is_some() {
                return Err(Error::unsupported("this form of BEGIN"));
            }
            Control::Begin { read_only: read_only(modes).unwrap_or(false) }
        }
        Statement::Commit { chain: false, modifier: None, .. } => Control::Commit,
        Statement::Rollback { chain: false, savepoint: None } => Control::Rollback,
        Statement::Rollback { chain: false, savepoint: Some(name) } => Control::RollbackTo(names::fold(name)),
        Statement::Commit { .. } | Statement::Rollback { .. } => {
            return Err(Error::unsupported("AND CHAIN"));
        }
        Statement::Savepoint { name } => Control::Savepoint(names::fold(name)),
        Statement::ReleaseSavepoint { name } => Control::Release(names::fold(name)),
        Statement::Set(set) => self::set(set)?,
        Statement::Reset(reset) => match &reset.reset {
            ast::Reset::ConfigurationParameter(name) => Control::Set(names::parts(name)?.join("."), None),
            ast::Reset::ALL | ast::Reset::SessionAuthorization => return Err(Error::unsupported("this form of RESET")),
        },
        Statement::ShowVariable { variable } => {
            let parts: Vec<String> = variable.iter().map(names::fold).collect();
            let name = parts.join(".");
            Control::Show(match name.as_str() {
                "time.zone" => "timezone".to_owned(),
                "transaction.isolation.level" => "transaction_isolation".to_owned(),
                _ => name,
            })
        }
        _ => return Ok(None),
    }))
}

/// READ ONLY or READ WRITE, the last one counting. Isolation levels all mean serializable, which satisfies each.
fn read_only(modes: &[TransactionMode]) -> Option<bool> {
    modes.iter().rev().find_map(|mode| match mode {
        TransactionMode::AccessMode(TransactionAccessMode::ReadOnly) => Some(true),
        TransactionMode::AccessMode(TransactionAccessMode::ReadWrite) => Some(false),
        TransactionMode::IsolationLevel(_) => None,
    })
}

fn set(set: &Set) -> Result<Control> {
    match set {
        Set::SingleAssignment { variable, values, .. } => {
            let name = names::parts(variable)?.join(".");
            Ok(Control::Set(name, setting(values)))
        }
        Set::SetTimeZone { value, .. } => Ok(Control::Set("timezone".to_owned(), setting(std::slice::from_ref(value)))),
        Set::SetTransaction { modes, snapshot: None, session } => {
            let name = if *session { "default_transaction_read_only" } else { "transaction_read_only" };
            let value = match read_only(modes) {
                Some(true) => "on",
                Some(false) => "off",
                None => {
                    let name = if *session { "default_transaction_isolation" } else { "transaction_isolation" };
                    return Ok(Control::Set(name.to_owned(), Some("serializable".to_owned())));
                }
            };
            Ok(Control::Set(name.to_owned(), Some(value.to_owned())))
        }
        Set::SetNames { charset_name, .. } => {
            Ok(Control::Set("client_encoding".to_owned(), Some(charset_name.value.clone())))
        }
        Set::SetNamesDefault {} => Ok(Control::Set("client_encoding".to_owned(), None)),
        _ => Err(Error::unsupported("this form of SET")),
    }
}

/// The value of a setting as text; `None` for DEFAULT.
fn setting(values: &[ast::Expr]) -> Option<String> {
    let one = |value: &ast::Expr| match value {
        ast::Expr::Identifier(ident) => names::fold(ident),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) | ast::Value::EscapedStringLiteral(text) => text.clone(),
            other => other.to_string(),
        },
        other => other.to_string(),
    };
    match values {
        [ast::Expr::Identifier(ident)]
            if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default") =>
        {
            None
        }
        values => Some(values.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}
