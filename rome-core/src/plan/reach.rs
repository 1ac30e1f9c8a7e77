//! Which homes a plan reaches, as far as it says before it runs, and how many of its round trips leave the local one.

use crate::catalog::Table;
use crate::exec::expr::{Expr, ExprKind};
use crate::exec::node::{Change, Node, Scan};
use crate::topology::{HomeNo, Topology};
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
}

/// Homes that are reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Reach {
    /// Those that are known before the plan runs.
    pub(super) homes: BTreeSet<HomeNo>,
    /// So many more, which parameters or rows name, at most.
    pub(super) named: usize,
}

impl Reach {
    pub(super) fn of_scan(scan: &Scan) -> Self {
        let mut reach = Self::default();
        match &scan.sites {
            None => reach.homes.extend(scan.table.homes.all()),
            Some(sites) => sites.iter().for_each(|site| reach.add_site(&scan.table, site)),
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
        let position = match (table.homes.only(), table.homes.column()) {
            (Some(home), _) => {
                reach.homes.insert(home);
                return reach;
            }
            (None, Some(position)) => position,
            (None, None) => return reach,
        };
        match change {
            Change::Insert(insert) => match (&insert.source, insert.targets.iter().position(|at| *at == position)) {
                (Node::Values { rows }, Some(at)) => {
                    rows.iter().filter_map(|row| row.get(at)).for_each(|site| reach.add_site(table, site));
                }
                _ => reach.named = table.homes.all().len(),
            },
            Change::Update(update) if update.assignments.iter().any(|(at, _)| *at == position) => {
                reach.named = table.homes.all().len();
            }
            _ => {}
        }
        reach
    }

    fn add_site(&mut self, table: &Table, site: &Expr) {
        match &site.kind {
            ExprKind::Literal(value) => self.homes.extend(table.homes.of_value(value)),
            ExprKind::Cast(inner) if matches!(inner.kind, ExprKind::Literal(_)) => self.add_site(table, inner),
            _ => self.named += 1,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.homes.extend(&other.homes);
        self.named += other.named;
    }

    /// Whether it surely stays at one home.
    pub(super) fn is_only(&self, home: HomeNo) -> bool {
        self.named == 0 && self.homes.iter().all(|other| *other == home)
    }

    /// Whether it may be more than one home.
    pub(super) fn may_spread(&self) -> bool {
        self.homes.len() + self.named > 1
    }

    /// `at rome`, `at 3 sites`, `at 1 named site`.
    pub(super) fn text(&self, traits: StoreTraits<'_>) -> String {
        let mut parts: Vec<String> = if self.homes.len() > 3 {
            vec![format!("{} sites", self.homes.len())]
        } else {
            let name = |home: &HomeNo| traits.topology.site_of(*home).unwrap_or("?").to_owned();
            self.homes.iter().map(name).collect()
        };
        match self.named {
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
