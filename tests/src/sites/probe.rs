//! Rows that only clients of their own site touch: what is done and tried with them tells how available a site is.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use super::{SITES, Stop, Told};
use rome_core::database::{Database, Queryable};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Rows at each site, each with a task of its own.
pub const ROWS: usize = 2;
/// The first of the rows at each site that transactions over all sites change together...
pub const SHARED: i64 = 90;
/// ... and how many: a change takes the row of one number at every site.
pub const SHARED_ROWS: usize = 2 * SITES.len();

/// Changes of one site's rows so far.
#[derive(Debug, Default)]
pub struct Counts {
    done: AtomicU64,
    unknown: AtomicU64,
    /// Although the site's own store answered.
    failed: AtomicU64,
    /// The site's own store did not answer in time: a slow disk, or a killed server, is no matter of other sites.
    slow: AtomicU64,
}

/// A moment's [`Counts`].
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// Changes that were done.
    pub done: u64,
    /// Those that failed although the site's own store answered.
    pub failed: u64,
    /// Those that failed because it did not.
    pub slow: u64,
}

impl Counts {
    /// So far.
    pub fn now(&self) -> Count {
        let [done, failed, slow] = [&self.done, &self.failed, &self.slow].map(|count| count.load(Ordering::Relaxed));
        Count { done, failed, slow }
    }
}

/// Creates the table.
pub async fn open(db: &dyn Database) {
    let create = "CREATE TABLE probe (site text, id bigint, n bigint NOT NULL, PRIMARY KEY (site, id)) \
                  WITH (placement = 'by_site(site)')";
    db.execute(create).await.unwrap();
    for site in SITES {
        for id in (0..ROWS as i64).chain(SHARED..SHARED + SHARED_ROWS as i64) {
            db.execute(("INSERT INTO probe VALUES ($1, $2, 0)", [site.into(), id.into()])).await.unwrap();
        }
    }
}

/// Reads and changes a row, until it is time to stop.
pub async fn work(db: Arc<dyn Database>, site: &'static str, row: usize, counts: Arc<Counts>, stop: Stop) {
    while !stop.is_now() {
        let update = "UPDATE probe SET n = n + 1 WHERE site = $1 AND id = $2";
        let updated = db.execute((update, [site.into(), (row as i64).into()])).await;
        match Told::by(&updated) {
            Told::Done => counts.done.fetch_add(1, Ordering::Relaxed),
            Told::Failed => 0,
            Told::Unknown => counts.unknown.fetch_add(1, Ordering::Relaxed),
        };
        if let Err(error) = updated {
            println!("{site}: a change of a row of its own: {error}");
            let own = error.detail() == Some(&format!("At site \"{site}\"."));
            let count = if own { &counts.slow } else { &counts.failed };
            count.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Checks that what was done is there.
///
/// # Panics
/// Where it is not.
pub async fn inspect(db: &dyn Database, counts: &[Arc<Counts>]) {
    for (site, counts) in SITES.into_iter().zip(counts) {
        let sum = "SELECT sum(n)::bigint FROM probe WHERE site = $1 AND id < $2";
        let found = db.query_one::<i64, _>((sum, [site.into(), SHARED.into()])).await.unwrap();
        let (done, unknown) = (counts.done.load(Ordering::Relaxed), counts.unknown.load(Ordering::Relaxed));
        let found = u64::try_from(found).unwrap();
        assert!((done..=done + unknown).contains(&found), "{site}: {found} changes, {done} done, {unknown} unknown");
    }
    let torn = "SELECT id FROM probe WHERE id >= $1 GROUP BY id HAVING count(DISTINCT n) > 1";
    let torn: Vec<(i64,)> = db.query_as((torn, [SHARED.into()])).await.unwrap();
    assert!(torn.is_empty(), "transactions over all sites are half there: {torn:?}");
}
