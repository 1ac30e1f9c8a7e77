//! Running plans: expressions, operators, aggregates, and data changes.

pub mod aggregate;
pub mod eval;
pub mod expr;
pub mod functions;
pub mod keys;
pub mod node;
