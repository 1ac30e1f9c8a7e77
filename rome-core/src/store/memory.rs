//! The in-memory store.
/// The in-memory store.
#[derive(Debug, Default)]
pub struct MemoryStore {}
