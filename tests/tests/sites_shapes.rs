//! Databases at four sites (Redis with a replica, etcd with three members, two plain Redis), under load while they are cut into two halves, a replica
//! is promoted in place of its killed primary, and members of etcd are killed; once it is over everything adds up.
//!
//! `ROME_TEST_MINUTES=n` goes on with faults for so many minutes instead of once through all of them.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../histories/checker.rs"]
mod checker;

use rome_core::SqlState;
use rome_core::database::{Database, Queryable, RomeDatabase};
use rome_core::txn::{MARKS_SPACE, RECORDS_SPACE};
use rome_tests::audit::audit_site;
use rome_tests::figures;
use rome_tests::sites::machines::Known;
use rome_tests::sites::shapes::{FOUR, Shapes};
use rome_tests::sites::{CALL_TIMEOUT, Stop, Told, bank, is_usual, keys, lists, machines, work_at};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The longest that what is left may take to go once everything is calm, and that a site may take to serve again.
const TIDYING: Duration = Duration::from_secs(60);
/// The longest until a statement has given up on a site: twice the time-out of a store's call, and a second for a busy machine.
const GIVES_UP: Duration = Duration::from_millis(2 * CALL_TIMEOUT.as_millis() as u64 + 1_000);

struct Run {
    shapes: Shapes,
    clients: Vec<Arc<RomeDatabase>>,
    stop: Stop,
    tasks: Vec<JoinHandle<()>>,
    machines: Vec<JoinHandle<Known>>,
    outcomes: mpsc::UnboundedReceiver<(String, Told)>,
    history: Arc<lists::History>,
    audits: Arc<AtomicU64>,
    /// How often the rows of a half were changed together.
    changed: BTreeMap<&'static str, i64>,
}

impl Run {
    async fn start() -> Self {
        work_at(&FOUR);
        let shapes = Shapes::start().await;
        let mut clients = vec![];
        for site in FOUR {
            clients.push(shapes.client(site).await);
        }
        let first = clients[0].as_ref();
        bank::open(first).await;
        lists::open(first).await;
        machines::open(first).await;
        // Row 0 of each site is changed where it must be possible, the others where it must not.
        let create = "CREATE TABLE both (site text, id bigint, n bigint NOT NULL, PRIMARY KEY (site, id)) \
                      WITH (placement = 'by_site(site)')";
        first.execute(create).await.unwrap();
        for site in FOUR {
            for id in 0..=FOUR.len() as i64 {
                first.execute(("INSERT INTO both VALUES ($1, $2, 0)", [site.into(), id.into()])).await.unwrap();
            }
        }
        let (sender, outcomes) = mpsc::unbounded_channel();
        let (stop, history, audits) = (Stop::default(), Arc::<lists::History>::default(), Arc::default());
        let (mut tasks, mut work) = (vec![], vec![]);
        for (at, site) in FOUR.into_iter().enumerate() {
            let db = || Arc::clone(&clients[at]) as Arc<dyn Database>;
            for task in 0..2 {
                let prefix = format!("{site}-{task}");
                tasks.push(tokio::spawn(bank::transfer(db(), site, prefix, stop.clone(), sender.clone())));
                tasks.push(tokio::spawn(lists::work(db(), site, Arc::clone(&history), stop.clone())));
            }
            tasks.push(tokio::spawn(bank::audit(db(), Arc::clone(&audits), stop.clone())));
            work.push(tokio::spawn(machines::work(db(), site, at as i64 * 1_000_000, stop.clone())));
        }
        let changed = FOUR.into_iter().map(|site| (site, 0)).collect();
        Self { shapes, clients, stop, tasks, machines: work, outcomes, history, audits, changed }
    }

    /// Whoever has found a mistake ends at once, and so does the test.
    async fn calm(&self) {
        sleep(Duration::from_secs(2)).await;
        let ended = self.tasks.iter().any(JoinHandle::is_finished) || self.machines.iter().any(JoinHandle::is_finished);
        assert!(!ended, "a task has ended early: it says why above");
    }

