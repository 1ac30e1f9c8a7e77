//! `rome topology status`: how each site is.

use super::show::{problem_of, topology_value};
use super::{Place, Surveyed};
use crate::cli::output::{Align, Answer, bytes, count, error_line, error_value, milliseconds, several, table, time};
use futures::future::join_all;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rome::{Error, Result, SqlState};
use rome_core::catalog::Format;
use rome_core::database::{Held, Lag, Prepared, SiteFound, SiteState, SiteStatus, Standing};
use serde_json::{Value, json};
use std::time::Duration;

const COLUMNS: [(&str, Align); 10] = [
    ("SITE", Align::Left),
    ("STORE", Align::Left),
    ("STATE", Align::Left),
    ("ROUND TRIP", Align::Right),
    ("DURABILITY", Align::Left),
    ("FORMAT", Align::Left),
    ("LAG", Align::Right),
    ("IN DOUBT", Align::Right),
    ("ROWS", Align::Right),
    ("BYTES", Align::Right),
];

/// What was learnt of a site besides that it answers.
#[derive(Default)]
struct Content {
    prepared: Option<Prepared>,
    held: Option<Held>,
    lag: Option<Lag>,
    failure: Option<Error>,
}

/// Shows how all sites are.
pub async fn run(at: &Place, fast: bool, json: bool) -> Result<Answer> {
    let surveyed = at.surveyed().await?;
    let bars = MultiProgress::new();
    let counting = surveyed.survey.sites.iter().map(|site| {
        // Draws on a terminal only.
        let bar = if json { ProgressBar::hidden() } else { bars.add(ProgressBar::new_spinner()) };
        content(&surveyed, site, fast, bar)
    });
    let contents = join_all(counting).await;
    let sites: Vec<(&SiteStatus, Content)> = surveyed.survey.sites.iter().zip(contents).collect();
    let rows: Vec<Vec<String>> = sites.iter().map(|(site, content)| row(&surveyed, site, content)).collect();
    let head = match surveyed.topology() {
        Some(topology) => {
            let sites = several(topology.sites.len(), "site");
            let format = surveyed.survey.format.map(|format| format!(", format {format}")).unwrap_or_default();
            format!("Database {}, epoch {}{format}, {sites}", topology.cluster, topology.epoch)
        }
        None => "No database was found.".to_owned(),
    };
    let values: Vec<Value> = sites.iter().map(|(site, content)| value(&surveyed, site, content)).collect();
    let topology = surveyed.topology().map(topology_value);
    let format = surveyed.survey.format.map(|format| format.to_string());
    let mut answer = Answer::new(
        format!("{head}\n\n{}", table(&COLUMNS, &rows)),
        json!({ "topology": topology, "format": format, "sites": values }),
    );
    for (site, content) in &sites {
        complain(site, content, &mut answer);
    }
    if let Some(format) = surveyed.survey.format.filter(|format| *format < Format::NEWEST) {
        answer.note(format!(
            "the database has format {format}, this version of Rome speaks format {} too: raise it with \
             rome topology upgrade once no older version is in use",
            Format::NEWEST
        ));
    }
    if surveyed.topology().is_none() && answer.is_well() {
        return Err(surveyed.nothing_there());
    }
    Ok(answer)
}

async fn content(surveyed: &Surveyed, site: &SiteStatus, fast: bool, bar: ProgressBar) -> Content {
    let is_member = !site.homes.is_empty();
    let SiteState::Reached(_) = &site.state else { return Content::default() };
    if !is_member {
        return Content::default();
    }
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(site.name.clone());
    bar.enable_steady_tick(Duration::from_millis(100));
    let shown = |held: Held| bar.set_message(format!("{} rows, {}", count(held.rows), bytes(held.bytes)));
    let counted = async {
        match fast {
            true => Ok(None),
            false => surveyed.survey.rows_at(&site.name, shown).await.map(Some),
        }
    };
    let survey = &surveyed.survey;
    let (prepared, held, lag) = futures::join!(survey.prepared_at(&site.name), counted, survey.lag_at(&site.name));
    bar.finish_and_clear();
    // Without the home of a table nobody knows how far its copies are behind; that the home is away is said of it.
    let of_lag = lag.as_ref().err().filter(|error| error.state() != SqlState::CONNECTION_FAILURE);
    let failure = prepared.as_ref().err().or(held.as_ref().err()).or(of_lag).cloned();
    Content { prepared: prepared.ok(), held: held.ok().flatten(), lag: lag.ok().flatten(), failure }
}

