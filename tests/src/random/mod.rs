//! Random tables, queries and changes, for comparing Rome with PostgreSQL. The same seed gives the same statements.
//!
//! Every generated statement has one right answer: ORDER BY covers all output columns wherever order or LIMIT matters, divisors are literals other
//! than zero, products stay small. What must fail is written out by hand in the tests instead.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

mod change;
mod expression;
mod query;

pub use change::{change, constrained_tables};
pub use query::query;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// A type of expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// integer
    Int,
    /// bigint
    Big,
    /// numeric(10, 2)
    Numeric,
    /// text
    Text,
    /// date
    Date,
    /// boolean
    Bool,
}

/// All kinds, with the names of their columns and their types.
pub const COLUMNS: [(&str, Kind, &str); 7] = [
    ("i", Kind::Int, "integer"),
    ("j", Kind::Int, "integer"),
    ("g", Kind::Big, "bigint"),
    ("n", Kind::Numeric, "numeric(10, 2)"),
    ("t", Kind::Text, "text"),
    ("d", Kind::Date, "date"),
    ("b", Kind::Bool, "boolean"),
];

/// The tables that queries read. All have the columns `id` and [`COLUMNS`].
pub const TABLES: [&str; 3] = ["r0", "r1", "r2"];

/// A source of random choices.
#[derive(Debug)]
pub struct Random(StdRng);

impl Random {
    /// The source that a seed gives.
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// One of these.
    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        choices.choose(&mut self.0).expect("there is a choice")
    }

    /// A number from `0..below`.
    fn below(&mut self, below: usize) -> usize {
        self.0.random_range(0..below)
    }

    /// True once in so many times.
    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A constant.
    fn literal(&mut self, kind: Kind) -> String {
        match kind {
            Kind::Int => self.0.random_range(-5..20).to_string(),
            Kind::Big => format!("{}::bigint", self.0.random_range(-5_000_000_000_i64..5_000_000_000)),
            Kind::Numeric => format!("{}.{:02}", self.0.random_range(-20..100), self.below(100)),
            Kind::Text => format!("'{}'", self.pick(&["", "a", "b", "ab", "Ba", "abc", "zebra", "_%", "ä", "x y"])),
            Kind::Date => format!("DATE '20{:02}-{:02}-{:02}'", self.below(30), 1 + self.below(12), 1 + self.below(28)),
            Kind::Bool => self.pick(&["TRUE", "FALSE"]).to_string(),
        }
    }

    /// A constant, or NULL once in so many times.
    fn literal_or_null(&mut self, kind: Kind, null_in: usize) -> String {
        if self.one_in(null_in) { "NULL".to_owned() } else { self.literal(kind) }
    }
}

/// The statements that create and fill the tables for queries, with random data and random indexes.
pub fn tables(random: &mut Random) -> Vec<String> {
    let mut statements = Vec::new();
    for table in TABLES {
        let columns: Vec<String> = COLUMNS.iter().map(|(name, _, data_type)| format!("{name} {data_type}")).collect();
        statements.push(format!("CREATE TABLE {table} (id integer PRIMARY KEY, {})", columns.join(", ")));
        for number in 0..random.below(4) {
            let mut columns: Vec<&str> = COLUMNS.iter().map(|(name, ..)| *name).collect();
            columns.retain(|_| random.one_in(3));
            if !columns.is_empty() {
                statements.push(format!("CREATE INDEX {table}_{number} ON {table} ({})", columns.join(", ")));
            }
        }
        let rows: Vec<String> = (0..10 + random.below(15))
            .map(|id| {
                let values: Vec<String> = COLUMNS.iter().map(|(_, kind, _)| random.literal_or_null(*kind, 5)).collect();
                format!("({id}, {})", values.join(", "))
            })
            .collect();
        statements.push(format!("INSERT INTO {table} VALUES {}", rows.join(", ")));
    }
    statements
}
