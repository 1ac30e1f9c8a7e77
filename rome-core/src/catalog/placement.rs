//! At which site each row of a table lives.

use super::{ColumnId, Table};
use crate::error::{Error, Result};
use crate::topology::{HomeNo, Topology};
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Where a table's rows live, as DDL says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Placement {
    /// At the first home: tables of a database with one site.
    #[default]
    First,
    /// All at one site.
    At {
        /// Its name.
        site: String,
    },
    /// Each at the site that a column names.
    BySite {
        /// The column, text and NOT NULL.
        column: ColumnId,
    },
}

/// [`Placement`] with homes in place of names.
#[derive(Clone, Debug)]
pub enum Homes {
    /// All rows at one home.
    One(HomeNo),
    /// At the home of the site that the column at this position names.
    BySite {
        /// The position in [`Table::columns`].
        position: usize,
        /// The sites.
        topology: Arc<Topology>,
    },
}

impl Default for Homes {
    fn default() -> Self {
        Self::One(HomeNo::FIRST)
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
    /// 22023 where the site does not exist, XX000 where the column does not.
    pub fn of(table: &Table, topology: &Arc<Topology>) -> Result<Self> {
        match &table.placement {
            Placement::First => Ok(Self::One(HomeNo::FIRST)),
            Placement::At { site } => topology.home_of_site(site).map(Self::One),
            Placement::BySite { column } => {
                let position = table.position(*column);
                let position = position.ok_or_else(|| Error::internal("a placement names no column"))?;
                Ok(Self::BySite { position, topology: Arc::clone(topology) })
            }
        }
    }

    /// Every home that may hold rows.
    pub fn all(&self) -> Vec<HomeNo> {
        match self {
            Self::One(home) => vec![*home],
            Self::BySite { topology, .. } => topology.homes(),
        }
    }

    /// The only home, where there is only one.
    pub fn only(&self) -> Option<HomeNo> {
        match self {
            Self::One(home) => Some(*home),
            Self::BySite { topology, .. } => match topology.sites.as_slice() {
                [site] => Some(site.home),
                _ => None,
            },
        }
    }

    /// The position of the column that says where a row lives, where there is one.
    pub fn column(&self) -> Option<usize> {
        match self {
            Self::One(_) => None,
            Self::BySite { position, .. } => Some(*position),
        }
    }

    /// The home of the rows whose placement column has this value; `None` where none can have it.
    pub fn of_value(&self, value: &Value) -> Option<HomeNo> {
        match (self, value) {
            (Self::One(home), _) => Some(*home),
            (Self::BySite { topology, .. }, Value::Text(site)) => topology.site(site).map(|site| site.home),
            _ => None,
        }
    }

    /// The home of a row.
    ///
    /// # Errors
    /// 22023 where the row names no site.
    pub fn of_row(&self, row: &[Value]) -> Result<HomeNo> {
        match self {
            Self::One(home) => Ok(*home),
            Self::BySite { position, topology } => match row.get(*position) {
                Some(Value::Text(site)) => topology.home_of_site(site),
                _ => Err(Error::internal("a row without a site")),
            },
        }
    }
}

impl fmt::Display for Homes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(home) => write!(f, "home {home}"),
            Self::BySite { .. } => f.write_str("by site"),
        }
    }
}
