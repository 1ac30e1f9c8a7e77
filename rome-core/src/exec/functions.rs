//! The table of scalar functions.

use crate::error::Result;
use crate::value::{DataType, Value};

/// When a function's result may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Volatility {
    /// Never, for the same arguments: may be folded into a constant.
    Immutable,
    /// Not within a statement (`now()`).
    Stable,
    /// With each call (`random()`, `gen_random_uuid()`).
    Volatile,
}

/// What a function may use besides its arguments.
#[derive(Debug)]
pub struct CallContext {
    /// The transaction's time: what `now()` gives.
    pub now: chrono::DateTime<chrono::Utc>,
}

/// A scalar function as the table lists it.
pub struct ScalarFunction {
    /// Its name in lower case.
    pub name: &'static str,
    /// Its volatility.
    pub volatility: Volatility,
    /// NULL where any argument is NULL, without a call.
    pub strict: bool,
    /// Computes the result; `result` is the type that resolution gave.
    pub call: fn(args: &[Value], result: &DataType, context: &CallContext) -> Result<Value>,
}

impl std::fmt::Debug for ScalarFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
