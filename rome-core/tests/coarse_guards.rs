//! Transactions that read more than their store can guard one by one: the guards are coarsened, and nothing that changed is missed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::catalog::{SchemaVersion, TableId};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, Guard, HomeId, Key, KeyRange, MemoryStore, Read, ReadLimits, ReadOutcome,
    ReadRequest, Store, StoreError, Version, WatchStream,
};
use rome_core::topology::HomeNo;
use rome_core::txn::{Client, HomeRead, Mode, Txn};
use rome_core::{Error, SqlState};
use std::sync::Arc;

/// Far less than the transactions here read.
const GUARDS_MAX: usize = 10;
/// Keys of a space that are read.
const KEYS: u32 = 100;

/// A store that takes few guards.
#[derive(Debug)]
struct Narrow {
    inner: MemoryStore,
    capabilities: Capabilities,
}

#[async_trait]
impl Store for Narrow {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        assert!(request.guards.len() <= GUARDS_MAX, "{} guards of a read", request.guards.len());
        self.inner.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        assert!(commit.guards.len() <= GUARDS_MAX, "{} guards of a commit", commit.guards.len());
        self.inner.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.inner.watch(home, stream, after).await
    }
}

fn key(space: u32, number: u32) -> Key {
    [space.to_be_bytes(), number.to_be_bytes()].concat().into()
}

/// A client of a store in which the even keys of two spaces exist.
async fn filled() -> Arc<Client> {
    let inner = MemoryStore::new();
    let capabilities = Capabilities { max_guards: GUARDS_MAX, ..inner.capabilities().clone() };
    let client = Client::new(Arc::new(Narrow { inner, capabilities }), HomeId::new("h"), 1);
    let mut txn = client.begin(Mode::SingleStatement);
    for number in (0..KEYS).step_by(2) {
        txn.put(HomeNo::FIRST, key(2000, number), Bytes::from("old")).unwrap();
        txn.put(HomeNo::FIRST, key(3000, number), Bytes::from("old")).unwrap();
    }
    txn.commit().await.unwrap();
    client
}

async fn change(client: &Arc<Client>, change: impl FnOnce(&mut Txn)) {
    let mut txn = client.begin(Mode::SingleStatement);
    change(&mut txn);
    txn.commit().await.unwrap();
}

/// Reads all keys of the first space, the absent ones too.
async fn reads_many(client: &Arc<Client>) -> Txn {
    let mut txn = client.begin(Mode::Interactive);
    let reads = (0..KEYS).map(|number| HomeRead::point(HomeNo::FIRST, key(2000, number))).collect();
    let found = txn.read(reads, ReadLimits::default()).await.unwrap();
    assert_eq!(found.iter().map(|result| result.entries.len()).sum::<usize>(), 50);
    txn
}

/// Commits a write elsewhere.
async fn writes(mut txn: Txn) -> Result<(), Error> {
    txn.put(HomeNo::FIRST, key(4000, 1), Bytes::from("new"))?;
    txn.commit().await.map(drop)
}

#[tokio::test]
async fn nothing_changed_or_only_elsewhere() {
    let client = filled().await;
    let txn = reads_many(&client).await;
    writes(txn).await.unwrap();
    let txn = reads_many(&client).await;
    change(&client, |txn| txn.put(HomeNo::FIRST, key(3000, 4), Bytes::from("new")).unwrap()).await;
    writes(txn).await.unwrap();
}

#[tokio::test]
async fn every_change_to_what_was_read_is_noticed() {
    let changes: [fn(&mut Txn); 4] = [
        |txn| txn.put(HomeNo::FIRST, key(2000, 40), Bytes::from("new")).unwrap(),
        |txn| txn.put(HomeNo::FIRST, key(2000, 41), Bytes::from("new")).unwrap(),
        |txn| txn.delete(HomeNo::FIRST, key(2000, 0)).unwrap(),
        |txn| txn.delete(HomeNo::FIRST, key(2000, 98)).unwrap(),
    ];
    for (number, changed) in changes.into_iter().enumerate() {
        let client = filled().await;
        let txn = reads_many(&client).await;
        change(&client, changed).await;
        let error = writes(txn).await.expect_err("a change was missed");
        assert_eq!(error.state(), SqlState::SERIALIZATION_FAILURE, "change {number}");
    }
}

