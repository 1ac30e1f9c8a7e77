//! `rome topology add` and `remove`: sites that join and leave. The database first, then the file; where something came between, doing it again
//! does the rest.

use super::file::{Pending, SitesFile};
use super::show::{topology_text, topology_value};
use super::{Place, persistently};
use crate::cli::output::Answer;
use rome::{Error, Options, Result, SqlState};
use rome_core::database::{SiteState, Standing};
use rome_core::topology::Topology;
use serde_json::json;

/// Adds a site.
pub async fn add(at: &Place, site: &str, store: Option<&str>, homes: Option<u16>, options: Options) -> Result<Answer> {
    let file = SitesFile::read(&at.file)?;
    let (file, pending) = match (file.names(site), store) {
        (false, None) => return Err(no_store(site)),
        (false, Some(store)) => {
            let with = file.with(site, store, homes)?;
            let pending = with.prepare()?;
            (with, Some(pending))
        }
        (true, _) => {
            check_same(&file, site, store)?;
            (file, None)
        }
    };
    let surveyed = at.survey(file, Some(site)).await?;
    let found = surveyed.survey.site(site).map(|status| (&status.state, !status.homes.is_empty()));
    if surveyed.survey.topology.is_none() {
        return Err(surveyed.nothing_there());
    }
    let member = match found {
        Some((SiteState::Unreachable(error), _)) => return Err(error.clone()),
        Some((SiteState::Reached(found), member)) => {
            joinable(site, &found.standing, member)?;
            super::show::refuse_other_format(site, found)?;
            member
        }
        _ => false,
    };
    if member && pending.is_none() {
        let message = format!("site \"{site}\" exists already, in the database and in the file");
        return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
    }
    let db = surveyed.open(at, Some(site), options).await?;
    if !member {
        persistently(&db, async || db.add_site(site).await).await?;
    }
    let did = match (member, replace(pending, "added to")?) {
        (true, _) => format!("The database had site \"{site}\" already; it was added to the file."),
        (false, true) => format!("Site \"{site}\" was added to the database and to the file."),
        (false, false) => format!("Site \"{site}\", which the file names, was added to the database."),
    };
    Ok(changed(&did, &db.topology()))
}

/// Takes a site away.
pub async fn remove(at: &Place, site: &str, options: Options) -> Result<Answer> {
    let file = SitesFile::read(&at.file)?;
    let pending = without(at, &file, site)?;
    let surveyed = at.survey(file, None).await?;
    let Some(topology) = surveyed.survey.topology.clone() else { return Err(surveyed.nothing_there()) };
    let member = topology.site(site);
    if let (Err(unknown), None) = (&member, &pending) {
        return Err(unknown.clone());
    }
    let member = member.is_ok();
    let db = surveyed.open(at, Some(site), options).await?;
    if member {
        persistently(&db, async || db.remove_site(site).await).await?;
    }
    let did = match (member, replace(pending, "removed from")?) {
        (true, true) => format!("Site \"{site}\" was removed from the database and from the file."),
        (true, false) => format!("Site \"{site}\" was removed from the database; the file did not name it."),
        (false, _) => format!("The database had no site \"{site}\" any more; it was removed from the file."),
    };
    Ok(changed(&did, &db.topology()))
}

/// The file without a site, ready to take its place; `None` where the file does not name it.
pub(super) fn without(at: &Place, file: &SitesFile, site: &str) -> Result<Option<Pending>> {
    if at.local(file) == Some(site) || file.local() == Some(site) {
        let message = format!("\"{site}\" is the site that this client is at");
        return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_hint("Do it with the file of another site, or name another local site in this one first."));
    }
    if !file.names(site) {
        return Ok(None);
    }
    match file.without(site)? {
        Some(left) => left.prepare().map(Some),
        None => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("\"{site}\" is the only site that the file names, so the database can't be reached without it"),
        )),
    }
}

/// Puts the file's new content in its place; whether there was any.
pub(super) fn replace(pending: Option<Pending>, what: &str) -> Result<bool> {
    let Some(pending) = pending else { return Ok(false) };
    pending.replace().map_err(|error| {
        error
            .with_detail(format!("The site was {what} the database; only the file is as it was."))
            .with_hint("Do the same again when the file can be written.")
    })?;
    Ok(true)
}

fn changed(did: &str, topology: &Topology) -> Answer {
    let value = json!({ "done": did, "topology": topology_value(topology) });
    Answer::new(format!("{did}\n\n{}", topology_text(topology)), value)
}

fn no_store(site: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("nothing says where the store of site \"{site}\" is"))
        .with_hint("Say it with --store URL.")
}

/// A file that names the site already must name the same store.
fn check_same(file: &SitesFile, site: &str, store: Option<&str>) -> Result<()> {
    let known = file.url(site)?;
    if store.is_none() || store == known.as_deref() {
        return Ok(());
    }
    let message = format!("the file names another store for site \"{site}\"");
    Err(Error::new(SqlState::DUPLICATE_OBJECT, message)
        .with_hint("Leave --store out to use the file's, or change the file."))
}

/// Refuses a store that holds something.
fn joinable(site: &str, standing: &Standing, member: bool) -> Result<()> {
    let refused =
        |what: String, hint: &str| Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, what).with_hint(hint));
    let own = "A site joins with an empty store: use another one, or another namespace of the same server.";
    match standing {
        Standing::Empty if member => refused(
            format!("site \"{site}\" is in the database, but this store is empty"),
            "Check the URL: the site's rows are in another store.",
        ),
        Standing::Alone => refused(format!("the store of site \"{site}\" holds a database of its own"), own),
        Standing::Foreign { .. } => {
            refused(format!("the store of site \"{site}\" belongs to another database of several sites"), own)
        }
        Standing::Former { .. } => {
            refused(format!("the store of site \"{site}\" still holds what it had when the site was taken out"), own)
        }
        _ => Ok(()),
    }
}
