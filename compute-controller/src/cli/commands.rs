//! The commands and their arguments, and those that only start something.

use super::burst::{self, Burst};
use super::client::{Client, Credentials};
use super::cloud::{self, Cloud, CloudConfig, HostSize};
use super::demo::DemoArguments;
use super::report;
use super::{CliError, CliResult, stop_on_signal};
use crate::agent::{self, AgentConfig, End};
use crate::api::{self, App};
use crate::driver::{FakeDriver, FakeHypervisor};
use crate::schema::{self, ADMIN_PROJECT, ADMIN_USER, Seed};
use crate::{scheduler, stop, store};
use clap::{Args, Parser, Subcommand};
use rome_core::database::Database;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// A multi-site compute controller in the shape of OpenStack Nova that keeps all its state in Rome.
#[derive(Parser, Debug)]
#[command(name = "compute-controller", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Bring a cloud up, boot many servers, print how it went, delete them, shut down
    Demo(DemoArguments),
    /// Run a whole cloud in this process until Ctrl-C
    Up(UpArguments),
    /// Run the HTTP API of one site
    Api(ApiArguments),
    /// Run a scheduler of one site
    Scheduler(SchedulerArguments),
    /// Run the agent of one host
    Agent(AgentArguments),
    /// Boot many servers through a running API and print how long it took
    Boot(BootArguments),
}

/// Where the state lies.
#[derive(Args, Clone, Debug)]
pub struct StoreArguments {
    /// URL of the store: memory:, embedded:PATH, redis://HOST, etcd://HOST,HOST, and in builds with the feature `sql` also
    /// mysql://, postgres://, sqlite:PATH
    #[arg(long, env = "COMPUTE_STORE", value_name = "URL")]
    pub store: String,
}

/// The administrator's password.
#[derive(Args, Clone)]
pub struct PasswordArguments {
    /// Password of the user `admin`; a new cloud makes one up and prints it once
    #[arg(long, env = "COMPUTE_ADMIN_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub admin_password: Option<String>,
}

impl std::fmt::Debug for PasswordArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordArguments")
    }
}

/// What hosts have.
#[derive(Args, Clone, Debug)]
pub struct HostArguments {
    /// Virtual processors of a host
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    pub vcpus: i64,
    /// Memory of a host, in MB
    #[arg(long, default_value_t = 262_144, value_parser = clap::value_parser!(i64).range(1..=1_000_000_000))]
    pub ram_mb: i64,
    /// Disk of a host, in GB
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(i64).range(0..=1_000_000_000))]
    pub disk_gb: i64,
    /// How long the fake driver takes to boot a server, in ms
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub boot_time_ms: u64,
}

impl HostArguments {
    /// As the rest of the program has it.
    pub fn size(&self) -> HostSize {
        HostSize {
            capacity: crate::model::Resources { vcpus: self.vcpus, ram_mb: self.ram_mb, disk_gb: self.disk_gb },
            boot_time: Duration::from_millis(self.boot_time_ms),
        }
    }
}

/// Arguments of `up`.
#[derive(Args, Debug)]
pub struct UpArguments {
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    password: PasswordArguments,
    #[command(flatten)]
    hosts_have: HostArguments,
    /// Sites, each with an API and schedulers of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    sites: u16,
    /// Hosts at each site
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    hosts: u16,
    /// Schedulers at each site
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    schedulers: u16,
    /// Port of the first site's API; the others follow
    #[arg(long, default_value_t = 8774)]
    port_base: u16,
}

