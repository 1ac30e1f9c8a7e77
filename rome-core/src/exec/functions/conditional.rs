//! GREATEST, LEAST and NULLIF. COALESCE and CASE are expressions of their own, since they evaluate lazily.

use super::Pattern::Element;
use super::{Call, ScalarFunction};
use crate::error::Result;
use crate::value::Value;
use std::cmp::Ordering;

pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction::new(
        "greatest",
        &[Element, Element],
        Element,
        |call| pick(call, Ordering::Greater),
        "The greatest that is not NULL.",
    )
    .variadic()
    .nullable(),
    ScalarFunction::new(
        "least",
        &[Element, Element],
        Element,
        |call| pick(call, Ordering::Less),
        "The least that is not NULL.",
    )
    .variadic()
    .nullable(),
    ScalarFunction::new("nullif", &[Element, Element], Element, null_if, "NULL where both are equal, else the first.")
        .nullable(),
];

fn pick(call: &Call<'_>, wanted: Ordering) -> Result<Value> {
    let known = call.args.iter().filter(|value| !value.is_null());
    let best = known.reduce(|best, value| if value.total_cmp(best) == wanted { value } else { best });
    Ok(best.cloned().unwrap_or(Value::Null))
}

fn null_if(call: &Call<'_>) -> Result<Value> {
    let equal = call.value(0).sql_cmp(call.value(1)).is_some_and(Ordering::is_eq);
    Ok(if equal { Value::Null } else { call.value(0).clone() })
}
