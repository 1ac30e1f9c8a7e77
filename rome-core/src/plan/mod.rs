//! From bound statements to plans: access paths, join order, pushing filters and limits down, `EXPLAIN`.

pub mod logical;
