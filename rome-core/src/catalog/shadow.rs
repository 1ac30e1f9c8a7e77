//! A table on its way to another placement, while everybody goes on working with it.
//!
//! The *shadow* is a second copy of the table's rows, index entries and claims, in spaces of its own and at the homes of the new placement. From
//! the commit that puts it into the description, every write of a row writes its copy too ([`crate::exec::shadow`]); reads stay with the old
//! ones. Somebody walks the old rows meanwhile and copies those that nobody has written since. Then one commit makes the shadow the table.
//!
//! A copy exists only where its row does, and is the same; so uniqueness and foreign keys need be checked at the old place alone.

use super::placement::{Homes, Placement};
use super::{ColumnId, Table};
use crate::error::{Error, Result};
use crate::topology::{HomeNo, Topology};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where a table is moving to. Spaces are never reused, so that a shadow is told from every other by that of its rows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Shadow {
    /// Where its rows will live.
    pub placement: Placement,
    /// The space of the copied rows.
    pub rows: u32,
    /// The space of claims on the primary key, where it will need them.
    pub claims: Option<u32>,
    /// The homes that will keep claims.
    pub authorities: Vec<HomeNo>,
    /// The copies of all indexes.
    pub indexes: Vec<ShadowIndex>,
}

/// The copy of an index.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ShadowIndex {
    /// The space of the index that it is a copy of.
    pub of: u32,
    /// The space of the copied entries.
    pub space: u32,
    /// The space of claims on its keys, where it will need them.
    pub claims: Option<u32>,
}

impl Shadow {
    /// What leads from a table to another description of it, placed elsewhere and in other spaces.
    ///
    /// # Errors
    /// XX000 where the other lacks an index.
    pub fn between(table: &Table, target: &Table) -> Result<Self> {
        let indexes = table.indexes.iter().map(|index| {
            let copy = target.index_named(&index.name).ok_or_else(|| incomplete(&index.name))?;
            Ok(ShadowIndex { of: index.space, space: copy.space, claims: copy.claims })
        });
        Ok(Self {
            placement: target.placement.clone(),
            rows: target.row_space(),
            claims: target.claims,
            authorities: target.authorities.clone(),
            indexes: indexes.collect::<Result<_>>()?,
        })
    }

    /// The table as it will be when it has moved; where its homes are is still to be said.
    ///
    /// # Errors
    /// XX000 where the shadow lacks an index.
    pub fn applied(&self, table: &Table) -> Result<Table> {
        let mut moved = table.clone();
        moved.shadow = None;
        moved.target = None;
        moved.placement = self.placement.clone();
        moved.rows = Some(self.rows);
        moved.claims = self.claims;
        moved.authorities.clone_from(&self.authorities);
        for index in &mut moved.indexes {
            let copy = self.indexes.iter().find(|copy| copy.of == index.space);
            let copy = copy.ok_or_else(|| incomplete(&index.name))?;
            (index.space, index.claims) = (copy.space, copy.claims);
        }
        let placed: Vec<ColumnId> = moved.placement.columns().to_vec();
        for column in moved.columns.iter_mut().filter(|column| placed.contains(&column.id)) {
            column.not_null = true;
        }
        Ok(moved)
    }
}

fn incomplete(index: &str) -> Error {
    Error::internal(format!("a table is moved without its index {index}"))
}

impl Table {
    /// The space of its rows.
    pub fn row_space(&self) -> u32 {
        self.rows.unwrap_or(self.id.0)
    }

    /// All its spaces: of rows, index entries and claims, without those of its shadow.
    pub fn spaces(&self) -> Vec<u32> {
        let indexes = self.indexes.iter().flat_map(|index| [Some(index.space), index.claims]);
        indexes.chain([self.claims, Some(self.row_space())]).flatten().collect()
    }

    /// Finds the homes that its placement means, and those of its shadow.
    ///
    /// # Errors
    /// As [`Homes::of`].
    pub fn find_homes(&mut self, topology: &Arc<Topology>) -> Result<()> {
        self.homes = Homes::of(self, topology)?;
        self.target = match &self.shadow {
            None => None,
            Some(shadow) => {
                let mut target = shadow.applied(self)?;
                target.homes = Homes::of(&target, topology)?;
                Some(Arc::new(target))
            }
        };
        Ok(())
    }
}
