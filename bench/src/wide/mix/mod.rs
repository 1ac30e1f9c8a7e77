//! Transactions in the manner of TPC-C: new orders, payments and looks at an order, a tenth of them with a part at another site.
//!
//! What differs from the benchmark of that name: sizes and texts are small, nobody thinks, deliveries and stock levels are left out (they touch one
//! warehouse only), each site has its own copy of the items, and foreign keys are not declared. What does not: who reads and writes which rows,
//! so that payments of one warehouse contend for its row, and new orders for their district's. A transaction is the statements that a program
//! sends without stored procedures, as few as can be: all lines of an order are read, changed and inserted together.
//!
//! Clients are at all sites but the first, where the central server is: those would be as fast as ever and do most of the work.
//!
//! | module | what it does |
//! |---|---|
//! | [`schema`] | the tables, filled |
//! | [`transactions`] | what a client does |
//! | [`books`] | what must hold afterwards |

pub mod books;
pub mod schema;
pub mod transactions;

use super::deployment::Deployment;
use super::dialect::System;
use super::load::{self, Samples};
use super::settings::Settings;
use crate::Result;
use books::Told;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use transactions::{Kind, Terminal};

/// One line of the results.
#[derive(Clone, Debug)]
pub struct Point {
    /// Where.
    pub system: System,
    /// Clients at each site.
    pub clients: usize,
    /// The round trip between sites.
    pub delay: Duration,
    /// Transactions of all clients together.
    pub per_second: f64,
    /// Of transactions that concern one site.
    pub local_ms: [f64; 2],
    /// Of those with a part at another; both the median and the 99th percentile.
    pub remote_ms: [f64; 2],
    /// Attempts for each transaction that was answered: 1 where none lost.
    pub attempts: f64,
    /// Requests of Rome to other sites' stores for each transaction with a part at another site.
    pub far_requests: f64,
}

/// Measures the mix on a system at the first delay and at 50 ms, or at all where 50 ms is not among them, with more and more clients; checks the
/// books after each.
///
/// # Errors
/// The database's; where the books do not balance.
pub async fn measure(deployment: Deployment, settings: &Settings) -> Result<Vec<Point>> {
    schema::fill(&deployment, settings).await?;
    let deployment = Arc::new(deployment);
    let told = Arc::new(Told::default());
    let mut points = vec![];
    for clients in &settings.clients {
        // Connections and lanes of so many clients, and plans.
        deployment.set_round_trip(Duration::ZERO);
        run(&deployment, settings, *clients, settings.time / 2, &told).await?;
        for delay in delays(settings) {
            let mut runs = vec![];
            for _ in 0..settings.runs {
                deployment.set_round_trip(delay);
                // What a longer way makes necessary, more lanes for instance.
                run(&deployment, settings, *clients, settings.time / 4 + 4 * delay, &told).await?;
                runs.push(run(&deployment, settings, *clients, settings.time, &told).await?);
            }
            runs.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
            let middle = runs.len() / 2;
            points.extend(runs.into_iter().nth(middle).map(|point| Point { delay, ..point }));
        }
        deployment.set_round_trip(Duration::ZERO);
        books::balance(&deployment, &told).await?;
        eprintln!("{}: {clients} clients at each site, and the books balance", deployment.system.name());
    }
    match Arc::into_inner(deployment) {
        Some(deployment) => deployment.remove().await?,
        None => return Err("a client has not ended".into()),
    }
    Ok(points)
}

/// The delays that are compared.
#[must_use]
pub fn delays(settings: &Settings) -> Vec<Duration> {
    let half = Duration::from_millis(50);
    match settings.delays.as_slice() {
        [base, rest @ ..] if rest.contains(&half) => vec![*base, half],
        all => all.to_vec(),
    }
}

async fn run(
    deployment: &Arc<Deployment>,
    settings: &Settings,
    clients: usize,
    time: Duration,
    told: &Arc<Told>,
) -> Result<Point> {
    let attempts = Arc::new(AtomicU64::new(0));
    let before = deployment.far_requests();
    let mut all: Vec<load::Client<(Kind, bool)>> = vec![];
    // Not at the first site, for the same reason as with single operations.
    for site in 1..deployment.sites.len() {
        for number in 0..clients {
            let terminal = Arc::new(Terminal {
                system: deployment.system,
                db: deployment.client(site, number)?,
                here: deployment.site(site),
                others: (site + 1..site + deployment.sites.len()).map(|other| deployment.site(other)).collect(),
                warehouses: settings.warehouses,
                warehouse: i64::try_from(number)? % settings.warehouses,
                attempts: Arc::clone(&attempts),
                told: Arc::clone(told),
            });
            all.push(Box::new(move || {
                let terminal = Arc::clone(&terminal);
                Box::pin(async move { terminal.work().await })
            }));
        }
    }
    let done = load::run(all, time).await?;
    let of = |remote: bool| {
        let latencies = done.iter().filter(|((_, is_remote), _)| *is_remote == remote).map(|(_, latency)| *latency);
        Samples::new(latencies.collect(), time)
    };
    let (local, remote) = (of(false), of(true));
    let requests = deployment.far_requests() - before;
    let begun = told.transactions_since();
    Ok(Point {
        system: deployment.system,
        clients,
        delay: Duration::ZERO,
        per_second: local.rate() + remote.rate(),
        local_ms: [local.percentile_ms(50), local.percentile_ms(99)],
        remote_ms: [remote.percentile_ms(50), remote.percentile_ms(99)],
        attempts: attempts.load(Ordering::Relaxed) as f64 / begun.0.max(1) as f64,
        far_requests: requests as f64 / begun.1.max(1) as f64,
    })
}
