//! Where a table's rows live, as `WITH (placement = ...)` says.
//!
//! | option | rows live |
//! |---|---|
//! | `placement = 'at(site)'` | all at one site |
//! | `placement = 'by_site(column)'` | each at the site that the column names |
//! | none | all at the site of the client that makes the table |

use super::Ddl;
use crate::catalog::{ColumnId, Homes, Placement, Table};
use crate::error::{Error, Result, SqlState};
use crate::value::DataType;

impl Ddl<'_> {
    /// Places a new table as its options say.
    pub(super) fn place(&self, table: &mut Table, options: &[(String, String)]) -> Result<()> {
        let mut placement = None;
        for (option, value) in options {
            match option.as_str() {
                "placement" if placement.is_none() => placement = Some(self.placement(table, value)?),
                "placement" => return Err(invalid("placement is said twice".to_owned())),
                _ => return Err(Error::unsupported(format!("the table option \"{option}\""))),
            }
        }
        table.placement = match placement {
            Some(placement) => placement,
            None => self.placement_here(),
        };
        if let Placement::BySite { column } = table.placement
            && let Some(column) = table.columns.iter_mut().find(|other| other.id == column)
        {
            column.not_null = true;
        }
        table.homes = Homes::of(table, self.catalog.topology())?;
        Ok(())
    }

    fn placement_here(&self) -> Placement {
        let topology = self.catalog.topology();
        match topology.site_of(self.here()) {
            Some(site) if topology.is_spread() => Placement::At { site: site.to_owned() },
            _ => Placement::First,
        }
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
        if let Some(name) = argument("by_site") {
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
        .with_hint("Placements are at(site) and by_site(column), as in WITH (placement = 'by_site(site)').")
}

/// Refuses unique keys that rows at different sites could share: uniqueness is checked at a row's home.
pub(super) fn check_keys(table: &Table) -> Result<()> {
    let Placement::BySite { column } = table.placement else { return Ok(()) };
    let name = table.column(column).map_or("?", |column| column.name.as_str());
    let refused = |what: String| {
        Error::unsupported(format!("{what} without the placement column \"{name}\""))
            .with_hint(format!("Add \"{name}\" to the key: it is then unique at each site."))
            .with_table(&table.name)
    };
    // A hidden key is unique everywhere by itself.
    if let Some(key) = &table.primary_key_name
        && !table.primary_key.contains(&column)
    {
        return Err(refused(format!("the primary key \"{key}\"")));
    }
    for index in table.indexes.iter().filter(|index| index.unique) {
        if !index.columns.iter().any(|part| part.column == column) {
            return Err(refused(format!("the unique key \"{}\"", index.name)));
        }
    }
    Ok(())
}

/// Refuses foreign keys that do not say at which site the parent is.
pub(super) fn check_foreign_key(child: &Table, parent: &Table, parent_columns: &[ColumnId]) -> Result<()> {
    let Placement::BySite { column } = parent.placement else { return Ok(()) };
    if parent_columns.contains(&column) {
        return Ok(());
    }
    let name = parent.column(column).map_or("?", |column| column.name.as_str());
    Err(Error::unsupported(format!("a foreign key to \"{}\" without its placement column \"{name}\"", parent.name))
        .with_table(&child.name))
}