/// Arguments of `api`.
#[derive(Args, Debug)]
pub struct ApiArguments {
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    password: PasswordArguments,
    /// The site
    #[arg(long, default_value = "site1")]
    site: String,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8774")]
    listen: SocketAddr,
    /// The URL under which clients reach this API, where it differs from http://LISTEN
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

/// Arguments of `scheduler`.
#[derive(Args, Debug)]
pub struct SchedulerArguments {
    #[command(flatten)]
    store: StoreArguments,
    /// The site
    #[arg(long, default_value = "site1")]
    site: String,
    /// The scheduler's name, its own among all schedulers [default: SITE-scheduler1]
    #[arg(long)]
    name: Option<String>,
}

/// Arguments of `agent`.
#[derive(Args, Debug)]
pub struct AgentArguments {
    #[command(flatten)]
    store: StoreArguments,
    /// The site
    #[arg(long, default_value = "site1")]
    site: String,
    /// The host's name, its own among all hosts of all sites
    #[arg(long)]
    host: String,
    /// Directory that stands for the host's hypervisor: its guests outlive the agent there
    #[arg(long, value_name = "PATH")]
    state_dir: PathBuf,
    #[command(flatten)]
    host_has: HostArguments,
}

/// Arguments of `boot`.
#[derive(Args)]
pub struct BootArguments {
    /// URL of any site's API, for example http://127.0.0.1:8774; servers are spread over all sites that it knows
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8774")]
    api: String,
    #[command(flatten)]
    burst: BurstArguments,
    /// Only at this site
    #[arg(long, value_name = "SITE")]
    region: Option<String>,
    /// User
    #[arg(long, env = "OS_USERNAME", default_value = ADMIN_USER)]
    username: String,
    /// The user's password
    #[arg(long, env = "OS_PASSWORD", hide_env_values = true)]
    password: String,
    /// Project
    #[arg(long, env = "OS_PROJECT_NAME", default_value = ADMIN_PROJECT)]
    project: String,
    /// Delete the servers afterwards
    #[arg(long)]
    delete: bool,
}

impl std::fmt::Debug for BootArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootArguments").field("api", &self.api).finish_non_exhaustive()
    }
}

/// What to boot.
#[derive(Args, Clone, Debug)]
pub struct BurstArguments {
    /// Servers
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Flavor, by name or id
    #[arg(long, default_value = "m1.tiny")]
    pub flavor: String,
    /// Image, by name or id
    #[arg(long, default_value = "cirros")]
    pub image: String,
    /// Requests under way at once
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub concurrency: u16,
    /// Give up when servers are not ACTIVE after so many seconds
    #[arg(long, default_value_t = 300)]
    pub timeout_s: u64,
}

/// Opens the store, creates what is missing, and gives what seeding did.
pub(super) async fn open(url: &str, admin_password: Option<&str>) -> CliResult<(Arc<dyn Database>, Seed)> {
    let database = store::open(url).await?;
    schema::create(database.as_ref()).await?;
    let seed = schema::seed(database.as_ref(), admin_password).await?;
    Ok((database, seed))
}

/// Says once how to log in.
fn introduce(seed: &Seed, url: &str, site: &str) {
    if let Seed::NewWithPassword(password) = seed {
        println!("A new cloud. The password of \"{ADMIN_USER}\", shown this once: {password}");
    }
    println!("For the OpenStack client:");
    println!("  export OS_AUTH_URL={url}/identity/v3 OS_IDENTITY_API_VERSION=3 OS_REGION_NAME={site}");
    println!(
        "  export OS_USERNAME={ADMIN_USER} OS_PROJECT_NAME={ADMIN_PROJECT} OS_USER_DOMAIN_ID=default OS_PROJECT_DOMAIN_ID=default"
    );
    println!("  export OS_PASSWORD=...");
}

/// Listens, with a hint where the port is taken.
pub(super) async fn listen(at: SocketAddr) -> CliResult<TcpListener> {
    TcpListener::bind(at).await.map_err(|error| {
        CliError::new(format!("can't listen on {at}: {error}"))
            .with_hint("Choose another port, or stop what uses this one.")
    })
}

