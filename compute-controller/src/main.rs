//! The program `compute-controller`; see `--help` and [`compute_controller::cli`].

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    compute_controller::cli::main().await
}
