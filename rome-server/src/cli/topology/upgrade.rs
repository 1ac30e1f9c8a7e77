//! `rome topology upgrade`: the format of a database, raised once all that works with it speaks the newer one.

use super::show::{topology_text, topology_value};
use super::{LAST_STEPS, Place};
use crate::cli::output::Answer;
use rome::{Options, Result};
use rome_core::catalog::Format;
use rome_core::database::SiteState;
use serde_json::json;

/// Raises the database to the newest format that this build speaks.
pub async fn run(at: &Place, options: Options) -> Result<Answer> {
    let surveyed = at.surveyed().await?;
    if surveyed.topology().is_none() {
        return Err(surveyed.nothing_there());
    }
    for site in &surveyed.survey.sites {
        match &site.state {
            // All must be there; it is found out before anything is tried.
            SiteState::Unreachable(error) if !site.homes.is_empty() => {
                let detail = format!("Site \"{}\": the database is raised at all of its sites at once.", site.name);
                return Err(error.clone().with_detail(detail));
            }
            SiteState::Reached(found) => super::show::refuse_other_format(&site.name, found)?,
            _ => {}
        }
    }
    let db = surveyed.open(at, None, options).await?;
    let upgraded = db.upgrade().await?;
    // Where a site is cut off just now, somebody else will see to it.
    let _ = tokio::time::timeout(LAST_STEPS, db.ended()).await;
    let (from, to) = (upgraded.from, upgraded.to);
    let did = match from == to {
        true => format!(
            "The database has format {to} already, the newest that this version of Rome speaks; nothing was changed."
        ),
        false => format!("The database was raised from format {from} to format {to}."),
    };
    let topology = db.topology();
    let value = json!({
        "done": did,
        "from": from.to_string(),
        "to": to.to_string(),
        "spoken": { "oldest": Format::OLDEST.to_string(), "newest": Format::NEWEST.to_string() },
        "topology": topology_value(&topology),
    });
    Ok(Answer::new(format!("{did}\n\n{}", topology_text(&topology)), value))
}