/// `up`
pub async fn up(arguments: UpArguments) -> CliResult<()> {
    let mut stop = stop_on_signal();
    let password = arguments.password.admin_password.as_deref();
    let (database, seed) = open(&arguments.store.store, password).await?;
    let config = CloudConfig {
        sites: arguments.sites,
        hosts: arguments.hosts,
        schedulers: arguments.schedulers,
        port_base: Some(arguments.port_base),
        host: arguments.hosts_have.size(),
    };
    let cloud = Cloud::start(database, &config).await?;
    for (site, url) in cloud.apis() {
        println!("{site}: {url} ({} hosts)", config.hosts);
    }
    if let Some((site, url)) = cloud.apis().first() {
        introduce(&seed, url, site);
    }
    println!("Ctrl-C stops it.");
    stop::requested(&mut stop).await;
    println!("stopping");
    cloud.stop().await
}

/// `api`
pub async fn api(arguments: ApiArguments) -> CliResult<()> {
    cloud::check_name("site", &arguments.site)?;
    let stop = stop_on_signal();
    let (database, seed) = open(&arguments.store.store, arguments.password.admin_password.as_deref()).await?;
    let listener = listen(arguments.listen).await?;
    let at = listener.local_addr().map_err(|error| CliError::new(error.to_string()))?;
    let url = arguments.public_url.unwrap_or_else(|| format!("http://{at}"));
    let app = App::new(database, &arguments.site, &url).await?;
    introduce(&seed, &url, &arguments.site);
    api::serve(app, listener, stop).await.map_err(|error| CliError::new(format!("the API ended: {error}")))
}

/// `scheduler`
pub async fn scheduler(arguments: SchedulerArguments) -> CliResult<()> {
    cloud::check_name("site", &arguments.site)?;
    let stop = stop_on_signal();
    let (database, _) = open(&arguments.store.store, None).await?;
    let name = arguments.name.unwrap_or_else(|| format!("{}-scheduler1", arguments.site));
    cloud::check_name("scheduler", &name)?;
    Ok(scheduler::run(database, &arguments.site, &name, stop).await?)
}

/// `agent`
pub async fn agent(arguments: AgentArguments) -> CliResult<()> {
    cloud::check_name("site", &arguments.site)?;
    cloud::check_name("host", &arguments.host)?;
    let stop = stop_on_signal();
    let hypervisor = FakeHypervisor::in_directory(&arguments.state_dir).await.map_err(|error| {
        CliError::new(error.to_string()).with_hint("Give a directory that can be written with --state-dir.")
    })?;
    let (database, _) = open(&arguments.store.store, None).await?;
    let size = arguments.host_has.size();
    let config = AgentConfig { site: arguments.site, host: arguments.host, capacity: size.capacity };
    let driver = Arc::new(FakeDriver::new(hypervisor, size.boot_time));
    match agent::run(database, config, driver, stop).await? {
        End::Stopped => Ok(()),
        End::Replaced => Err(CliError::new("another agent of this host has started")
            .with_hint("Run one agent for each host, and give each its own --host.")),
    }
}

/// `boot`
pub async fn boot(arguments: BootArguments) -> CliResult<()> {
    let mut stop = stop_on_signal();
    let credentials =
        Credentials { username: arguments.username, password: arguments.password, project: arguments.project };
    let client = Client::log_in(&arguments.api, &credentials).await?;
    let mut burst =
        Burst::prepare(client, &arguments.burst, arguments.region.as_ref().map(std::slice::from_ref)).await?;
    let progress = report::progress(u64::from(arguments.burst.count), "booting");
    let outcome = tokio::select! {
        outcome = burst.boot(&progress) => outcome?,
        () = stop::requested(&mut stop) => {
            progress.abandon();
            return Err(CliError::new("interrupted; the servers that were created are still there"));
        }
    };
    progress.finish_and_clear();
    report::print_burst(&outcome);
    if arguments.delete {
        let progress = report::progress(u64::from(arguments.burst.count), "deleting");
        let took = burst.delete(&progress).await?;
        progress.finish_and_clear();
        println!("deleted in {:.2} s", took.as_secs_f64());
    }
    burst::verdict(&outcome)
}
