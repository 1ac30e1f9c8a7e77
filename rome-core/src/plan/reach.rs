//! Which homes a plan reaches, as far as it says before it runs, and how many of its round trips leave the local one.

use crate::catalog::{Table, TableId};
use crate::exec::expr::{Expr, ExprKind};
use crate::exec::node::{Change, Node, Scan};
use crate::topology::{HomeNo, Topology};
use crate::value::{Value, cast};
use std::collections::BTreeSet;

/// What the store can do and where the client is, as far as they change the number of round trips.
#[derive(Clone, Copy, Debug)]
pub struct StoreTraits<'t> {
    /// Index entries and their rows come in one round trip.
    pub follow: bool,
    /// The home of the client's site.
    pub local: HomeNo,
    /// All sites.
    pub topology: &'t Topology,
    /// Global tables that are read from the copy at the client's site.
    pub copied: &'t BTreeSet<TableId>,
}

/// The value of a literal, cast or not.
pub(super) fn literal(expr: &Expr) -> Option<Value> {
    match &expr.kind {
        ExprKind::Literal(value) => Some(value.clone()),
        ExprKind::Cast(inner) => cast(literal(inner)?, &expr.data_type).ok(),
        _ => None,
    }
}

/// Homes that are reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Reach {
    /// Those that are known before the plan runs.
    pub(super) homes: BTreeSet<HomeNo>,
    /// So many more, which parameters or rows name, at most.
    pub(super) named: usize,
    /// So many of these have only led to others by their claims, and need no validation where nothing is written.
    pub(super) passed: usize,
}

impl Reach {
    pub(super) fn of_scan(scan: &Scan, store: StoreTraits<'_>) -> Self {
        let mut reach = Self::default();
        match &scan.placed {
            _ if store.copied.contains(&scan.table.id) => {
                reach.homes.insert(store.local);
            }
            None if scan.by_claim => {
                // Where the claim is, and where it says.
                let keys = scan.access.prefix.iter().map(Vec::len).fold(1, usize::saturating_mul);
                let all = scan.table.homes.all().len();
                reach.named = keys.saturating_mul(2).min(all);
                reach.passed = reach.named - keys.min(all);
            }
            None => reach.homes.extend(scan.table.homes.all()),
            Some(columns) => reach.add_values(&scan.table, columns),
        }
        reach
    }

    /// The homes that a change writes to, besides those that its source reads.
    pub(super) fn of_change(change: &Change) -> Self {
        let mut reach = Self::default();
        let table = match change {
            Change::Insert(insert) => &insert.table,
            Change::Update(update) => &update.table,
            // What is deleted was read.
            Change::Delete(_) => return reach,
        };
        if let Some(home) = table.homes.only() {
            reach.homes.insert(home);
            return reach;
        }
        let placement = table.homes.columns();
        match change {
            Change::Insert(insert) => {
                let at: Option<Vec<usize>> = placement
                    .iter()
                    .map(|position| insert.targets.iter().position(|target| target == position))
                    .collect();
                match (&insert.source, at) {
                    (Node::Values { rows }, Some(at)) => {
                        for row in rows {
                            let values = at.iter().filter_map(|at| row.get(*at)).map(|expr| vec![expr.clone()]);
                            reach.add_values(table, &values.collect::<Vec<_>>());
                        }
                    }
                    _ => reach.named = table.homes.all().len(),
                }
            }
            Change::Update(update) if update.assignments.iter().any(|(at, _)| placement.contains(at)) => {
                reach.named = table.homes.all().len();
            }
            _ => {}
        }
        reach
    }

    /// The homes of all combinations of these values of the placement columns.
    fn add_values(&mut self, table: &Table, columns: &[Vec<Expr>]) {
        let combinations = columns.iter().map(Vec::len).fold(1, usize::saturating_mul);
        let known: Option<Vec<Vec<Value>>> =
            columns.iter().map(|values| values.iter().map(literal).collect()).collect();
        match (known, columns) {
            (Some(known), [_]) => {
                let homes = known.into_iter().flatten().filter_map(|value| table.homes.of_values(&[value]).ok());
                self.homes.extend(homes.flatten());
            }
            (Some(known), _) if combinations == 1 => {
                let values: Vec<Value> = known.into_iter().flatten().collect();
                self.homes.extend(table.homes.of_values(&values).ok().flatten());
            }
            _ => self.named += combinations.min(table.homes.all().len()),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.homes.extend(&other.homes);
        self.named += other.named;
        self.passed += other.passed;
    }

    /// Whether it surely stays at the local site.
    pub(super) fn is_near(&self, traits: StoreTraits<'_>) -> bool {
        let here = traits.topology.site_of(traits.local);
        self.named == 0 && self.homes.iter().all(|home| traits.topology.site_of(*home) == here)
    }

    /// Whether it may be more than one home that is validated together.
    pub(super) fn may_spread(&self) -> bool {
        self.homes.len() + self.named - self.passed > 1
    }

    /// `at rome`, `at 3 sites`, `at 1 named site`.
    pub(super) fn text(&self, traits: StoreTraits<'_>) -> String {
        let mut names: Vec<&str> = vec![];
        for home in &self.homes {
            let name = traits.topology.site_of(*home).unwrap_or("?");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut parts: Vec<String> = match names.len() {
            0..=3 => names.iter().map(|name| (*name).to_owned()).collect(),
            many => vec![format!("{many} sites")],
        };
        if self.homes.len() > names.len() {
            parts.push(format!("{} homes", self.homes.len()));
        }
        match self.named.min(traits.topology.sites.len()) {
            0 => {}
            1 => parts.push("the site that its value names".to_owned()),
            many => parts.push(format!("up to {many} sites that their values name")),
        }
        if parts.is_empty() {
            parts.push("no site".to_owned());
        }
        parts.join(", ")
    }
}
