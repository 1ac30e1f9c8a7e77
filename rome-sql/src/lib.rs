//! rome-sql
