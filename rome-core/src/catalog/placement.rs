//! At which home each row of a table lives.

use super::{ColumnId, Table};
use crate::encoding::{KeyColumn, encode_key_value};
use crate::error::{Error, Result};
use crate::topology::{HomeNo, Topology};
use crate::value::Value;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where a table's rows live, as DDL says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Placement {
    /// At the first home: tables of a database with one home.
    #[default]
    First,
    /// All at the first home of one site.
    At {
        /// Its name.
        site: String,
    },
    /// Each at the first home of the site that a column names.
    BySite {
        /// The column, text and NOT NULL.
        column: ColumnId,
    },
    /// All at the first home of one site, and copied from there to every other site, to be read there.
    Global {
        /// The name of the site where it is written.
        site: String,
    },
    /// Over all homes of one site, by a hash of some columns.
    Sharded {
        /// The site's name.
        site: String,
        /// The columns, NOT NULL.
        columns: Vec<ColumnId>,
    },
}

impl Placement {
    /// The columns that say where a row lives.
    pub fn columns(&self) -> &[ColumnId] {
        match self {
            Self::First | Self::At { .. } | Self::Global { .. } => &[],
            Self::BySite { column } => std::slice::from_ref(column),
            Self::Sharded { columns, .. } => columns,
        }
    }

    /// As DDL says it.
    pub fn text(&self, table: &Table) -> String {
        let names = |ids: &[ColumnId]| -> String {
            let names = ids.iter().filter_map(|id| table.column(*id)).filter(|column| !column.hidden);
            names.map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::First => "the first home".to_owned(),
            Self::At { site } => format!("at({site})"),
            Self::Global { site } => format!("global({site})"),
            Self::BySite { column } => format!("by_site({})", names(&[*column])),
            Self::Sharded { site, columns } => match names(columns).as_str() {
                "" => format!("sharded at site {site}"),
                names => format!("sharded({names}) at site {site}"),
            },
        }
    }
}

/// [`Placement`] with homes in place of names.
#[derive(Clone, Debug)]
pub struct Homes {
    /// Positions in [`Table::columns`] of the placement columns.
    positions: Vec<usize>,
    rule: Rule,
    /// Where copies are kept.
    replicas: Vec<HomeNo>,
    /// All homes that exist.
    known: Vec<HomeNo>,
    /// The number that the next home gets.
    next: u16,
}

#[derive(Clone, Debug)]
enum Rule {
    One(HomeNo),
    BySite(Arc<Topology>),
    Sharded { columns: Vec<KeyColumn>, homes: Vec<HomeNo> },
}

impl Default for Homes {
    fn default() -> Self {
        Self {
            positions: vec![],
            rule: Rule::One(HomeNo::FIRST),
            replicas: vec![],
            known: vec![HomeNo::FIRST],
            next: 1,
        }
    }
}

impl PartialEq for Homes {
    /// Follows from the placement and the topology, and is no part of what a table is.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Homes {
    /// The homes of a table with this placement.
    ///
    /// # Errors
    /// 22023 where the site does not exist, XX000 where a column does not.
    pub fn of(table: &Table, topology: &Arc<Topology>) -> Result<Self> {
        let positions = table
            .placement
            .columns()
            .iter()
            .map(|column| table.position(*column).ok_or_else(|| Error::internal("a placement names no column")));
        let rule = match &table.placement {
            Placement::First => Rule::One(HomeNo::FIRST),
            Placement::At { site } | Placement::Global { site } => Rule::One(topology.home_of_site(site)?),
            Placement::BySite { .. } => Rule::BySite(Arc::clone(topology)),
            Placement::Sharded { site, columns } => {
                let columns = columns.iter().filter_map(|id| table.column(*id));
                let columns = columns.map(|column| KeyColumn::ascending(column.data_type.clone())).collect();
                Rule::Sharded { columns, homes: topology.site(site)?.homes.clone() }
            }
        };
        let replicas = match &table.placement {
            Placement::Global { site } => {
                let others = topology.sites.iter().filter(|other| other.name != *site);
                others.filter_map(|other| other.homes.first().copied()).collect()
            }
            _ => vec![],
        };
        Ok(Self {
            positions: positions.collect::<Result<_>>()?,
            rule,
            replicas,
            known: topology.homes(),
            next: topology.next_home,
        })
    }

    /// Every home that may hold rows.
    pub fn all(&self) -> Vec<HomeNo> {
        match &self.rule {
            Rule::One(home) => vec![*home],
            Rule::BySite(topology) => topology.sites.iter().filter_map(|site| site.homes.first().copied()).collect(),
            Rule::Sharded { homes, .. } => homes.clone(),
        }
    }

    /// The homes that keep copies of the rows.
    pub fn replicas(&self) -> &[HomeNo] {
        &self.replicas
    }

    /// The only home, where there is only one.
    pub fn only(&self) -> Option<HomeNo> {
        match self.all().as_slice() {
            [home] => Some(*home),
            _ => None,
        }
    }

    /// The positions of the columns that say where a row lives, where there are several homes.
    pub fn columns(&self) -> &[usize] {
        if self.only().is_some() { &[] } else { &self.positions }
    }

    /// The home of the rows whose placement columns have these values; `None` where no row can have them.
    ///
    /// # Errors
    /// 54000 where a value is too large for a key.
    pub fn of_values(&self, values: &[Value]) -> Result<Option<HomeNo>> {
        Ok(match &self.rule {
            Rule::One(home) => Some(*home),
            Rule::BySite(topology) => match values.first() {
                // There is but one site.
                None => self.only(),
                Some(Value::Text(site)) => topology.home_of_site(site).ok(),
                _ => None,
            },
            Rule::Sharded { columns, homes } => {
                let mut bytes = vec![];
                for (value, column) in values.iter().zip(columns) {
                    encode_key_value(&mut bytes, value, column)?;
                }
                share_of(&bytes, homes)
            }
        })
    }

    /// Whether there is a home of this number.
    pub fn exists(&self, home: HomeNo) -> bool {
        self.known.contains(&home)
    }

    /// Whether there was a home of this number, and never will be again.
    pub fn existed(&self, home: HomeNo) -> bool {
        home.0 < self.next && !self.exists(home)
    }

    /// The home of a row.
    ///
    /// # Errors
    /// 22023 where the row names no site.
    pub fn of_row(&self, row: &[Value]) -> Result<HomeNo> {
        if let Rule::One(home) = self.rule {
            return Ok(home);
        }
        let value = |position: &usize| row.get(*position).cloned().unwrap_or(Value::Null);
        let values: Vec<Value> = self.positions.iter().map(value).collect();
        match (self.of_values(&values)?, &self.rule, values.first()) {
            (Some(home), ..) => Ok(home),
            (None, Rule::BySite(topology), Some(Value::Text(site))) => topology.home_of_site(site),
            _ => Err(Error::internal("a row without a home")),
        }
    }
}

/// One of these homes, by a hash of the bytes.
pub fn share_of(bytes: &[u8], homes: &[HomeNo]) -> Option<HomeNo> {
    // Any hash that never changes does; what is stored is where this one says.
    let hash = Md5::digest(bytes).first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let share = usize::try_from(hash % BUCKETS).unwrap_or_default() * homes.len() / BUCKETS as usize;
    homes.get(share).copied()
}

/// Shards that the homes of a site share evenly.
const BUCKETS: u64 = 1_024;
