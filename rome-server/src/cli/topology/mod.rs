//! `rome topology ...`: the sites of a database, as a file names them and as the stores have them.
//!
//! | file | what |
//! |---|---|
//! | `file` | the topology file: its sites, and changes of it that keep everything else as it is |
//! | `init` | begin the database |
//! | `show` | what the stores have, beside what the file says |
//! | `sites` | sites that join and leave |
//! | `forget` | sites that are gone for good |
//! | `restored` | sites that were put back from a backup |
//! | `upgrade` | the database's format |
//! | `status` | how the sites are |
//!
//! Before anything is changed all sites are asked what they hold ([`RomeDatabase::survey`]), so that nothing is begun or written by mistake.

mod file;
mod forget;
mod init;
mod restored;
mod show;
mod sites;
mod status;
mod upgrade;

use super::output::Answer;
use clap::{Args, Subcommand};
use file::SitesFile;
use rome::{Error, Options, Result, RomeDatabase, SqlState};
use rome_core::database::{ForgetOptions, SiteState, Sites, Survey, SurveyOptions};
use rome_core::topology::Topology;
use rome_core::txn::Patience;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often a change is tried that loses against others.
const ATTEMPTS: u32 = 20;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait for a change to be known at all sites.
const LAST_STEPS: Duration = Duration::from_secs(5);

