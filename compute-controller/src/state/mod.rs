//! The tables as functions: one module an entity, all statements in here.
//!
//! A function takes whatever runs statements, a database or an open transaction; one that needs several statements to be one takes the
//! database and opens a transaction itself, and says so. Transactions take rows in one order, servers, then hosts, then quotas, so that a SQL
//! server that locks as it goes meets few deadlocks.

pub mod actions;
pub mod aggregates;
pub mod claims;
pub mod counters;
pub mod flavors;
pub mod hosts;
pub mod identity;
pub mod images;
pub mod moves;
mod parts;
pub mod quotas;
pub mod servers;
pub mod services;
pub mod sites;

use sea_query::{Expr, ExprTrait, IntoColumnRef, SimpleExpr};

/// `column IN (values)`.
fn among<C: IntoColumnRef>(column: C, values: &[String]) -> SimpleExpr {
    Expr::col(column).is_in(values.iter().map(String::as_str))
}
