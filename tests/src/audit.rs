//! The store itself, compared with what the catalog says must be there: an index entry exists if and only if its row does.
//!
//! This reads rows and index entries from the store without the planner and the executor, so that a mistake of theirs can't hide
//! an inconsistency.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;
use rome_core::catalog::Catalog;
use rome_core::catalog::keys::whole_space;
use rome_core::database::Options;
use rome_core::exec::keys::{decode_table_row, index_entry, row_key};
use rome_core::store::{HomeId, Key, KeyRange, Read, ReadLimits, ReadOutcome, ReadRequest, Store};
use std::collections::BTreeMap;

/// Checks all tables of a store that nobody writes to at the time; returns how many rows they have.
///
/// # Panics
/// Where an entry has no row, a row has no entry, or a row is not where its primary key says.
pub async fn audit(store: &dyn Store) -> usize {
    audit_site(store, "").await
}

/// [`audit`] of the only home of one site among several; its rows must belong there.
///
/// # Panics
/// As [`audit`].
pub async fn audit_site(store: &dyn Store, site: &str) -> usize {
    let home = HomeId::new(&Options::default().home);
    let limits = ReadLimits { entries: usize::MAX, bytes: usize::MAX };
    let request = ReadRequest { reads: Catalog::reads(), limits, ..ReadRequest::default() };
    let ReadOutcome::Answer(answer) = store.read(&home, request).await.expect("the catalog is readable") else {
        unreachable!("a read without guards has no conflict");
    };
    let catalog = Catalog::from_answers(&answer.results, answer.epoch, site).expect("the catalog is readable");
    let here = catalog.topology().home_of_site(site).expect("the topology knows the site");
    let mut count = 0;
    for table in catalog.tables() {
        let mut expected: Vec<BTreeMap<Key, Bytes>> = vec![BTreeMap::new(); table.indexes.len()];
        let stored = space(store, &home, table.row_space()).await;
        count += stored.len();
        for (key, value) in stored {
            let row = decode_table_row(table, &value).expect("a stored row is readable");
            assert_eq!(row_key(table, &row).unwrap(), key, "a row of {} is under another row's key", table.name);
            let placed: Vec<_> = table.homes.columns().iter().map(|column| row[*column].clone()).collect();
            let home = table.homes.only().or_else(|| table.homes.of_values(&placed).expect("a stored row has a place"));
            let is_copy = table.homes.replicas().contains(&here);
            assert!(is_copy || home == Some(here), "a row of {} is at another site than its own", table.name);
            for (index, expected) in table.indexes.iter().zip(&mut expected) {
                let (key, value) = index_entry(table, index, &row).unwrap();
                let twice = expected.insert(key, value);
                assert!(twice.is_none(), "two rows of {} have one entry in {}: {row:?}", table.name, index.name);
            }
        }
        for (index, expected) in table.indexes.iter().zip(expected) {
            let entries = space(store, &home, index.space).await;
            let missing: Vec<&Key> = expected.keys().filter(|key| !entries.contains_key(*key)).collect();
            let stale: Vec<&Key> = entries.keys().filter(|key| !expected.contains_key(*key)).collect();
            assert!(missing.is_empty(), "rows of {} without entry in {}: {missing:?}", table.name, index.name);
            assert!(stale.is_empty(), "entries of {} without row in {}: {stale:?}", index.name, table.name);
            assert!(entries == expected, "entries of {} point to other rows", index.name);
        }
    }
    count
}

/// All keys of a space with their values.
async fn space(store: &dyn Store, home: &HomeId, space: u32) -> BTreeMap<Key, Bytes> {
    let mut found = BTreeMap::new();
    let mut range = whole_space(space);
    loop {
        let reads = vec![Read::Range { range: range.clone(), limit: None, reverse: false }];
        let request = ReadRequest { reads, limits: ReadLimits::default(), ..ReadRequest::default() };
        let ReadOutcome::Answer(mut answer) = store.read(home, request).await.expect("the store answers") else {
            panic!("a read without guards had a conflict");
        };
        let result = answer.results.remove(0);
        found.extend(result.entries.into_iter().map(|entry| (entry.key, entry.value)));
        let Some(last) = result.more else { return found };
        let mut after = last.to_vec();
        after.push(0);
        range = KeyRange { from: after.into(), to: range.to };
    }
}
