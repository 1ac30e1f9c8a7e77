//! `rome topology restored`: a site whose store was put back from a backup.

use super::show::{topology_text, topology_value};
use super::{Place, persistently};
use crate::cli::output::{Align, Answer, count, table};
use rome::{Error, Options, Result, SqlState};
use rome_core::database::{SiteState, Standing};
use serde_json::json;
use std::sync::Mutex;

/// Puts the database in order after a site was restored.
pub async fn run(at: &Place, site: &str, options: Options) -> Result<Answer> {
    let surveyed = at.surveyed().await?;
    let Some(topology) = surveyed.topology() else { return Err(surveyed.nothing_there()) };
    topology.site(site)?;
    match surveyed.survey.site(site).map(|status| &status.state) {
        Some(SiteState::Unreachable(error)) => return Err(error.clone()),
        Some(SiteState::Reached(found)) if matches!(found.standing, Standing::Member | Standing::Behind { .. }) => {}
        _ => return Err(not_restored(site)),
    }
    let db = surveyed.open(at, Some(site), options).await?;
    let claimed = Mutex::default();
    persistently(&db, async || {
        let done = db.claim_anew().await?;
        if let Ok(mut claimed) = claimed.lock() {
            *claimed = done;
        }
        Ok(())
    })
    .await?;
    let claimed: Vec<(String, usize)> = claimed.into_inner().unwrap_or_default();
    let did =
        format!("Site \"{site}\" has the tables of the other sites again, and all unique keys were claimed anew.");
    let tables = claimed.iter().map(|(table, claims)| json!({ "table": table, "claims": claims }));
    let value = json!({
        "done": did,
        "topology": topology_value(&db.topology()),
        "claimed": tables.collect::<Vec<_>>(),
    });
    let rows: Vec<Vec<String>> =
        claimed.iter().map(|(table, claims)| vec![table.clone(), count(*claims as u64)]).collect();
    let listed = match rows.is_empty() {
        true => "\nNo table has unique keys that span sites.\n".to_owned(),
        false => format!("\n{}", table(&[("TABLE", Align::Left), ("KEYS CLAIMED", Align::Right)], &rows)),
    };
    let mut answer = Answer::new(format!("{did}\n\n{}{listed}", topology_text(&db.topology())), value);
    answer.note(format!(
        "what was committed at \"{site}\" after the backup is gone there, also of transactions whose other sites have kept their parts"
    ));
    Ok(answer)
}

fn not_restored(site: &str) -> Error {
    let message = format!("the store of site \"{site}\" holds no site of this database");
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_hint("Put the backup back and start the store first; where there is none, forget the site.")
}
