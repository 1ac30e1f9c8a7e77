//! rome-seaorm
