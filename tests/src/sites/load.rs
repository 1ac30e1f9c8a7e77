//! The load of all kinds of work at all sites, and the check that everything adds up once it has stopped.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use super::machines::Known;
use super::probe::Counts;
use super::{SITES, Stop, Told, bank, keys, lists, machines, probe};
use crate::audit::audit_site;
use rome_core::database::{Database, RomeDatabase, Sites};
use rome_core::store::Store;
use rome_core::txn::{MARKS_SPACE, RECORDS_SPACE};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The longest that what is left may take to go once everything is calm.
const TIDYING: Duration = Duration::from_secs(30);

/// Tasks at all sites, and what they were told.
pub struct Load {
    clients: Vec<Arc<RomeDatabase>>,
    stop: Stop,
    /// Those that find out by themselves whether all is well.
    tasks: Vec<JoinHandle<()>>,
    machines: Vec<JoinHandle<Known>>,
    outcomes: mpsc::UnboundedReceiver<(String, Told)>,
    history: Arc<lists::History>,
    audits: Arc<AtomicU64>,
    /// What became of changes of rows that only their own site's clients touch, by site.
    pub probes: Vec<Arc<Counts>>,
}

impl Load {
    /// Creates the tables and begins, with a client at each site.
    pub async fn start(clients: &[Arc<RomeDatabase>]) -> Self {
        let first = clients[0].as_ref();
        bank::open(first).await;
        lists::open(first).await;
        machines::open(first).await;
        probe::open(first).await;
        let (sender, outcomes) = mpsc::unbounded_channel();
        let mut load = Self {
            clients: clients.to_vec(),
            stop: Stop::default(),
            tasks: vec![],
            machines: vec![],
            outcomes,
            history: Arc::default(),
            audits: Arc::default(),
            probes: SITES.iter().map(|_| Arc::default()).collect(),
        };
        for (at, site) in SITES.into_iter().enumerate() {
            let db = || Arc::clone(&clients[at]) as Arc<dyn Database>;
            let stop = || load.stop.clone();
            load.tasks.push(tokio::spawn(bank::transfer(db(), site, format!("{site}-t"), stop(), sender.clone())));
            load.tasks.push(tokio::spawn(bank::audit(db(), Arc::clone(&load.audits), stop())));
            for _ in 0..2 {
                load.tasks.push(tokio::spawn(lists::work(db(), site, Arc::clone(&load.history), stop())));
            }
            load.machines.push(tokio::spawn(machines::work(db(), site, at as i64 * 1_000_000, stop())));
            for row in 0..probe::ROWS {
                let counts = Arc::clone(&load.probes[at]);
                load.tasks.push(tokio::spawn(probe::work(db(), site, row, counts, stop())));
            }
        }
        load
    }

    /// Whoever has found a mistake ends at once, and so does the test.
    pub fn check(&self) {
        let ended = self.tasks.iter().any(JoinHandle::is_finished) || self.machines.iter().any(JoinHandle::is_finished);
        assert!(!ended, "a task has ended early: it says why above");
    }

    /// Stops, waits until nothing is left of any transaction, and checks that everything adds up, with the transfers that others were `told` of and
    /// those of clients that were `killed`. Returns the history of the lists, for the checker.
    pub async fn conclude(
        mut self,
        sites: &[Arc<dyn Sites>],
        mut told: BTreeMap<String, Told>,
        killed: &[String],
    ) -> Vec<Json> {
        self.stop.now();
        for task in self.tasks {
            task.await.expect("a task's checks hold");
        }
        let mut known = vec![];
        for task in self.machines {
            known.push(task.await.expect("a task's checks hold"));
        }
        while let Some((reference, outcome)) = self.outcomes.recv().await {
            told.insert(reference, outcome);
        }
        let mut stores: Vec<Arc<dyn Store>> = vec![];
        for (site, sites) in SITES.into_iter().zip(sites) {
            stores.push(sites.store(site).await.unwrap());
        }
        nothing_is_left(&stores).await;
        assert!(self.audits.load(Ordering::Relaxed) > 0, "no audit has ever committed");
        let db = self.clients[0].as_ref();
        bank::compare(&bank::inspect(db).await, &told, killed);
        probe::inspect(db, &self.probes).await;
        machines::inspect(db, known).await;
        for (site, store) in SITES.into_iter().zip(&stores) {
            audit_site(store.as_ref(), site).await;
        }
        self.history.conclude(db).await;
        self.history.events()
    }
}

/// Waits until stores hold nothing of transactions over several of them.
pub async fn nothing_is_left(stores: &[Arc<dyn Store>]) {
    let begun = Instant::now();
    loop {
        let mut left = vec![];
        for store in stores {
            left.push(keys(store.as_ref(), MARKS_SPACE).await.len() + keys(store.as_ref(), RECORDS_SPACE).await.len());
        }
        if left.iter().all(|left| *left == 0) {
            println!("everything stopped {} ms ago, and nothing is left", begun.elapsed().as_millis());
            return;
        }
        assert!(begun.elapsed() < TIDYING, "of transactions over several sites is left: {left:?}");
        sleep(Duration::from_millis(250)).await;
    }
}