    /// Changes a row at each of some sites in one transaction, as soon as nothing that an earlier fault has left stands in the way.
    async fn change(&mut self, from: usize, sites: &[&'static str]) {
        let update = format!("UPDATE both SET n = n + 1 WHERE id = 0 AND site IN ('{}')", sites.join("', '"));
        let begun = Instant::now();
        loop {
            match self.clients[from].execute(update.as_str()).await {
                Ok(changed) => {
                    assert_eq!(changed, sites.len() as u64);
                    break;
                }
                Err(error) => assert!(is_usual(&error) && begun.elapsed() < TIDYING, "{}: {error}", FOUR[from]),
            }
        }
        for site in sites {
            *self.changed.get_mut(site).unwrap() += 1;
        }
    }

    /// Two and two sites don't hear each other: each half goes on, and nothing passes between them.
    async fn halves(&mut self) {
        self.change(0, &FOUR).await;
        // What ends that has reached all of them: none of these rows is marked at the cut.
        for (at, site) in FOUR.into_iter().enumerate() {
            self.change(at, &[site]).await;
        }
        self.shapes.cut_into_halves();
        sleep(Duration::from_millis(500)).await;
        let halves = [[0, 1], [2, 3]];
        for (half, other) in halves.into_iter().zip([halves[1], halves[0]]) {
            for from in half {
                self.change(from, &half.map(|site| FOUR[site])).await;
                let (here, there, id) = (FOUR[from], FOUR[other[0]], from + 1);
                let across = format!("UPDATE both SET n = n + 1 WHERE id = {id} AND site IN ('{here}', '{there}')");
                let begun = Instant::now();
                let error =
                    self.clients[from].execute(across.as_str()).await.expect_err("nothing passes between halves");
                let took = begun.elapsed();
                let expected = [SqlState::CONNECTION_FAILURE, SqlState::TRANSACTION_RESOLUTION_UNKNOWN];
                assert!(expected.contains(&error.state()), "{error}");
                assert!(error.to_string().contains(&format!("\"{}\"", FOUR[other[0]])), "{error} names no site");
                assert!(took <= GIVES_UP, "it took {took:?}: {error}");
                figures::note(&format!(
                    "two halves, over the cut from {}: failed after {} ms",
                    FOUR[from],
                    took.as_millis()
                ));
            }
        }
        sleep(Duration::from_secs(1)).await;
        self.shapes.network.heal();
        self.calm().await;
        self.change(3, &FOUR).await;
    }

    /// The replica takes over from a primary that was killed.
    async fn promoted(&mut self) {
        self.shapes.promote().await;
        let begun = Instant::now();
        self.change(0, &["milan"]).await;
        figures::note(&format!("replica promoted: written again after {} ms", begun.elapsed().as_millis()));
        self.calm().await;
        self.change(2, &FOUR).await;
    }

    /// One member of three is killed: its site goes on.
    async fn member_killed(&mut self, member: usize) {
        self.shapes.kill_member(member);
        let begun = Instant::now();
        self.change(1, &["pisa"]).await;
        figures::note(&format!("member {member} killed: written again after {} ms", begun.elapsed().as_millis()));
        self.calm().await;
        self.change(0, &FOUR).await;
        self.shapes.restart_member(member);
        self.calm().await;
    }

    /// What a site holds of transactions over several.
    async fn left(&self, site: &str) -> usize {
        let store = self.shapes.store(site).await;
        keys(store.as_ref(), MARKS_SPACE).await.len() + keys(store.as_ref(), RECORDS_SPACE).await.len()
    }

    /// Stops everything and checks it.
    async fn conclude(mut self) {
        self.stop.now();
        for task in std::mem::take(&mut self.tasks) {
            task.await.expect("a task's checks hold");
        }
        let mut known = vec![];
        for task in std::mem::take(&mut self.machines) {
            known.push(task.await.expect("a task's checks hold"));
        }
        let mut told = BTreeMap::new();
        while let Some((reference, outcome)) = self.outcomes.recv().await {
            told.insert(reference, outcome);
        }
        let begun = Instant::now();
        loop {
            let mut left = vec![];
            for site in FOUR {
                left.push(self.left(site).await);
            }
            if left.iter().all(|left| *left == 0) {
                break;
            }
            assert!(begun.elapsed() < TIDYING, "of transactions over several sites is left: {left:?}");
            sleep(Duration::from_millis(500)).await;
        }
        let audits = self.audits.load(Ordering::Relaxed);
        let done = told.values().filter(|told| **told == Told::Done).count();
        figures::note(&format!("four sites: {done} of {} transfers done, {audits} audits, nothing left", told.len()));
        assert!(audits > 0 && done > 0, "nothing was done");
        // To a client that was there, and to one that comes new.
        for db in [Arc::clone(&self.clients[0]), self.shapes.client(FOUR[2]).await] {
            bank::compare(&bank::inspect(db.as_ref()).await, &told, &[]);
            let both: Vec<(String, i64)> =
                db.query_as("SELECT site, n FROM both WHERE id = 0 ORDER BY site").await.unwrap();
            let expected: Vec<(String, i64)> = self.changed.iter().map(|(site, n)| ((*site).to_owned(), *n)).collect();
            assert_eq!(both, expected, "changes of rows at several sites were lost, repeated or torn");
            // What failed over the cut is nowhere, or was of unknown outcome and is at both sites.
            let torn = "SELECT id FROM both WHERE id > 0 GROUP BY id HAVING sum(n) <> 2 * max(n)";
            let torn: Vec<(i64,)> = db.query_as(torn).await.unwrap();
            assert!(torn.is_empty(), "transactions over the cut are half there: {torn:?}");
        }
        machines::inspect(self.clients[1].as_ref(), known).await;
        for site in FOUR {
            audit_site(self.shapes.store(site).await.as_ref(), site).await;
        }
        self.history.conclude(self.clients[0].as_ref()).await;
        let problems = checker::problems(vec![("lists".to_owned(), self.history.events())]);
        assert!(problems.is_empty(), "{problems}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_sites_of_other_shapes() {
    let minutes: Option<u64> = std::env::var("ROME_TEST_MINUTES").ok().and_then(|text| text.parse().ok());
    let mut run = Run::start().await;
    run.calm().await;
    run.halves().await;
    run.promoted().await;
    run.member_killed(0).await;
    // The one that was promoted is killed in its turn.
    run.promoted().await;
    let until = Instant::now() + Duration::from_secs(minutes.unwrap_or(0) * 60);
    while Instant::now() < until {
        match rand::random_range(0..3) {
            0 => run.halves().await,
            1 => run.promoted().await,
            _ => run.member_killed(rand::random_range(0..3)).await,
        }
    }
    run.conclude().await;
}
