//! Seeds that have failed: they are run in every test, however many others are.
//!
//! A seed names a run only as long as the programs draw the same numbers in the same order. Those marked with a commit failed with the programs of that
//! time; what they do now is another run, which passes without the fix, too. Whoever changes what a scenario draws takes a fix back by hand, looks for
//! a seed that fails without it, and puts that here.

/// A seed, and what it has found.
#[derive(Debug)]
pub struct Regression {
    pub seed: u64,
    #[expect(dead_code, reason = "read by people, through Debug")]
    pub found: &'static str,
}

const fn seed(seed: u64, found: &'static str) -> Regression {
    Regression { seed, found }
}

/// None is known.
pub const HISTORIES: &[Regression] = &[];

pub const DATABASES: &[Regression] = &[
    seed(
        601,
        "33d6201: a transaction wrote over the mark of one that was finalised at the row's home and not yet at the claim's, and left a claim without \
         a row",
    ),
    seed(782, "fe94768: a new row was written over the mark of the removal before it, whose claim was gone already"),
];

pub const COPIES: &[Regression] =
    &[seed(62, "6468e90: rows that exchanged a unique key within one batch lost an index entry in a copy")];

pub const ESCROW: &[Regression] = &[seed(
    8,
    "fails where parts are spent from whose home has begun another epoch: after a restored backup a part is below zero, or more is spent than \
     there is",
)];
