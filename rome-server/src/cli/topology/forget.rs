//! `rome topology forget`: a site that is gone for good.

use super::file::SitesFile;
use super::show::{topology_text, topology_value};
use super::sites::{replace, without};
use super::{LAST_STEPS, Place};
use crate::cli::output::{Align, Answer, count, several, table};
use rome::{Error, Options, Result, RomeDatabase, SqlState};
use rome_core::database::{ForgetOptions, Forgotten};
use rome_core::topology::Topology;
use serde_json::json;
use std::sync::Arc;

/// Takes a site out of the database without asking it, then out of the file.
pub async fn run(at: &Place, site: &str, accepted: ForgetOptions, options: Options) -> Result<Answer> {
    let file = SitesFile::read(&at.file)?;
    let pending = without(at, &file, site)?;
    let surveyed = at.survey(file, None).await?;
    let Some(topology) = surveyed.topology() else { return Err(surveyed.nothing_there()) };
    let is_member = topology.site(site).map(|_| ());
    let local = surveyed.client_at(at, Some(site))?;
    let sites = Arc::clone(&surveyed.sites);
    // Also where the site is none of the database any more: an earlier attempt may have died before its end.
    let done = RomeDatabase::forget_site(local, sites, site, accepted, options).await;
    match (is_member, done) {
        (Err(unknown), done) if done.as_ref().map_or_else(is_unknown, |(_, left)| *left == Forgotten::default()) => {
            if pending.is_none() {
                return Err(unknown);
            }
            replace(pending, "taken out of")?;
            let did = format!("The database had no site \"{site}\" any more; it was removed from the file.");
            Ok(answer(&did, topology, &Forgotten::default()))
        }
        (_, done) => {
            let (db, forgotten) = done?;
            // Where another site is cut off just now, somebody else will see to it.
            let _ = tokio::time::timeout(LAST_STEPS, db.ended()).await;
            let file = if replace(pending, "taken out of")? { " and of the file" } else { "" };
            let did = format!("Site \"{site}\" was taken out of the database{file}.");
            Ok(answer(&did, &db.topology(), &forgotten))
        }
    }
}

fn is_unknown(error: &Error) -> bool {
    error.state() == SqlState::INVALID_PARAMETER_VALUE
}

fn answer(did: &str, topology: &Topology, forgotten: &Forgotten) -> Answer {
    let named = |keys: &[(String, String)]| {
        keys.iter().map(|(table, key)| json!({ "table": table, "constraint": key })).collect::<Vec<_>>()
    };
    let transactions = forgotten.decided.iter().map(|decided| {
        json!({
            "transaction": decided.txn.to_string(),
            "committed": decided.committed,
            "assumed": decided.assumed,
            "keys": decided.keys,
        })
    });
    let value = json!({
        "done": did,
        "topology": topology_value(topology),
        "decided": transactions.collect::<Vec<_>>(),
        "taken_over_tables": forgotten.taken_over.iter().map(|(table, site)| json!({ "table": table, "site": site })).collect::<Vec<_>>(),
        "dropped_tables": forgotten.dropped,
        "dropped_foreign_keys": named(&forgotten.dropped_keys),
        "keys_claimed_anew": forgotten.claimed.iter().map(|(table, keys)| json!({ "table": table, "keys": keys })).collect::<Vec<_>>(),
        "tables_that_lost_rows": forgotten.lost_rows,
        "dangling_foreign_keys": named(&forgotten.dangling),
    });
    let mut answer = Answer::new(format!("{did}\n\n{}{}", topology_text(topology), decisions(forgotten)), value);
    losses(forgotten, &mut answer);
    answer
}

/// The transactions that were in doubt, for people.
fn decisions(forgotten: &Forgotten) -> String {
    if forgotten.decided.is_empty() {
        return "\nNo transaction was in doubt with it.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = forgotten
        .decided
        .iter()
        .map(|decided| {
            let decision = if decided.committed { "committed" } else { "aborted" };
            let certainty = if decided.assumed { "assumed" } else { "certain" };
            let keys = count(decided.keys as u64);
            vec![decided.txn.to_string(), decision.to_owned(), certainty.to_owned(), keys]
        })
        .collect();
    let columns =
        [("TRANSACTION", Align::Left), ("DECISION", Align::Left), ("THIS IS", Align::Left), ("KEYS", Align::Right)];
    format!("\nIn doubt with it, and decided by the sites that remain:\n\n{}", table(&columns, &rows))
}

/// Says what is lost.
fn losses(forgotten: &Forgotten, answer: &mut Answer) {
    for (table, site) in &forgotten.taken_over {
        answer.note(format!(
            "global table \"{table}\" is written at site \"{site}\" from now on, as its copy there is: changes that had not \
             arrived there are gone, also acknowledged ones"
        ));
    }
    for name in &forgotten.dropped {
        answer.note(format!("table \"{name}\", which was placed there, is gone"));
    }
    for (table, key) in &forgotten.dropped_keys {
        answer.note(format!("foreign key \"{key}\" of table \"{table}\" is gone with the table that it referred to"));
    }
    if !forgotten.lost_rows.is_empty() {
        answer.note(format!(
            "the rows that these tables had there are gone, nobody knows how many: {}",
            forgotten.lost_rows.join(", ")
        ));
    }
    for (table, key) in &forgotten.dangling {
        answer.note(format!("rows of \"{table}\" may refer by \"{key}\" to rows that are gone: look for them"));
    }
    let assumed = forgotten.decided.iter().filter(|decided| decided.assumed).count();
    if assumed > 0 {
        answer.note(format!(
            "{} must be assumed to be committed: the site that is gone may have refused",
            several(assumed, "transaction")
        ));
    }
}
