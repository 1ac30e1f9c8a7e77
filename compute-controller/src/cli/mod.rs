//! The program: its commands, and how they talk to a person.
//!
//! [`cloud`] runs parts of a cloud in this process, [`client`] speaks to an API as any other client would, [`burst`] boots many servers through it,
//! [`audit`] checks from the outside that no host is overcommitted, [`report`] prints.

pub mod audit;
pub mod burst;
pub mod client;
pub mod cloud;
pub mod commands;
pub mod demo;
pub mod report;

use clap::Parser;
use commands::{Cli, Command};
use std::fmt;
use std::process::ExitCode;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// An error for the person at the terminal: what happened, and what to do about it.
#[derive(Debug)]
pub struct CliError {
    message: String,
    hint: Option<String>,
}

/// What commands give.
pub type CliResult<T> = Result<T, CliError>;

impl CliError {
    /// What happened.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// What to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CliError {}

impl From<rome_core::Error> for CliError {
    fn from(error: rome_core::Error) -> Self {
        let mut message = format!("{} (SQLSTATE {})", error.message(), error.state());
        if let Some(detail) = error.detail() {
            message.push_str(&format!("\ndetail: {detail}"));
        }
        Self { message, hint: error.hint().map(str::to_owned) }
    }
}

/// Runs the command that the arguments name.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = matches!(cli.command, Command::Demo(_) | Command::Boot(_));
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(if quiet { "error" } else { "info,sqlx=warn" }));
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).init();
    let done = match cli.command {
        Command::Up(arguments) => commands::up(arguments).await,
        Command::Api(arguments) => commands::api(arguments).await,
        Command::Scheduler(arguments) => commands::scheduler(arguments).await,
        Command::Agent(arguments) => commands::agent(arguments).await,
        Command::Boot(arguments) => commands::boot(arguments).await,
        Command::Demo(arguments) => demo::run(arguments).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Becomes true when the person presses Ctrl-C or the process is asked to end.
pub fn stop_on_signal() -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let terminated = async {
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(mut signal) => {
                    signal.recv().await;
                }
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = terminated => {}
        }
        let _ = stop.send(true);
        // A second Ctrl-C does not wait for anything.
        let _ = tokio::signal::ctrl_c().await;
        std::process::exit(130);
    });
    stopped
}
