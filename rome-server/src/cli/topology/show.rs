//! `rome topology show`: the sites as the stores have them, beside the file.

use super::{Asking, Place, Surveyed};
use crate::cli::output::{Align, Answer, error_line, several, table};
use rome::{Error, Result, RomeDatabase, SqlState};
use rome_core::catalog::Format;
use rome_core::database::{SiteFound, SiteState, Sites, Standing};
use rome_core::topology::{Site, Topology};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Shows the topology that a file's sites or one store have.
pub async fn run(place: &str, asking: &Asking) -> Result<Answer> {
    if is_store(place) {
        return of_store(place, asking).await;
    }
    let (path, local) = match place.strip_prefix("topology:") {
        Some(rest) => rest.split_once("?local=").map_or((rest, None), |(path, local)| (path, Some(local.to_owned()))),
        None => (place, None),
    };
    let asking = Asking { timeout: asking.timeout };
    let surveyed = Place { file: path.into(), local, asking }.surveyed().await?;
    let Some(topology) = &surveyed.survey.topology else { return Err(surveyed.nothing_there()) };
    let mut answer = Answer::new(topology_text(topology), json!({ "topology": topology_value(topology) }));
    differences(&surveyed, &mut answer);
    Ok(answer)
}

/// Whether this is a store's URL rather than a file.
fn is_store(place: &str) -> bool {
    let scheme = place.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| *scheme != "topology");
    let written = |scheme: &str| scheme.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    scheme.is_some_and(|scheme| !scheme.is_empty() && written(scheme)) && !Path::new(place).exists()
}

async fn of_store(url: &str, asking: &Asking) -> Result<Answer> {
    if let Some(path) = url.strip_prefix("embedded:")
        && !Path::new(path).exists()
    {
        return Err(Error::new(SqlState::CONNECTION_FAILURE, format!("there is no file \"{path}\"")));
    }
    let asked =
        async { RomeDatabase::topology_in(&rome::open_store(url).await?, &rome::Options::default().home).await };
    let limit = Duration::from_secs_f64(asking.timeout);
    let found = tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
        let message = format!("the store did not answer within {limit:?}");
        Err(Error::new(SqlState::CONNECTION_FAILURE, message))
    })?;
    let topology = found.ok_or_else(|| {
        Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the store holds no database of several sites".to_owned(),
        )
    })?;
    Ok(Answer::new(topology_text(&topology), json!({ "topology": topology_value(&topology) })))
}

/// A topology for people.
pub fn topology_text(topology: &Topology) -> String {
    let homes = |site: &Site| site.homes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let rows: Vec<Vec<String>> = topology.sites.iter().map(|site| vec![site.name.clone(), homes(site)]).collect();
    let sites = several(topology.sites.len(), "site");
    let table = table(&[("SITE", Align::Left), ("HOMES", Align::Left)], &rows);
    format!("Database {}, epoch {}, {sites}\n\n{table}", topology.cluster, topology.epoch)
}

/// A topology for programs.
pub fn topology_value(topology: &Topology) -> Value {
    let homes = |site: &Site| site.homes.iter().map(|home| home.0).collect::<Vec<_>>();
    let sites: Vec<Value> =
        topology.sites.iter().map(|site| json!({ "name": site.name, "homes": homes(site) })).collect();
    json!({ "cluster": topology.cluster, "epoch": topology.epoch, "sites": sites })
}

/// Says where file and stores disagree, and which sites could not be asked.
pub fn differences(surveyed: &Surveyed, answer: &mut Answer) {
    for site in &surveyed.survey.sites {
        let name = &site.name;
        match &site.state {
            SiteState::Unknown => answer.note(format!(
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
        let (wanted, has) = (usize::from(surveyed.file.sites().homes(name)), site.homes.len());
        if surveyed.file.names(name) && has > 0 && wanted != has {
            answer.note(format!(
                "the file gives site \"{name}\" {}, it has {has}: the number counts only when a site joins",
                several(wanted, "home")
            ));
        }
    }
}

/// What is wrong with a site that answered.
pub fn problem_of(name: &str, found: &SiteFound, is_member: bool) -> Option<String> {
    match &found.standing {
        Standing::Member => None,
        Standing::Behind { epoch } => Some(format!(
            "site \"{name}\" still has the topology of epoch {epoch}: a change of the sites is on its way, or was left in the middle"
        )),
        Standing::Former { epoch } => Some(format!(
            "site \"{name}\" was taken out of the database after epoch {epoch}: its store still holds what it had then"
        )),
        Standing::Empty if is_member => {
            Some(format!("the store of site \"{name}\" is empty: it has lost what it held, or is another one"))
        }
        Standing::Empty => Some(format!("site \"{name}\" is not in the database yet: its store is empty")),
        Standing::Alone => Some(format!("the store of site \"{name}\" holds a database of its own")),
        Standing::Foreign { cluster } => {
            Some(format!("the store of site \"{name}\" belongs to another database, {cluster}"))
        }
        Standing::LeftBehind => {
            let format = found.format.as_deref().unwrap_or("?");
            Some(format!(
                "the store of site \"{name}\" holds format {format}, and other sites a newer one: it was restored from an older backup, \
                 comes from elsewhere, or the database is being raised just now"
            ))
        }
        Standing::OtherFormat => Some(other_format(name, found)),
    }
}

/// The error where a store is in a format that this build does not speak.
///
/// # Errors
/// 57P03 then.
pub fn refuse_other_format(name: &str, found: &SiteFound) -> Result<()> {
    let held = Format::held(found.format.as_deref().map(str::as_bytes));
    held.map(drop).map_err(|error| error.with_detail(format!("At site \"{name}\".")))
}

/// What is wrong with such a store, in one line.
fn other_format(name: &str, found: &SiteFound) -> String {
    let format = found.format.as_deref().unwrap_or("?");
    format!("the store of site \"{name}\" holds format {format}, this version of Rome speaks {}", Format::spoken())
}
