//! Where a table's rows live, as `WITH (placement = ...)` says.
//!
//! | option | rows live |
//! |---|---|
//! | `placement = 'at(site)'` | all at one site |
//! | `placement = 'by_site(column)'` | each at the site that the column names |
//! | `placement = 'sharded'`, `'sharded(column, ...)'` | over the homes of the local site, by a hash of the columns, by default the primary key |
//! | `placement = 'global'`, `'global(site)'` | all at the local site, or at the one named, with a copy at every other site |
//! | `colocate_with = 'parent'` | with the row of `parent` that a foreign key of the new table names |
//! | `changes = true` | whose changes are told in a stream, for those who watch the table (a watch turns it on by itself) |
//! | none | as `sharded` where the local site has several homes, else all at the local site |

use super::columns::column_ids;
use super::{Ddl, undefined_table};
use crate::catalog::{ColumnId, Homes, Index, NewTable, Placement, SchemaView, Table};
use crate::error::{Error, Result, SqlState};
use crate::value::DataType;

impl Ddl<'_> {
    /// Places a new table as its options say.
    pub(super) fn place(&self, table: &mut Table, new: &NewTable) -> Result<()> {
        let mut placement = None;
        for (option, value) in &new.options {
            match option.as_str() {
                "placement" if placement.is_none() => placement = Some(self.placement(table, value)?),
                "colocate_with" if placement.is_none() => {
                    placement = Some(self.beside(table, value, |parent| foreign_key_to(table, new, parent))?);
                }
                "placement" | "colocate_with" => return Err(said_twice()),
                "changes" => table.changes = switch(option, value)?,
                _ => return Err(Error::unsupported(format!("the table option \"{option}\""))),
            }
        }
        table.placement = match placement {
            Some(placement) => placement,
            None => self.placement_here(table)?,
        };
        let columns = table.placement.columns().to_vec();
        for column in table.columns.iter_mut().filter(|column| columns.contains(&column.id)) {
            column.not_null = true;
        }
        table.homes = Homes::of(table, self.catalog.topology())?;
        Ok(())
    }

    /// Gives claims to the unique keys of a new table that do not say where a row lives.
    pub(super) async fn claim_keys(&mut self, table: &mut Table) -> Result<()> {
        let placement = table.placement.columns();
        table.authorities = table.homes.all();
        // A hidden key is unique everywhere by itself.
        let declared = table.primary_key_name.is_some();
        if declared && !placement.iter().all(|column| table.primary_key.contains(column)) {
            table.claims = Some(self.new_spaces(1).await?);
        }
        let unclaimed: Vec<usize> = (0..table.indexes.len())
            .filter(|at| table.indexes.get(*at).is_some_and(|index| index.unique && !names_home(table, index)))
            .collect();
        for at in unclaimed {
            let space = self.new_spaces(1).await?;
            if let Some(index) = table.indexes.get_mut(at) {
                index.claims = Some(space);
            }
        }
        Ok(())
    }

    fn placement_here(&self, table: &Table) -> Result<Placement> {
        let topology = self.catalog.topology();
        if topology.epoch == 0 {
            return Ok(Placement::First);
        }
        let site = topology.site_of(self.here()).ok_or_else(|| Error::internal("the local home has no site"))?;
        if topology.site(site)?.homes.len() > 1 {
            return Ok(Placement::Sharded { site: site.to_owned(), columns: table.primary_key.clone() });
        }
        Ok(Placement::At { site: site.to_owned() })
    }

    /// The placement that keeps rows with those of a parent: by the columns of a foreign key that stand for the parent's placement columns.
    /// `key` gives that foreign key: its own columns, and the parent's.
    pub(super) fn beside(
        &self,
        table: &Table,
        name: &str,
        key: impl FnOnce(&Table) -> Result<Option<KeyColumns>>,
    ) -> Result<Placement> {
        let parent = self.catalog.table(name).ok_or_else(|| undefined_table(name))?;
        let refused = |what: &str| {
            let message = format!("\"{}\" can't be kept with \"{name}\": {what}", table.name);
            Error::new(SqlState::INVALID_TABLE_DEFINITION, message).with_table(&table.name)
        };
        let (columns, referenced) = key(&parent)?.ok_or_else(|| refused("it has no foreign key to it"))?;
        let own = parent.placement.columns().iter().map(|column| {
            let at = referenced.iter().position(|other| other == column);
            let own = at.and_then(|at| columns.get(at)).copied();
            own.ok_or_else(|| refused("its foreign key does not contain the columns that say where a parent lives"))
        });
        let own: Vec<ColumnId> = own.collect::<Result<_>>()?;
        Ok(match &parent.placement {
            placement @ (Placement::First | Placement::At { .. } | Placement::Global { .. }) => placement.clone(),
            Placement::BySite { .. } => match own.as_slice() {
                [column] => Placement::BySite { column: *column },
                _ => return Err(refused("its foreign key names no site")),
            },
            Placement::Sharded { site, .. } => Placement::Sharded { site: site.clone(), columns: own },
        })
    }

    pub(super) fn placement(&self, table: &Table, text: &str) -> Result<Placement> {
        let argument = |name: &str| -> Option<String> {
            let inside = text.trim().strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
            Some(inside.trim().trim_matches('"').to_owned())
        };
        if let Some(site) = argument("at") {
            self.catalog.topology().home_of_site(&site)?;
            return Ok(Placement::At { site });
        }
        if text.trim() == "global" || argument("global").is_some() {
            let topology = self.catalog.topology();
            if topology.epoch == 0 {
                return Ok(Placement::First);
            }
            let here = || topology.site_of(self.here()).unwrap_or_default().to_owned();
            let site = argument("global").unwrap_or_else(here);
            topology.home_of_site(&site)?;
            return Ok(Placement::Global { site });
        }
        if text.trim() == "sharded" || argument("sharded").is_some() {
            let columns = match argument("sharded") {
                None => table.primary_key.clone(),
                Some(names) => {
                    let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
                    column_ids(table, &names)?
                }
            };
            let topology = self.catalog.topology();
            if topology.epoch == 0 {
                return Ok(Placement::First);
            }
            let site = topology.site_of(self.here()).unwrap_or_default();
            return Ok(Placement::Sharded { site: site.to_owned(), columns });
        }
        if let Some(name) = argument("by_site") {
            if self.catalog.topology().epoch == 0 {
                return Err(Error::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "this database has one store and no sites to place rows at",
                )
                .with_hint("Open it with a topology."));
            }
            let (_, column) = table.column_named(&name).ok_or_else(|| {
                Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" named in placement does not exist"))
                    .with_table(&table.name)
                    .with_column(&name)
            })?;
            if column.data_type != DataType::Text {
                return Err(Error::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!("the placement column \"{name}\" must be of type text, not {}", column.data_type),
                )
                .with_column(&name));
            }
            return Ok(Placement::BySite { column: column.id });
        }
        Err(invalid(format!("\"{text}\" is no placement")))
    }
}