fn state_of(site: &SiteStatus, content: &Content) -> &'static str {
    match &site.state {
        SiteState::Unknown => "not in the file",
        SiteState::Unreachable(_) => "unreachable",
        SiteState::Reached(found) => match found.standing {
            Standing::Member | Standing::Behind { .. } if content.failure.is_some() => "failing",
            Standing::Member => "ok",
            Standing::Behind { .. } => "behind",
            Standing::LeftBehind => "left behind",
            Standing::Former { .. } => "former",
            Standing::Alone => "alone",
            Standing::Empty if site.homes.is_empty() => "not added",
            Standing::Empty => "empty",
            Standing::Foreign { .. } => "foreign",
            Standing::OtherFormat => "other format",
        },
    }
}

fn reached(site: &SiteStatus) -> Option<&SiteFound> {
    match &site.state {
        SiteState::Reached(found) => Some(found),
        _ => None,
    }
}

fn row(surveyed: &Surveyed, site: &SiteStatus, content: &Content) -> Vec<String> {
    let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    let found = reached(site);
    let in_doubt = content.prepared.as_ref().map(|prepared| count(prepared.in_doubt as u64));
    vec![
        site.name.clone(),
        or_dash(surveyed.file.sites().shown_store(&site.name)),
        state_of(site, content).to_owned(),
        or_dash(found.map(|found| time(found.round_trip))),
        or_dash(found.map(|found| found.durability.to_string())),
        or_dash(found.and_then(|found| found.format.clone())),
        or_dash(content.lag.map(|lag| match lag {
            Lag::CaughtUpAfter(lag) => time(lag),
            Lag::Behind => "behind".to_owned(),
        })),
        or_dash(in_doubt),
        or_dash(content.held.map(|held| count(held.rows))),
        or_dash(content.held.map(|held| bytes(held.bytes))),
    ]
}

fn value(surveyed: &Surveyed, site: &SiteStatus, content: &Content) -> Value {
    let found = reached(site);
    let error = match &site.state {
        SiteState::Unreachable(error) => Some(error),
        _ => content.failure.as_ref(),
    };
    let prepared = content.prepared.as_ref();
    json!({
        "name": site.name,
        "homes": site.homes.iter().map(|home| home.0).collect::<Vec<_>>(),
        "store": surveyed.file.sites().shown_store(&site.name),
        "engine": found.map(|found| found.engine),
        "state": state_of(site, content),
        "error": error.map(error_value),
        "round_trip_ms": found.map(|found| milliseconds(found.round_trip)),
        "durability": found.map(|found| found.durability.to_string()),
        "format": found.and_then(|found| found.format.clone()),
        "replication_lag_ms": content.lag.and_then(|lag| match lag {
            Lag::CaughtUpAfter(lag) => Some(milliseconds(lag)),
            Lag::Behind => None,
        }),
        "replication_behind": content.lag.map(|lag| lag == Lag::Behind),
        "transactions": prepared.map(|prepared| json!({
            "prepared": prepared.seen,
            "in_doubt": prepared.in_doubt,
            "oldest_in_doubt": prepared.oldest.map(|txn| txn.to_string()),
        })),
        "rows": content.held.map(|held| held.rows),
        "bytes": content.held.map(|held| held.bytes),
    })
}

/// Says what is not as it should be.
fn complain(site: &SiteStatus, content: &Content, answer: &mut Answer) {
    let name = &site.name;
    match &site.state {
        SiteState::Unknown => answer.problem(format!(
            "the file does not name site \"{name}\", which the database has: its rows can't be reached with this file"
        )),
        SiteState::Unreachable(error) => {
            answer.problem(format!("site \"{name}\" can't be reached: {}", error_line(error)));
        }
        SiteState::Reached(found) => {
            if let Some(problem) = problem_of(name, found, !site.homes.is_empty()) {
                answer.problem(problem);
            }
        }
    }
    if content.lag == Some(Lag::Behind) {
        answer.note(format!(
            "the copies of global tables at site \"{name}\" are behind: they catch up while a client of that site runs"
        ));
    }
    if let Some(failure) = &content.failure {
        answer.problem(format!("site \"{name}\" could not be looked through: {}", error_line(failure)));
    }
    if let Some(Prepared { in_doubt, oldest: Some(oldest), .. }) = &content.prepared {
        answer.note(format!(
            "site \"{name}\" has {} in doubt, the oldest is {oldest}: they end as soon as all of their sites can be reached",
            several(*in_doubt, "transaction")
        ));
    }
}
