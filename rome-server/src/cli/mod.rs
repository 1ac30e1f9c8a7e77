//! The commands, and how they talk to a person and to a program.
//!
//! | file | what |
//! |---|---|
//! | `output` | answers as aligned text or JSON, errors with detail, hint and SQLSTATE |
//! | `topology` | `rome topology ...`: the sites of a database |
//!
//! Exit codes: 0 where all went well, 1 where something failed or a site is not as it should be, 2 where the arguments make no sense. Answers go to
//! the standard output, what is wrong to standard error.

mod output;
mod topology;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Rome: relational state on geo-distributed key/value stores.
#[derive(Parser)]
#[command(name = "rome", version, about, max_term_width = 100)]
struct Cli {
    /// Answer in JSON, errors too
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The sites of a database: begin it, look at it, let sites join and leave
    #[command(subcommand)]
    Topology(topology::Command),
}

/// Runs the command that the arguments name.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Topology(command) => topology::run(command, cli.json).await,
    };
    match done {
        Ok(answer) => {
            output::answer(&answer, cli.json);
            ExitCode::from(u8::from(!answer.is_well()))
        }
        Err(error) => {
            output::error(&error, cli.json);
            ExitCode::FAILURE
        }
    }
}
