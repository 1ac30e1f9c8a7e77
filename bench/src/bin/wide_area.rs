//! What distance costs: Rome at several sites beside one central SQL server, with the same delays between sites (see [`bench::wide`]).
//!
//! ```text
//! scripts/servers run -- cargo run --release -p bench --bin wide_area -- --write docs/wide-area.md
//! scripts/servers run -- cargo run --release -p bench --bin wide_area -- --quick
//! ```
//!
//! The whole takes about a quarter of an hour.

use bench::wide::deployment::Deployment;
use bench::wide::operations::Bench;
use bench::wide::settings::Settings;
use bench::wide::{mix, tables};
use bench::{Failure, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::parse(std::env::args().skip(1))?;
    let machine = format!("{}{}", tables::machine(&settings), tables::versions());
    // What was started ends with the values that stand for it, also when a person has had enough.
    let tables = tokio::select! {
        tables = measure(&settings) => tables?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::from("interrupted")),
    };
    let text = format!("{machine}\n{tables}");
    println!("{text}");
    match &settings.write {
        Some(path) => tables::write(path, &text),
        None => Ok(()),
    }
}

async fn measure(settings: &Settings) -> Result<String> {
    let mut text = String::new();
    if settings.operations {
        let mut points = vec![];
        for &system in &settings.systems {
            if let Some(deployment) = Deployment::start(system, settings).await? {
                let bench = Bench::fill(deployment).await?;
                points.extend(bench.measure(settings).await?);
                bench.remove().await?;
            }
        }
        text += &format!("## Single operations\n\n{}\n", tables::operations(&points, settings));
    }
    if settings.mix {
        let mut points = vec![];
        for &system in &settings.systems {
            if let Some(deployment) = Deployment::start(system, settings).await? {
                points.extend(mix::measure(deployment, settings).await?);
            }
        }
        text += &format!("## A mix in the manner of TPC-C\n\n{}", tables::mix(&points, settings));
    }
    Ok(text)
}
