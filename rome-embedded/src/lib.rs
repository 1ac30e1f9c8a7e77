//! rome-embedded
