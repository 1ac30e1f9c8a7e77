//! `demo`: brings a cloud up, boots many servers through its APIs, prints how it went, deletes them, shuts down.
//!
//! Succeeds only if every server became ACTIVE, no host was ever overcommitted, and afterwards everything is given back.

use super::audit::{self, Audit};
use super::burst::{self, Burst};
use super::client::{Client, Credentials};
use super::cloud::{Cloud, CloudConfig};
use super::commands::{BurstArguments, HostArguments, open};
use super::report;
use super::{CliError, CliResult, stop_on_signal};
use crate::meter::{Counts, Metered};
use crate::model::{Project, User};
use crate::schema::Seed;
use crate::secrets;
use crate::state::{identity, quotas};
use crate::stop;
use clap::Args;
use rome_core::database::Database;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub struct DemoArguments {
    /// Sites, each with an API and schedulers of its own
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    sites: u16,
    /// Hosts at each site
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    hosts: u16,
    /// Schedulers at each site
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    schedulers: u16,
    /// URL of the store [default: a fresh embedded store in a temporary directory]
    #[arg(long, env = "COMPUTE_STORE", value_name = "URL")]
    store: Option<String>,
    #[command(flatten)]
    burst: BurstArguments,
    #[command(flatten)]
    hosts_have: HostArguments,
}

/// Runs the demo.
///
/// # Errors
/// Where anything fails or is not as it must be.
pub async fn run(arguments: DemoArguments) -> CliResult<()> {
    let mut stop = stop_on_signal();
    tokio::select! {
        done = perform(&arguments) => done,
        () = stop::requested(&mut stop) => {
            Err(CliError::new("interrupted").with_hint("A store of your own keeps what was made so far; a temporary one is gone."))
        }
    }
}

async fn perform(arguments: &DemoArguments) -> CliResult<()> {
    // Kept until the end: dropping it removes the directory.
    let directory = tempfile::tempdir().map_err(|error| CliError::new(format!("no temporary directory: {error}")))?;
    let url = match &arguments.store {
        Some(url) => url.clone(),
        None => format!("embedded:{}", directory.path().join("cloud.rome").display()),
    };
    let shown = arguments.store.as_deref().map_or("a fresh embedded store", without_password);
    println!(
        "demo: {} site(s) with {} hosts each, {} servers, on {shown}",
        arguments.sites, arguments.hosts, arguments.burst.count
    );
    let begun = Instant::now();
    let (database, seed) = open(&url, None).await?;
    let metered = Arc::new(Metered::new(Arc::clone(&database)));
    let config = CloudConfig {
        sites: arguments.sites,
        hosts: arguments.hosts,
        schedulers: arguments.schedulers,
        port_base: None,
        host: arguments.hosts_have.size(),
    };
    let cloud = Cloud::start(Arc::clone(&metered) as Arc<dyn Database>, &config).await?;
    let state = if matches!(seed, Seed::Known) { "a cloud that was there" } else { "a new cloud" };
    println!("  up in {:.2} s: {state}", begun.elapsed().as_secs_f64());
    let guest = Guest::admit(database.as_ref()).await?;
    let shown = show(&cloud, &guest, &metered, &database, &arguments.burst).await;
    let left = guest.leave(database.as_ref()).await;
    let stopped = cloud.stop().await;
    shown.and(left).and(stopped)
}

async fn show(
    cloud: &Cloud,
    guest: &Guest,
    metered: &Metered,
    database: &Arc<dyn Database>,
    arguments: &BurstArguments,
) -> CliResult<()> {
    let (_, api) = cloud.apis().first().ok_or_else(|| CliError::new("no API runs"))?;
    let client = Client::log_in(api, &guest.credentials).await?;
    // The store may know sites of an earlier cloud.
    let sites: Vec<String> = cloud.apis().iter().map(|(site, _)| site.clone()).collect();
    let mut burst = Burst::prepare(client, arguments, Some(&sites)).await?;
    let audit = Audit::start(Arc::clone(database));
    let before = metered.counts();
    let progress = report::progress(u64::from(arguments.count), "booting");
    let outcome = burst.boot(&progress).await;
    progress.finish_and_clear();
    let outcome = outcome?;
    report::print_burst(&outcome);
    let booting = metered.counts() - before;
    let mut violations = audit::books_agree(database.as_ref()).await?;
    let before = metered.counts();
    let progress = report::progress(u64::from(arguments.count), "deleting");
    let took = burst.delete(&progress).await;
    progress.finish_and_clear();
    let took = took?;
    println!();
    println!("  {} servers deleted after {:.2} s", outcome.active, took.as_secs_f64());
    print_cost("boot", booting, outcome.count);
    print_cost("delete", metered.counts() - before, outcome.count);
    let findings = audit.finish().await;
    violations.extend(findings.violations);
    violations.extend(audit::books_agree(database.as_ref()).await?);
    violations.extend(guest.leftovers(database.as_ref()).await?);
    burst::verdict(&outcome)?;
    if let Some(first) = violations.first() {
        return Err(CliError::new(format!(
            "capacity or quota is wrong, {} finding(s); the first: {first}",
            violations.len()
        )));
    }
    println!(
        "  capacity never exceeded: {} samples during the run, every claim and all quota given back",
        findings.samples
    );
    Ok(())
}

fn print_cost(what: &str, counts: Counts, servers: usize) {
    let each = |count: u64| count as f64 / servers.max(1) as f64;
    println!(
        "  to {what} a server: {:.1} statements, {:.2} transactions, {} of them run again (polling included)",
        each(counts.statements),
        each(counts.commits),
        counts.transactions.saturating_sub(counts.commits)
    );
}

/// Everything before the credentials of a URL is safe to print.
fn without_password(url: &str) -> &str {
    if url.contains('@') { url.split(':').next().unwrap_or("the given store") } else { url }
}

/// A user with a project for this run, so that a cloud that was there keeps its own.
struct Guest {
    credentials: Credentials,
    user_id: String,
    project_id: String,
}

impl Guest {
    async fn admit(database: &dyn Database) -> CliResult<Self> {
        let name = format!("demo-{}", Uuid::new_v4().simple());
        let (password, id) = (secrets::random_text(18), Uuid::new_v4().simple().to_string());
        let to_hash = password.clone();
        let hashed = tokio::task::spawn_blocking(move || secrets::hash_password(&to_hash)).await;
        let password_hash = hashed.map_err(|error| CliError::new(error.to_string()))??;
        let project = Project { id: id.clone(), name: name.clone(), description: None, enabled: 1 };
        identity::insert_project(database, &project).await?;
        // An administrator, to be shown the hosts.
        let user =
            User { id: id.clone(), name: name.clone(), project_id: id.clone(), password_hash, is_admin: 1, enabled: 1 };
        identity::insert_user(database, &user).await?;
        let credentials = Credentials { username: name.clone(), password, project: name };
        Ok(Self { credentials, user_id: id.clone(), project_id: id })
    }

    /// Quota that is still used.
    async fn leftovers(&self, database: &dyn Database) -> CliResult<Option<String>> {
        let used = quotas::usage(database, &self.project_id).await?;
        Ok((used != crate::model::QuotaNumbers::default()).then(|| format!("quota still used: {used:?}")))
    }

    async fn leave(&self, database: &dyn Database) -> CliResult<()> {
        Ok(identity::remove_user_and_project(database, &self.user_id, &self.project_id).await?)
    }
}
