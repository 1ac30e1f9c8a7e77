//! Where a table's rows live, as `WITH (placement = ...)` says.
//!
//! | option | rows live |
//! |---|---|
//! | `placement = 'at(site)'` | all at one site |
//! | `placement = 'by_site(column)'` | each at the site that the column names |
//! | `placement = 'sharded'`, `'sharded(column, ...)'` | over the homes of the local site, by a hash of the columns, by default the primary key |
//! | `colocate_with = 'parent'` | with the row of `parent` that a foreign key of the new table names |
//! | none | as `sharded` where the local site has several homes, else all at the local site |

use super::columns::column_ids;
use super::{Ddl, undefined_table};
use crate::catalog::{ColumnId, Homes, NewTable, Placement, SchemaView, Table};
use crate::error::{Error, Result, SqlState};
use crate::value::DataType;

impl Ddl<'_> {
    /// Places a new table as its options say.
    pub(super) fn place(&self, table: &mut Table, new: &NewTable) -> Result<()> {
        let mut placement = None;
        for (option, value) in &new.options {
            match option.as_str() {
                "placement" if placement.is_none() => placement = Some(self.placement(table, value)?),
                "colocate_with" if placement.is_none() => placement = Some(self.beside(table, new, value)?),
                "placement" | "colocate_with" => return Err(invalid("the placement is said twice".to_owned())),
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

    fn placement_here(&self, table: &Table) -> Result<Placement> {
        let topology = self.catalog.topology();
        if !topology.is_spread() {
            return Ok(Placement::First);
        }
        let site = topology.site_of(self.here()).ok_or_else(|| Error::internal("the local home has no site"))?;
        if topology.site(site)?.homes.len() > 1 {
            return Ok(Placement::Sharded { site: site.to_owned(), columns: table.primary_key.clone() });
        }
        Ok(Placement::At { site: site.to_owned() })
    }

    /// The placement that keeps rows with those of a parent: by the columns of a foreign key that stand for the parent's placement columns.
    fn beside(&self, table: &Table, new: &NewTable, name: &str) -> Result<Placement> {
        let parent = self.catalog.table(name).ok_or_else(|| undefined_table(name))?;
        let refused = |what: &str| {
            let message = format!("\"{}\" can't be kept with \"{name}\": {what}", table.name);
            Error::new(SqlState::INVALID_TABLE_DEFINITION, message).with_table(&table.name)
        };
        let key = new.foreign_keys.iter().find(|key| key.parent == name);
        let key = key.ok_or_else(|| refused("it has no foreign key to it"))?;
        let referenced = match key.parent_columns.is_empty() {
            true => parent.primary_key.clone(),
            false => column_ids(&parent, &key.parent_columns)?,
        };
        let columns = column_ids(table, &key.columns)?;
        let own = parent.placement.columns().iter().map(|column| {
            let at = referenced.iter().position(|other| other == column);
            let own = at.and_then(|at| columns.get(at)).copied();
            own.ok_or_else(|| refused("its foreign key does not contain the columns that say where a parent lives"))
        });
        let own: Vec<ColumnId> = own.collect::<Result<_>>()?;
        Ok(match &parent.placement {
            placement @ (Placement::First | Placement::At { .. }) => placement.clone(),
            Placement::BySite { .. } => match own.as_slice() {
                [column] => Placement::BySite { column: *column },
                _ => return Err(refused("its foreign key names no site")),
            },
            Placement::Sharded { site, .. } => Placement::Sharded { site: site.clone(), columns: own },
        })
    }

    fn placement(&self, table: &Table, text: &str) -> Result<Placement> {
        let argument = |name: &str| -> Option<String> {
            let inside = text.trim().strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
            Some(inside.trim().trim_matches('"').to_owned())
        };
        if let Some(site) = argument("at") {
            self.catalog.topology().home_of_site(&site)?;
            return Ok(Placement::At { site });
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

fn invalid(message: String) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
        .with_hint("Placements are at(site), by_site(column) and sharded, as in WITH (placement = 'by_site(site)').")
}

/// Refuses unique keys that rows at different homes could share: uniqueness is checked at a row's home.
pub(super) fn check_keys(table: &Table) -> Result<()> {
    let columns = table.placement.columns();
    let names: Vec<&str> =
        columns.iter().filter_map(|id| table.column(*id)).map(|column| column.name.as_str()).collect();
    let names = names.join("\", \"");
    let refused = |what: String| {
        Error::unsupported(format!("{what} without the placement column \"{names}\""))
            .with_hint(format!("Add \"{names}\" to the key: it is then checked where the row lives."))
            .with_table(&table.name)
    };
    // A hidden key is unique everywhere by itself.
    if let Some(key) = &table.primary_key_name
        && !columns.iter().all(|column| table.primary_key.contains(column))
    {
        return Err(refused(format!("the primary key \"{key}\"")));
    }
    for index in table.indexes.iter().filter(|index| index.unique) {
        if !columns.iter().all(|column| index.columns.iter().any(|part| part.column == *column)) {
            return Err(refused(format!("the unique key \"{}\"", index.name)));
        }
    }
    Ok(())
}

/// Refuses foreign keys that do not say where the parent is.
pub(super) fn check_foreign_key(child: &Table, parent: &Table, parent_columns: &[ColumnId]) -> Result<()> {
    let columns = parent.placement.columns();
    let Some(missing) = columns.iter().find(|column| !parent_columns.contains(column)) else { return Ok(()) };
    let name = parent.column(*missing).map_or("?", |column| column.name.as_str());
    Err(Error::unsupported(format!("a foreign key to \"{}\" without its placement column \"{name}\"", parent.name))
        .with_table(&child.name))
}
