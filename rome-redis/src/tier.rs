//! What an acknowledged commit survives, as the URL asks for it.

use rome_core::store::Durability;

/// A tier that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tier {
    /// In the server's memory.
    Async,
    /// In the memory of so many replicas too.
    Replicated(u32),
    /// On the server's disk.
    Fsync,
}

impl Tier {
    /// Parses `async`, `replicated(n)` or `fsync`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let replicas = || text.strip_prefix("replicated(")?.strip_suffix(')')?.parse().ok().filter(|count| *count > 0);
        match text {
            "async" => Ok(Self::Async),
            "fsync" => Ok(Self::Fsync),
            _ => replicas().map(Self::Replicated).ok_or_else(|| {
                "its durability must be `async`, `fsync`, or `replicated(n)` with a number of replicas of at least 1".to_owned()
            }),
        }
    }

    /// The tier in the words of the contract.
    pub fn durability(self) -> Durability {
        match self {
            Self::Async => Durability::Async,
            Self::Replicated(replicas) => Durability::Replicated(replicas),
            Self::Fsync => Durability::Fsync,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn tiers_have_one_spelling() {
        for text in ["async", "fsync", "replicated(1)", "replicated(12)"] {
            assert_eq!(Tier::parse(text).unwrap().durability().to_string(), text);
        }
        for text in
            ["", "Async", "replicated", "replicated()", "replicated(0)", "replicated(-1)", "replicated(1", "none"]
        {
            assert!(Tier::parse(text).is_err(), "{text}");
        }
    }
}
