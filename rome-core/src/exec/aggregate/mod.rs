//! Aggregates: which there are, their types, and the accumulators that compute them.

mod accumulator;
mod resolve;

pub(crate) use accumulator::Accumulator;
pub use resolve::{is_aggregate, resolve};

/// The aggregate functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AggregateFunction {
    /// `count(*)` without arguments, `count(x)` counting values that are not NULL
    Count,
    /// `sum`: bigint of integers, numeric of bigint and numeric, floats of floats
    Sum,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `avg`: numeric of integers and numeric, double of floats
    Avg,
    /// `bool_and`
    BoolAnd,
    /// `bool_or`
    BoolOr,
    /// `string_agg(x, separator)`
    StringAgg,
    /// `array_agg`
    ArrayAgg,
    /// `json_agg` and `jsonb_agg`: NULLs as null
    JsonAgg,
    /// `bit_and`
    BitAnd,
    /// `bit_or`
    BitOr,
}
