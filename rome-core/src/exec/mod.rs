//! Running plans: expressions, operators, aggregates, and data changes.

pub mod aggregate;
pub mod change;
pub mod claims;
pub mod context;
pub mod eval;
pub mod expr;
pub mod functions;
pub mod keys;
pub mod matching;
pub mod node;
pub mod operators;
pub mod shadow;

pub use context::{BindRules, ExecContext, NumberSource, RowRules, open, run};
