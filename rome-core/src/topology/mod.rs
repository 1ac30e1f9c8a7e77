//! Where data lies: homes by number.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A home's number. Numbers are given once and never reused, so that what is stored may name a home by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct HomeNo(pub u16);

impl HomeNo {
    /// The home of a database that has only one.
    pub const FIRST: Self = Self(0);
}

impl fmt::Display for HomeNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
