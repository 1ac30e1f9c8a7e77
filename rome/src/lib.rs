//! rome