/// Also by the next read: a transaction never sees two states.
#[tokio::test]
async fn a_later_read_validates_the_earlier_ones() {
    let client = filled().await;
    let mut txn = reads_many(&client).await;
    let other = vec![HomeRead::point(HomeNo::FIRST, key(3000, 1))];
    txn.read(other.clone(), ReadLimits::default()).await.unwrap();
    change(&client, |txn| txn.put(HomeNo::FIRST, key(3000, 7), Bytes::from("new")).unwrap()).await;
    txn.read(vec![HomeRead::point(HomeNo::FIRST, key(3000, 2))], ReadLimits::default()).await.unwrap();
    change(&client, |txn| txn.delete(HomeNo::FIRST, key(2000, 8)).unwrap()).await;
    let error = txn.read(vec![HomeRead::point(HomeNo::FIRST, key(3000, 3))], ReadLimits::default()).await.unwrap_err();
    assert_eq!(error.state(), SqlState::SERIALIZATION_FAILURE);
}

/// Ranges among the points, in both spaces.
#[tokio::test]
async fn ranges_are_covered_too() {
    for space in [2000, 3000] {
        let client = filled().await;
        let mut txn = reads_many(&client).await;
        let range = |from, to| Read::Range {
            range: KeyRange { from: key(3000, from), to: key(3000, to) },
            limit: None,
            reverse: false,
        };
        let ranges =
            (0..20).map(|part| HomeRead { home: HomeNo::FIRST, read: range(part * 5, part * 5 + 2) }).collect();
        txn.read(ranges, ReadLimits::default()).await.unwrap();
        change(&client, |txn| txn.put(HomeNo::FIRST, key(space, 50), Bytes::from("new")).unwrap()).await;
        assert_eq!(writes(txn).await.unwrap_err().state(), SqlState::SERIALIZATION_FAILURE, "space {space}");
    }
}

/// An expectation that fails is still reported as what it stands for.
#[tokio::test]
async fn expectations_keep_their_errors() {
    let client = filled().await;
    let mut txn = reads_many(&client).await;
    let taken = Error::new(SqlState::UNIQUE_VIOLATION, "taken");
    txn.expect(HomeNo::FIRST, Guard::Absent(key(3000, 2)), taken).unwrap();
    assert_eq!(writes(txn).await.unwrap_err().state(), SqlState::UNIQUE_VIOLATION);
}

/// What cannot be coarsened is refused before anything is written.
#[tokio::test]
async fn too_many_expectations_are_refused() {
    let client = filled().await;
    let mut txn = client.begin(Mode::SingleStatement);
    for number in 0..=GUARDS_MAX as u32 {
        txn.expect(HomeNo::FIRST, Guard::Absent(key(5000, number)), Error::internal("taken")).unwrap();
    }
    assert_eq!(writes(txn).await.unwrap_err().state(), SqlState::PROGRAM_LIMIT_EXCEEDED);
}

/// What a transaction has read it need not ask for again.
#[tokio::test]
async fn a_key_is_read_once() {
    let client = filled().await;
    let mut txn = reads_many(&client).await;
    for number in [0, 1, 2] {
        let again =
            txn.read(vec![HomeRead::point(HomeNo::FIRST, key(2000, number))], ReadLimits::default()).await.unwrap();
        assert_eq!(again[0].entries.len(), usize::from(number != 1));
        assert!(again[0].entries.iter().all(|entry| entry.value == "old" && entry.version == 1));
    }
    assert_eq!(txn.round_trips().reads, 1);
}

/// What is known already says nothing about the tables of the next statement.
#[tokio::test]
async fn a_statement_on_known_keys_still_confirms_its_tables() {
    let client = filled().await;
    let mut txn = reads_many(&client).await;
    txn.use_description(TableId(77), SchemaVersion { epoch: 0, version: 5 }, 0).unwrap();
    let stale = txn.read(vec![HomeRead::point(HomeNo::FIRST, key(2000, 0))], ReadLimits::default()).await.unwrap_err();
    assert!(stale.is_schema_change(), "{stale}");
}
