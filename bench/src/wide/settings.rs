//! What to measure, from the command line.

use super::dialect::System;
use crate::{Failure, Result};
use std::path::PathBuf;
use std::time::Duration;

/// How to call the program.
pub const USAGE: &str = "\
usage: wide_area [--sites N] [--delays MS,MS,..] [--seconds S] [--runs N] [--clients N,N,..] [--warehouses N]
                 [--only operations|mix] [--systems NAME,NAME,..] [--write FILE] [--quick]

  --sites       sites, each with a Redis of its own: 3 to 16, 8 if not said
  --delays      round trips between sites in ms, the first is what others are compared with: 0,10,50,100
  --seconds     how long each point is measured: 2
  --runs        how often; medians are printed: 3
  --clients     clients at each site for the mix: 1,4,8,16
  --warehouses  warehouses at each site for the mix: 8
  --only        one of the two parts
  --systems     which: Rome,PostgreSQL,MariaDB
  --write       puts the tables into this file, below its line \"<!-- measured -->\"
  --quick       a few seconds of everything, to see that it works: the figures are worth nothing";

/// The line below which [`Settings::write`] takes the tables.
pub const MARKER: &str = "<!-- measured -->";

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sites.
    pub sites: usize,
    /// Round trips between sites, the base first.
    pub delays: Vec<Duration>,
    /// How long each point is measured.
    pub time: Duration,
    /// How often each point is measured.
    pub runs: usize,
    /// Clients at each site, for the mix.
    pub clients: Vec<usize>,
    /// Warehouses at each site, for the mix.
    pub warehouses: i64,
    /// What to measure, in this order.
    pub systems: Vec<System>,
    /// Whether to measure single operations.
    pub operations: bool,
    /// Whether to measure the mix.
    pub mix: bool,
    /// Where the tables go besides the standard output.
    pub write: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sites: 8,
            delays: [0, 10, 50, 100].map(Duration::from_millis).to_vec(),
            time: Duration::from_secs(2),
            runs: 3,
            clients: vec![1, 4, 8, 16],
            warehouses: 8,
            systems: System::ALL.to_vec(),
            operations: true,
            mix: true,
            write: None,
        }
    }
}

impl Settings {
    /// Reads the arguments, without the program's name.
    ///
    /// # Errors
    /// Where they are not as [`USAGE`] says.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut settings = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument == "--quick" {
                settings.time = Duration::from_millis(300);
                settings.runs = 1;
                settings.delays = [0, 20].map(Duration::from_millis).to_vec();
                settings.clients = vec![2];
                settings.sites = 3;
                settings.warehouses = 2;
                continue;
            }
            let value = arguments.next().ok_or_else(|| refused(&argument))?;
            match argument.as_str() {
                "--sites" => settings.sites = value.parse()?,
                "--delays" => settings.delays = numbers(&value)?.into_iter().map(Duration::from_millis).collect(),
                "--seconds" => settings.time = Duration::try_from_secs_f64(value.parse()?)?,
                "--runs" => settings.runs = value.parse()?,
                "--clients" => {
                    settings.clients = numbers(&value)?.into_iter().map(usize::try_from).collect::<Result<_, _>>()?;
                }
                "--warehouses" => settings.warehouses = value.parse()?,
                "--only" => {
                    settings.operations = value == "operations";
                    settings.mix = value == "mix";
                }
                "--systems" => {
                    let named = |name: &str| System::ALL.into_iter().find(|system| system.name() == name);
                    settings.systems = value
                        .split(',')
                        .map(|name| named(name).ok_or_else(|| refused(&argument)))
                        .collect::<Result<_>>()?;
                }
                "--write" => settings.write = Some(value.into()),
                _ => return Err(refused(&argument)),
            }
        }
        let fits = (3..=16).contains(&settings.sites)
            && !settings.delays.is_empty()
            && settings.runs > 0
            && settings.clients.iter().all(|clients| (1..=48).contains(clients))
            && (1..=100).contains(&settings.warehouses)
            && (settings.operations || settings.mix);
        if fits { Ok(settings) } else { Err(Failure::from(USAGE)) }
    }
}

fn refused(argument: &str) -> Failure {
    Failure::from(format!("{argument}: not known, or without its value\n{USAGE}"))
}

fn numbers(text: &str) -> Result<Vec<u64>> {
    text.split(',').map(|number| number.parse().map_err(Failure::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Settings> {
        Settings::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read_or_refused() {
        let settings = parsed("--sites 4 --delays 0,50 --seconds 0.5 --clients 1,48 --only mix --write x.md").unwrap();
        assert_eq!((settings.sites, settings.time, settings.clients.len()), (4, Duration::from_millis(500), 2));
        assert_eq!(settings.delays, [Duration::ZERO, Duration::from_millis(50)]);
        assert!(settings.mix && !settings.operations && settings.write.is_some());
        for wrong in [
            "--sites 2",
            "--sites",
            "--delays ,",
            "--clients 0",
            "--only nothing",
            "--runs 0",
            "--seconds -1",
            "--systems SQLite",
            "x",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
