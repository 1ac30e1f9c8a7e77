//! The conformance suite of `rome-core` on this store, each case with a server of its own or in a namespace of its own.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use rome_core::store::Store;
use std::sync::Arc;
use support::Place;
use support::hosted::Hosted;

async fn store() -> Arc<dyn Store> {
    let place = Place::new().await;
    Arc::new(Hosted { store: place.store().await, servers: place })
}

mod cases {
    rome_core::conformance_tests!(super::store);
}