/// The columns of a foreign key, and those of the parent that they refer to.
pub(super) type KeyColumns = (Vec<ColumnId>, Vec<ColumnId>);

/// The foreign key of a new table that refers to this one.
fn foreign_key_to(table: &Table, new: &NewTable, parent: &Table) -> Result<Option<KeyColumns>> {
    let Some(key) = new.foreign_keys.iter().find(|key| key.parent == parent.name) else { return Ok(None) };
    let referenced = match key.parent_columns.is_empty() {
        true => parent.primary_key.clone(),
        false => column_ids(parent, &key.parent_columns)?,
    };
    Ok(Some((column_ids(table, &key.columns)?, referenced)))
}

/// SQLSTATE 22023: two options that each say where the rows live.
pub(super) fn said_twice() -> Error {
    invalid("the placement is said twice".to_owned())
}

fn invalid(message: String) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint(
        "Placements are at(site), by_site(column), global and sharded, as in WITH (placement = 'by_site(site)').",
    )
}

/// An option that is on or off.
pub(super) fn switch(option: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for boolean option \"{option}\": {value}"),
        )),
    }
}

/// Whether a key's rows lie where the key itself says: its uniqueness is checked there alone.
pub(super) fn names_home(table: &Table, index: &Index) -> bool {
    let has = |column: &ColumnId| index.columns.iter().any(|part| part.column == *column);
    table.placement.columns().iter().all(has)
}

/// SQLSTATE 0A000: uniqueness over all homes is to be there before the rows.
pub(super) fn too_late(table: &Table, key: &str) -> Error {
    Error::unsupported(format!(
        "the unique key \"{key}\" without the columns that say where a row lives, once there are rows"
    ))
    .with_hint("Make it before the first row, or add those columns to it.")
    .with_table(&table.name)
}

/// Refuses foreign keys that do not say where the parent is.
pub(super) fn check_foreign_key(child: &Table, parent: &Table, parent_columns: &[ColumnId]) -> Result<()> {
    let columns = parent.placement.columns();
    let Some(missing) = columns.iter().find(|column| !parent_columns.contains(column)) else { return Ok(()) };
    let same = |key: &[ColumnId]| {
        key.len() == parent_columns.len() && key.iter().all(|column| parent_columns.contains(column))
    };
    let by_index = parent
        .indexes
        .iter()
        .filter(|index| index.claims.is_some())
        .any(|index| same(&index.columns.iter().map(|part| part.column).collect::<Vec<_>>()));
    if by_index || parent.claims.is_some() && same(&parent.primary_key) {
        return Ok(());
    }
    let name = parent.column(*missing).map_or("?", |column| column.name.as_str());
    Err(Error::unsupported(format!("a foreign key to \"{}\" without its placement column \"{name}\"", parent.name))
        .with_table(&child.name))
}
