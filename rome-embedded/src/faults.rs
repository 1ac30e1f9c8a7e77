//! A disk that fills up or fails under the store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use futures::StreamExt;
use parking_lot::Mutex;
use redb::StorageBackend;
use rome_core::store::{LaneTicket, Read, Write};
use std::collections::HashSet;
use std::io;

/// A file in memory with a given room, which survives being closed and opened.
#[derive(Clone, Debug)]
struct SmallDisk(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    bytes: Vec<u8>,
    room: usize,
    /// Where files are sparse: the blocks that take room. Elsewhere the whole length does.
    blocks: Option<HashSet<usize>>,
    fails: bool,
}

/// The size of a block in bytes.
const BLOCK: usize = 4 << 10;

impl SmallDisk {
    fn new(room: usize) -> Self {
        Self(Arc::new(Mutex::new(Disk { bytes: Vec::new(), room, blocks: None, fails: false })))
    }

    /// A disk that grants any length and has no room for what is written there, as most file systems do.
    fn sparse(room: usize) -> Self {
        let disk = Self::new(room);
        disk.0.lock().blocks = Some(HashSet::new());
        disk
    }

    fn store(&self) -> EmbeddedStore {
        self.store_with(Durability::Fsync)
    }

    fn store_with(&self, durability: Durability) -> EmbeddedStore {
        let disk = self.clone();
        let opener = move || {
            let database = Database::builder()
                .create_with_backend(disk.clone())
                .map_err(|error| error::opening("disk".as_ref(), error))?;
            prepare(&database, "disk".as_ref())?;
            Ok(database)
        };
        EmbeddedStore::start("disk".as_ref(), Box::new(opener), durability).unwrap()
    }
}

impl StorageBackend for SmallDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock();
        let offset = offset as usize;
        let found = disk.bytes.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        if disk.blocks.is_none() && len as usize > disk.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.lock().fails { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (offset, mut disk) = (offset as usize, self.0.lock());
        let room = disk.room / BLOCK;
        if let Some(blocks) = &mut disk.blocks {
            let touched = offset / BLOCK..(offset + data.len()).div_ceil(BLOCK);
            if blocks.len() + touched.clone().filter(|block| !blocks.contains(block)).count() > room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            blocks.extend(touched);
        }
        disk.bytes[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn key(number: usize) -> Bytes {
    Bytes::from([&7u32.to_be_bytes()[..], &(number as u64).to_be_bytes()].concat())
}

fn put(number: usize) -> Commit {
    let value = Bytes::from(vec![b'x'; 64 << 10]);
    Commit { writes: vec![Write::Put(key(number), value)], ..Commit::default() }
}

async fn has(store: &EmbeddedStore, number: usize) -> bool {
    let request = ReadRequest { reads: vec![Read::Point(key(number))], ..ReadRequest::default() };
    match store.read(&HomeId::new("h"), request).await.unwrap() {
        ReadOutcome::Answer(response) => !response.results[0].entries.is_empty(),
        conflict => panic!("{conflict:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_is_named_and_read_and_room_heals_it() {
    fills_up(SmallDisk::new(4 << 20)).await;
}

#[tokio::test]
async fn a_full_disk_of_sparse_files_is_named_and_read_and_room_heals_it() {
    fills_up(SmallDisk::sparse(4 << 20)).await;
}

async fn fills_up(disk: SmallDisk) {
    let store = disk.store();
    let home = HomeId::new("h");
    let mut stored = 0;
    let refused = loop {
        match store.commit(&home, put(stored)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    assert!(stored > 0);
    for number in 0..stored {
        assert!(has(&store, number).await, "what is there can be read on a full disk");
    }
    assert!(!has(&store, stored).await, "a refused commit wrote something");
    disk.0.lock().room = 64 << 20;
    store.commit(&home, put(stored + 1)).await.expect("there is room again");
    for number in 0..stored {
        assert!(has(&store, number).await, "commit {number} of {stored} was acknowledged");
    }
    assert!(!has(&store, stored).await, "a refused commit wrote something");
    assert!(has(&store, stored + 1).await);
}

#[tokio::test]
async fn what_a_failing_disk_may_have_lost_is_another_epochs() {
    for durability in [Durability::Fsync, Durability::Async] {
        let disk = SmallDisk::new(64 << 20);
        let store = disk.store_with(durability);
        let home = HomeId::new("h");
        store.commit(&home, put(1)).await.unwrap();
        let ReadOutcome::Answer(before) = store.read(&home, ReadRequest::default()).await.unwrap() else {
            panic!("a conflict")
        };
        let mut watch = store.watch(&home, Bytes::from_static(b"s"), None).await.unwrap();
        disk.0.lock().fails = true;
        // On the lazy tier the failure may show with a later commit only.
        while store.commit(&home, put(2)).await.is_ok() {}
        disk.0.lock().fails = false;
        let guarded = Commit { epoch: Some(before.epoch), ..put(3) };
        let outcome = store.commit(&home, guarded).await;
        if durability == Durability::Fsync {
            assert!(
                matches!(outcome, Ok(CommitOutcome::Committed { .. })),
                "nothing acknowledged was lost: {outcome:?}"
            );
        } else {
            assert!(matches!(outcome, Err(StoreError::EpochChanged)), "{outcome:?}");
            assert!(matches!(watch.next().await, Some(Err(StoreError::Compacted | StoreError::Unavailable { .. }))));
        }
    }
}

#[tokio::test]
async fn a_failing_disk_leaves_a_commit_undetermined() {
    let disk = SmallDisk::new(64 << 20);
    let store = disk.store();
    let home = HomeId::new("h");
    store.commit(&home, put(1)).await.unwrap();
    disk.0.lock().fails = true;
    let ticket = |sequence| Some(LaneTicket { client: 1, lane: 0, sequence });
    let lost = Commit { ticket: ticket(1), ..put(2) };
    let error = store.commit(&home, lost.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::Undetermined { .. }), "{error:?}");
    let refused = store.commit(&home, put(3)).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Unavailable { .. }),
        "nothing can be sent to a disk that is gone: {refused:?}"
    );
    disk.0.lock().fails = false;
    let error = store.commit(&home, lost).await.unwrap_err();
    assert!(matches!(error, StoreError::Undetermined { .. }), "a resend can't know better: {error:?}");
    store.commit(&home, Commit { ticket: ticket(2), ..put(4) }).await.expect("the disk is back");
    assert!(has(&store, 1).await && has(&store, 4).await && !has(&store, 3).await);
}