/// What to do with the sites of a database.
#[derive(Subcommand)]
pub enum Command {
    /// Begin the database at the sites that a file names; where it exists already, only say so
    Init {
        #[command(flatten)]
        at: Place,
        #[command(flatten)]
        changes: Changes,
    },
    /// Show the sites as the stores know them, and where the file says something else
    Show {
        /// The topology file, or the URL of one store
        #[arg(value_name = "FILE|URL")]
        place: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Add a site, whose store must be empty, to the running database and to the file
    Add {
        #[command(flatten)]
        at: Place,
        /// The name of the new site
        site: String,
        /// The URL of its store; may be left out where the file has it already
        #[arg(long, value_name = "URL")]
        store: Option<String>,
        /// How many homes the site gets: its sharded tables are spread over them
        #[arg(long, value_name = "N")]
        homes: Option<u16>,
        #[command(flatten)]
        changes: Changes,
    },
    /// Take a site that holds no rows any more out of the running database and out of the file
    Remove {
        #[command(flatten)]
        at: Place,
        /// The site
        site: String,
        #[command(flatten)]
        changes: Changes,
    },
    /// Take a site that is gone for good out of the running database and out of the file, without asking it
    ///
    /// All other sites must be there. What the site held is lost. Transactions over several sites that were in doubt with it are decided by those
    /// that remain, and listed. A site whose store still answers is refused: remove it instead.
    Forget {
        #[command(flatten)]
        at: Place,
        /// The site
        site: String,
        /// What it held is lost, and nobody goes on working there
        #[arg(long, required = true)]
        yes_it_is_gone: bool,
        /// Drop the tables that are placed at the site, and the foreign keys that refer to them
        #[arg(long)]
        drop_tables: bool,
        #[command(flatten)]
        changes: Changes,
    },
    /// Put the database in order after a site's store was put back from a backup
    ///
    /// The site gets the other sites' description of the tables, and the unique keys that span sites are claimed anew for the rows that there are. All
    /// sites must be there. What was committed at the site after the backup stays gone.
    Restored {
        #[command(flatten)]
        at: Place,
        /// The site
        site: String,
        #[command(flatten)]
        changes: Changes,
    },
    /// Raise the running database to the newest format that this version of Rome speaks, at all sites at once
    ///
    /// All sites must be there. Do it once everything runs this version, or newer ones: older versions that do not speak the format are refused from then on,
    /// and the format can't be lowered again.
    Upgrade {
        #[command(flatten)]
        at: Place,
        #[command(flatten)]
        changes: Changes,
    },
    /// Show how each site is: whether it answers, how fast, what it holds
    Status {
        #[command(flatten)]
        at: Place,
        /// Don't count rows and bytes, which means reading them all
        #[arg(long)]
        fast: bool,
    },
}

/// Which database, and where this client is.
#[derive(Args)]
pub struct Place {
    /// The topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The site that this client is at; by default the one that the file says, else any
    #[arg(long, value_name = "SITE")]
    local: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// How patiently sites are asked.
#[derive(Args)]
pub struct Asking {
    /// Seconds that a site may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    timeout: f64,
}

/// How changes are made.
#[derive(Args)]
pub struct Changes {
    /// Accept stores that may lose acknowledged commits when they fail over, which can tear this change apart
    #[arg(long)]
    allow_torn_on_failover: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds between 0.001 and 3600 is wanted".to_owned()),
    }
}

impl Asking {
    fn options(&self) -> SurveyOptions {
        SurveyOptions { timeout: Duration::from_secs_f64(self.timeout), ..SurveyOptions::default() }
    }
}

impl Changes {
    fn options(&self) -> Options {
        let allow_torn_on_failover = self.allow_torn_on_failover;
        // What others have left behind is for those that stay.
        Options {
            patience: Patience { sweep_every: None, allow_torn_on_failover, ..Patience::default() },
            ..Options::default()
        }
    }
}

/// Does what the command says.
///
/// # Errors
/// What kept it from being done, in words for the person.
pub async fn run(command: Command, json: bool) -> Result<Answer> {
    match command {
        Command::Init { at, changes } => init::run(&at, &changes.options()).await,
        Command::Show { place, asking } => show::run(&place, &asking).await,
        Command::Add { at, site, store, homes, changes } => {
            sites::add(&at, &site, store.as_deref(), homes, changes.options()).await
        }
        Command::Remove { at, site, changes } => sites::remove(&at, &site, changes.options()).await,
        Command::Forget { at, site, yes_it_is_gone: _, drop_tables, changes } => {
            forget::run(&at, &site, ForgetOptions { drop_tables }, changes.options()).await
        }
        Command::Restored { at, site, changes } => restored::run(&at, &site, changes.options()).await,
        Command::Upgrade { at, changes } => upgrade::run(&at, changes.options()).await,
        Command::Status { at, fast } => status::run(&at, fast, json).await,
    }
}

/// Does a change again where it lost against another one, then waits until all sites know of it.
async fn persistently(db: &RomeDatabase, change: impl AsyncFn() -> Result<()>) -> Result<()> {
    let mut lost = 0;
    while let Err(error) = change().await {
        lost += 1;
        if !error.is_retryable() || lost == ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
    // Where a site is cut off just now, somebody else will see to it.
    let _ = tokio::time::timeout(LAST_STEPS, db.ended()).await;
    Ok(())
}

/// A topology file and what was found at its sites.
struct Surveyed {
    file: SitesFile,
    sites: Arc<dyn Sites>,
    survey: Survey,
}

impl Place {
    /// The site that the person or the file says this client is at.
    fn local<'a>(&'a self, file: &'a SitesFile) -> Option<&'a str> {
        self.local.as_deref().or(file.local())
    }

    async fn surveyed(&self) -> Result<Surveyed> {
        self.survey(SitesFile::read(&self.file)?, None).await
    }

    /// Asks the sites of a file, one of which may be about to join.
    async fn survey(&self, file: SitesFile, joins: Option<&str>) -> Result<Surveyed> {
        let sites = file.existing(joins)?;
        self.ask(file, sites).await
    }

    async fn ask(&self, file: SitesFile, sites: Arc<dyn Sites>) -> Result<Surveyed> {
        let survey = RomeDatabase::survey(self.local(&file), &sites, self.asking.options()).await?;
        Ok(Surveyed { file, sites, survey })
    }
}

impl Surveyed {
    /// Opens the database as a client at a site that can be one.
    async fn open(&self, at: &Place, except: Option<&str>, options: Options) -> Result<RomeDatabase> {
        let local = self.client_at(at, except)?;
        RomeDatabase::open_existing_sites(local, Arc::clone(&self.sites), options).await
    }

    /// Where a client of the database may be: the site that was asked for, else the first that can be one.
    fn client_at<'a>(&'a self, at: &'a Place, except: Option<&str>) -> Result<&'a str> {
        let topology = self.survey.topology.as_ref().ok_or_else(|| self.nothing_there())?;
        let can_be = |name: &str| {
            let reached = matches!(self.survey.site(name).map(|site| &site.state), Some(SiteState::Reached(_)));
            reached && Some(name) != except && topology.site(name).is_ok()
        };
        let wanted = at.local(&self.file).filter(|local| Some(*local) != except);
        let first = || topology.sites.iter().map(|site| site.name.as_str()).find(|name| can_be(name));
        wanted.or_else(first).ok_or_else(|| self.nobody_there())
    }

    /// The topology, as it was found.
    fn topology(&self) -> Option<&Topology> {
        self.survey.topology.as_ref()
    }

    /// The error where no site that was reached has the database.
    fn nothing_there(&self) -> Error {
        let unreached: Vec<String> = self.survey.unreachable().map(|(site, _)| site.to_owned()).collect();
        match self.survey.unreachable().next() {
            // Its URL can't be right.
            Some((site, error)) if error.state() != SqlState::CONNECTION_FAILURE => {
                error.clone().with_detail(format!("At site \"{site}\"."))
            }
            Some((_, error)) => Error::new(
                SqlState::CONNECTION_FAILURE,
                format!("no database was found, and these sites can't be reached: {}", unreached.join(", ")),
            )
            .with_detail(error.message()),
            None => Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "there is no database at the sites that the file names",
            )
            .with_hint("Begin it with: rome topology init FILE"),
        }
    }

    fn nobody_there(&self) -> Error {
        Error::new(SqlState::CONNECTION_FAILURE, "no site can be reached from which this could be done")
    }
}
