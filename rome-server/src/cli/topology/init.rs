//! `rome topology init`: begins a database, or says that it is there.

use super::file::SitesFile;
use super::show::{differences, topology_text, topology_value};
use super::{Place, Surveyed, persistently};
use crate::cli::output::{Answer, several};
use rome::{Error, Options, Result, RomeDatabase, SqlState};
use rome_core::database::{SiteState, Standing, Survey};
use serde_json::json;
use std::sync::Arc;

/// Begins the database at the file's sites, where none is there.
pub async fn run(at: &Place, options: &Options) -> Result<Answer> {
    let mut surveyed = at.survey(SitesFile::read(&at.file)?, None).await?;
    if surveyed.survey.topology.is_none() {
        // All stores may be made here. Of a database that exists none is: a file that is missing was lost.
        let sites = Arc::clone(surveyed.file.sites()) as _;
        surveyed = at.ask(surveyed.file, sites).await?;
    }
    check(&surveyed)?;
    if let Some(topology) = &surveyed.survey.topology {
        let text = format!("The database exists already; nothing was changed.\n\n{}", topology_text(topology));
        let mut answer = Answer::new(text, json!({ "began": false, "topology": topology_value(topology) }));
        differences(&surveyed, &mut answer);
        return Ok(answer);
    }
    let Surveyed { file, sites, .. } = surveyed;
    let names = sites.names();
    let local = at.local(&file).or(names.first().map(String::as_str)).unwrap_or_default();
    let db = RomeDatabase::open_sites(local, Arc::clone(&sites), options.clone()).await?;
    persistently(&db, async || Ok(())).await?;
    let topology = db.topology();
    let begun = format!("Began a database at {}.\n\n{}", several(names.len(), "site"), topology_text(&topology));
    Ok(Answer::new(begun, json!({ "began": true, "topology": topology_value(&topology) })))
}

/// Refuses what could not be what the person wants.
fn check(surveyed: &Surveyed) -> Result<()> {
    let survey = &surveyed.survey;
    if survey.topology.is_none()
        && let Some((site, error)) = survey.unreachable().next()
    {
        // All must be there when a database begins.
        return Err(error.clone().with_detail(format!(
            "Site \"{site}\": {}",
            error.detail().unwrap_or("a database begins at all of its sites at once.")
        )));
    }
    for site in &survey.sites {
        let name = &site.name;
        let SiteState::Reached(found) = &site.state else {
            match survey.topology.is_some() && site.homes.is_empty() {
                true => return Err(none_of_its_sites(survey, name)),
                false => continue,
            }
        };
        let refused = |what: String| Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, what);
        match &found.standing {
            Standing::OtherFormat => super::show::refuse_other_format(name, found)?,
            Standing::Foreign { cluster } => {
                return Err(refused(format!(
                    "the store of site \"{name}\" belongs to another database of several sites"
                ))
                .with_detail(format!("Its cluster id is {cluster}."))
                .with_hint("Give the site a store of its own, or another namespace of the same server."));
            }
            Standing::Empty | Standing::Alone if survey.topology.is_some() && site.homes.is_empty() => {
                return Err(none_of_its_sites(survey, name));
            }
            _ => {}
        }
    }
    Ok(())
}

fn none_of_its_sites(survey: &Survey, name: &str) -> Error {
    let others: Vec<&str> =
        survey.topology.iter().flat_map(|topology| &topology.sites).map(|site| site.name.as_str()).collect();
    Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the database exists already, and \"{name}\" is none of its sites"),
    )
    .with_detail(format!("Its sites are: {}.", others.join(", ")))
    .with_hint(format!("Let it join with: rome topology add FILE {name}"))
}
