//! What a scenario is, and how its clients work: one after the other at a site, each until it crashes, which it may at any await.
//!
//! A scenario says what there is in the beginning, which programs run, and what must hold during and after them. Everything that it draws comes from
//! the run's random numbers, always in the same order: the same seed is the same run.

use crate::counts::Ended;
use crate::regressions::Regression;
use crate::run::{Plan, Run, Tasks};
use async_trait::async_trait;
use rome_core::{Result, SqlState};
use serde_json::Value as Json;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// What is a scenario's own. A run calls `new`, `found`, `beside`; for each client `open`, then `draw` and `step` by turns; in the end `conclude`.
#[async_trait]
pub trait Scenario: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    /// Milliseconds between two transactions of a client, at most.
    const PAUSE: u64;
    /// Why a transaction may be refused, beside lost races and lost connections.
    const USUAL: &'static [SqlState];
    /// What must have been counted over many seeds.
    const HAPPENS: &'static [&'static str];
    const REGRESSIONS: &'static [Regression];

    /// A client that is open.
    type Client: Send + Sync;
    /// What a client does next, by its number.
    type Step: Copy + Display + Send + Sync;

    fn plan(seed: u64) -> Plan;

    /// From where a run's clients number themselves.
    fn first_client(seed: u64) -> u64 {
        seed.wrapping_mul(1_000_003)
    }

    fn new(run: Arc<Run>) -> Self;

    fn run(&self) -> &Run;

    /// Makes what there is in the beginning, on a calm network.
    async fn found(&self);

    /// Starts what goes on beside the clients.
    fn beside(self: &Arc<Self>, tasks: &mut Tasks) {
        tasks.cut_sites();
    }

    /// A client that is open before there is anything to do for it; `None` where each opens only then.
    fn ready(&self, _at: usize, _crashed: &Arc<AtomicBool>) -> Option<Self::Client> {
        None
    }

    /// Opens a client at a site.
    async fn open(&self, at: usize, crashed: &Arc<AtomicBool>) -> Result<Self::Client>;

    /// Draws what a client does next, and after which time it dies of it.
    fn draw(&self) -> (Self::Step, Option<Duration>);

    /// Does it. What must hold at any moment is asserted here.
    async fn step(&self, client: &Self::Client, at: usize, step: Self::Step) -> Result<()>;

    /// How the log names a client.
    fn name(&self, _client: &Self::Client, at: usize) -> String {
        format!("at {at}")
    }

    /// Remembers how a step ended; `None` where its client died.
    fn ended(&self, _client: &Self::Client, _ended: Option<Ended>) {}

    /// Checks what must hold once the network is calm and everything has arrived.
    async fn conclude(&self);

    /// What a checker of histories is to judge.
    fn history(&self) -> Vec<Json> {
        vec![]
    }

    /// Judges histories by their names.
    fn judge(_histories: Vec<(String, Vec<Json>)>) {}
}

/// Runs clients one after the other at a site until this one's share of transactions is done.
pub async fn work<S: Scenario>(scenario: Arc<S>, at: usize) {
    let run = scenario.run();
    let mut crashed = Arc::default();
    let mut ready = scenario.ready(at, &crashed);
    for _ in 0..run.plan.transactions {
        sleep(run.moment(S::PAUSE)).await;
        let client = match ready.take() {
            Some(client) => client,
            // Whoever sits down at a site that can't be reached comes again.
            None => match scenario.open(at, &crashed).await {
                Ok(client) => client,
                Err(_) => continue,
            },
        };
        let (step, dies) = scenario.draw();
        match unless_it_dies(scenario.step(&client, at, step), dies, &crashed).await {
            Some(result) => {
                let ended = Ended::of(&result, S::USUAL);
                run.count(|counts| counts.end(ended));
                run.network.note(format_args!("{}: {step} {ended}", scenario.name(&client, at)));
                scenario.ended(&client, Some(ended));
                ready = Some(client);
            }
            None => {
                run.count(|counts| counts.crashes += 1);
                run.network.note(format_args!("a client at {at} crashes"));
                scenario.ended(&client, None);
                // Somebody else sits down.
                crashed = Arc::default();
                ready = scenario.ready(at, &crashed);
            }
        }
    }
}

/// Runs a client's program to its end, or until the client dies: at whatever await it has come to by then.
async fn unless_it_dies<T>(
    program: impl Future<Output = T>,
    dies: Option<Duration>,
    crashed: &AtomicBool,
) -> Option<T> {
    let Some(after) = dies else { return Some(program.await) };
    let death = async {
        sleep(after).await;
        // Before the program is dropped, so that nothing which that sends gets through.
        crashed.store(true, Ordering::Relaxed);
    };
    tokio::select! {
        biased;
        result = program => Some(result),
        () = death => None,
    }
}
