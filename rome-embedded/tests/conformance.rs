//! The conformance suite on the embedded store, in both durabilities.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fsync {
    use rome_core::store::Store;
    use rome_embedded::EmbeddedStore;
    use std::sync::Arc;

    async fn store() -> Arc<dyn Store> {
        // The file lives on without its name until the store closes it.
        let directory = tempfile::tempdir().expect("a directory");
        Arc::new(EmbeddedStore::open(&directory.path().join("store")).expect("a fresh file opens"))
    }

    rome_core::conformance_tests!(store);
}

mod without_fsync {
    use rome_core::store::Store;
    use rome_embedded::EmbeddedStore;
    use std::sync::Arc;

    async fn store() -> Arc<dyn Store> {
        let directory = tempfile::tempdir().expect("a directory");
        Arc::new(EmbeddedStore::open_async(&directory.path().join("store")).expect("a fresh file opens"))
    }

    rome_core::conformance_tests!(store);
}
