//! Constants.

use super::parse::syntax_error;
use super::{Binder, ParseLimits};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{Expr, ExprKind};
use crate::value::{DataType, Value};
use bytes::Bytes;
use rust_decimal::Decimal;
use sqlparser::ast;

impl Binder<'_> {
    /// A literal or parameter.
    pub(super) fn bind_value(&mut self, value: &ast::Value) -> Result<Expr> {
        use ast::Value as Literal;
        Ok(match value {
            Literal::Number(digits, _) => number(digits, false)?,
            Literal::SingleQuotedString(text)
            | Literal::EscapedStringLiteral(text)
            | Literal::UnicodeStringLiteral(text)
            | Literal::NationalStringLiteral(text) => unknown(text),
            Literal::DollarQuotedString(text) => unknown(&text.value),
            Literal::Boolean(value) => Expr::bool(*value),
            Literal::Null => Expr::literal(Value::Null, DataType::Unknown),
            Literal::Placeholder(name) => self.parameter(name)?,
            // PostgreSQL reads X'..' as a bit string; query builders write it for bytes.
            Literal::HexStringLiteral(digits) => {
                Expr::literal(Value::Bytes(Bytes::from(hex(digits)?)), DataType::Bytea)
            }
            other => return Err(syntax_error(format!("syntax error at or near \"{other}\""))),
        })
    }

    fn parameter(&mut self, name: &str) -> Result<Expr> {
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        let number = match number {
            Some(number @ 1..=ParseLimits::PARAMETERS_MAX) => number,
            _ => {
                return Err(Error::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {name}"))
                    .with_hint("Parameters are written $1, $2, and so on."));
            }
        };
        self.parameters_used = self.parameters_used.max(number);
        let position = number - 1;
        // Types that were not given, as when a statement is only described, are as unknown as that of text.
        let data_type = self.parameters.get(position).cloned().unwrap_or(DataType::Unknown);
        Ok(Expr { kind: ExprKind::Param(position), data_type })
    }
}

fn unknown(text: &str) -> Expr {
    Expr::literal(Value::text(text), DataType::Unknown)
}

/// The least of integer, bigint and numeric that holds the number.
pub(super) fn number(digits: &str, negative: bool) -> Result<Expr> {
    let digits = digits.replace('_', "");
    let text = if negative { format!("-{digits}") } else { digits };
    if let Ok(number) = text.parse::<i64>() {
        let data_type = if i32::try_from(number).is_ok() { DataType::Int4 } else { DataType::Int8 };
        return Ok(Expr::literal(Value::Int(number), data_type));
    }
    let number = if text.contains(['e', 'E']) { Decimal::from_scientific(&text) } else { text.parse() };
    match number {
        Ok(number) => Ok(Expr::literal(Value::Numeric(number), DataType::Numeric(None))),
        // Numbers beyond numeric's reach are read as double precision, where that has them.
        Err(_) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Expr::literal(Value::Float(number), DataType::Float8)),
            Ok(_) => Err(Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "value overflows numeric format")),
            Err(_) => Err(syntax_error(format!("syntax error at or near \"{text}\""))),
        },
    }
}

fn hex(digits: &str) -> Result<Vec<u8>> {
    let invalid = || Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid hexadecimal data");
    let digit = |c: &u8| char::from(*c).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or_else(invalid);
    let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Ok(digit(high)? << 4 | digit(low)?),
        _ => Err(invalid()),
    });
    pairs.collect()
}
