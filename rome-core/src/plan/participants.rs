//! What a change reaches besides the rows that it finds, at several sites: rows that it writes, claims on unique keys, parents and children of
//! foreign keys. Each with the words by which `EXPLAIN` gives it as a reason.
//!
//! A prediction is exact where literals say where something lies, and else of the most that it may be: a claim on a parameter may be at any site.

use super::reach::{Reach, StoreTraits, literal};
use crate::catalog::{ColumnId, ForeignKey, Index, Placement, ReferentialAction, SchemaView, Table, TableId};
use crate::exec::claims::claim_place;
use crate::exec::expr::{Expr, ExprKind};
use crate::exec::node::{Assignment, Change, Insert, Node};
use crate::topology::HomeNo;
use crate::value::{Value, cast};
use std::collections::BTreeSet;

/// Something that takes part in a change.
pub(super) struct Participant {
    pub(super) reach: Reach,
    pub(super) why: String,
    /// It is read before the commit, with all others that are read at this step.
    pub(super) read: Option<Step>,
}

/// When a participant is read. Those of one step are read together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Step {
    /// Keys with which ON CONFLICT may have to deal.
    Conflicts,
    /// Rows that their claims lead to.
    Conflicting,
    /// The children of the nth foreign key.
    Children(usize),
    /// What marks are to keep of claims that are given up.
    GivenUp,
}

/// What is known of a column's new value.
#[derive(Clone)]
enum Given {
    Known(Value),
    /// An identifier that is made at this site.
    BornHere,
    Unknown,
}

/// A row that a change writes or removes, or any number of them that nothing is known of.
struct Row {
    columns: Vec<Given>,
    many: bool,
}

impl Row {
    fn unknown(table: &Table) -> Self {
        Self { columns: vec![Given::Unknown; table.columns.len()], many: true }
    }

    fn given(&self, table: &Table, columns: &[ColumnId]) -> Vec<Given> {
        let given = |id: &ColumnId| table.position(*id).and_then(|at| self.columns.get(at)).cloned();
        columns.iter().map(|id| given(id).unwrap_or(Given::Unknown)).collect()
    }
}

/// The values, where all are known.
fn known(given: &[Given]) -> Option<Vec<Value>> {
    given.iter().map(|given| if let Given::Known(value) = given { Some(value.clone()) } else { None }).collect()
}

fn has_null(given: &[Given]) -> bool {
    given.iter().any(|given| matches!(given, Given::Known(value) if value.is_null()))
}

/// What a change does to rows of a table, as far as a plan tells.
struct Effect<'c> {
    table: &'c Table,
    rows: Vec<Row>,
    /// The columns that get other values; all of them where rows are inserted or deleted.
    changed: Option<BTreeSet<ColumnId>>,
    /// There were rows before.
    replaces: bool,
    /// There are rows afterwards.
    writes: bool,
}

impl Effect<'_> {
    /// Whether other values of these columns make a difference, or the row is another or elsewhere.
    fn touches(&self, columns: &[ColumnId]) -> bool {
        let Some(changed) = &self.changed else { return true };
        columns.iter().any(|column| changed.contains(column))
    }

    fn moves(&self) -> bool {
        self.changed.is_some() && self.touches(self.table.placement.columns())
    }
}

/// What a change reaches besides what its source reads.
pub(super) fn participants(change: &Change, schema: &dyn SchemaView, store: StoreTraits<'_>) -> Vec<Participant> {
    let mut found = Found { schema, store, parts: vec![], seen: BTreeSet::new(), children: 0 };
    let written = Reach::of_change(change);
    match change {
        Change::Insert(insert) => {
            let effect =
                Effect { table: &insert.table, rows: inserted(insert), changed: None, replaces: false, writes: true };
            found.add(written, format!("rows of {}", insert.table.name), None);
            found.of(&effect);
            found.of_conflicts(insert);
        }
        Change::Update(update) => {
            let effect = updated(&update.table, &update.assignments);
            found.add(written, format!("rows of {}", update.table.name), None);
            found.of(&effect);
        }
        Change::Delete(delete) => found.of(&deleted(&delete.table)),
    }
    found.parts
}

/// The rows of an INSERT with their defaults.
fn inserted(insert: &Insert) -> Vec<Row> {
    let table = &insert.table;
    let row = |number: usize, exprs: Option<&Vec<Expr>>| {
        let columns = table.columns.iter().enumerate().map(|(position, column)| {
            let target = insert.targets.iter().position(|target| *target == position);
            let target = target.filter(|at| !insert.default_marks.contains(&(number, *at)));
            let expr = match (target, exprs) {
                (Some(at), Some(exprs)) => exprs.get(at),
                (Some(_), None) => return Given::Unknown,
                (None, _) if column.identity.is_some() => return Given::Unknown,
                (None, _) => match insert.defaults.get(position).and_then(Option::as_ref) {
                    Some(default) => Some(default),
                    // The hidden key of a table without a key is made here, too.
                    None if column.hidden => return Given::Unknown,
                    None => return Given::Known(Value::Null),
                },
            };
            expr.map_or(Given::Unknown, |expr| given(expr, table, position))
        });
        Row { columns: columns.collect(), many: exprs.is_none() }
    };
    match &insert.source {
        Node::Values { rows } => rows.iter().enumerate().map(|(number, exprs)| row(number, Some(exprs))).collect(),
        _ => vec![row(0, None)],
    }
}

fn given(expr: &Expr, table: &Table, position: usize) -> Given {
    if matches!(&expr.kind, ExprKind::Call(function, _) if function.name == "rome_id") {
        return Given::BornHere;
    }
    let column = table.columns.get(position);
    let value = literal(expr).zip(column).and_then(|(value, column)| cast(value, &column.data_type).ok());
    value.map_or(Given::Unknown, Given::Known)
}

fn updated<'c>(table: &'c Table, assignments: &[(usize, Assignment)]) -> Effect<'c> {
    let mut row = Row::unknown(table);
    let mut changed = BTreeSet::new();
    for (position, assignment) in assignments {
        changed.extend(table.columns.get(*position).map(|column| column.id));
        if let (Some(slot), Assignment::Expr(expr)) = (row.columns.get_mut(*position), assignment) {
            *slot = given(expr, table, *position);
        }
    }
    Effect { table, rows: vec![row], changed: Some(changed), replaces: true, writes: true }
}

fn deleted(table: &Table) -> Effect<'_> {
    Effect { table, rows: vec![Row::unknown(table)], changed: None, replaces: true, writes: false }
}

/// Whether a child always has the site of its parent: both live where one column says, and the foreign key has it on both sides.
fn live_together(child: &Table, key: &ForeignKey, parent: &Table) -> bool {
    let (Placement::BySite { column: of_child }, Placement::BySite { column: of_parent }) =
        (&child.placement, &parent.placement)
    else {
        return false;
    };
    key.columns.iter().zip(&key.parent_columns).any(|pair| pair == (of_child, of_parent))
}

fn names(table: &Table, columns: &[ColumnId]) -> String {
    let names = columns.iter().filter_map(|id| table.column(*id)).map(|column| column.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// The keys of a table that have claims: the index, its columns, and the words for it.
fn claimed(table: &Table) -> Vec<(Option<&Index>, Vec<ColumnId>, String)> {
    let primary = table.claims.map(|_| (None, table.primary_key.clone()));
    let indexes = table.indexes.iter().filter(|index| index.claims.is_some());
    let indexes = indexes.map(|index| (Some(index), index.columns.iter().map(|part| part.column).collect::<Vec<_>>()));
    let keys = primary.into_iter().chain(indexes);
    keys.map(|(index, columns)| {
        let words = format!("claim of {} ({})", table.name, names(table, &columns));
        (index, columns, words)
    })
    .collect()
}

struct Found<'s> {
    schema: &'s dyn SchemaView,
    store: StoreTraits<'s>,
    parts: Vec<Participant>,
    /// Tables of which children have gone, so that cycles end.
    seen: BTreeSet<TableId>,
    /// Foreign keys whose children are read.
    children: usize,
}

impl Found<'_> {
    fn add(&mut self, reach: Reach, why: String, read: Option<Step>) {
        if reach != Reach::default() {
            self.parts.push(Participant { reach, why, read });
        }
    }

    fn of(&mut self, effect: &Effect<'_>) {
        self.claims(effect);
        if effect.writes {
            self.parents(effect);
        }
        if effect.replaces {
            self.children(effect);
        }
    }

    fn claims(&mut self, effect: &Effect<'_>) {
        for (index, columns, why) in claimed(effect.table) {
            // A claim says where its row is.
            if !effect.touches(&columns) && !effect.moves() {
                continue;
            }
            let reach = self.claim_reach(effect, index, &columns);
            if effect.replaces {
                self.add(reach.clone(), why.clone(), Some(Step::GivenUp));
            }
            self.add(reach, why, None);
        }
    }

    fn claim_reach(&self, effect: &Effect<'_>, index: Option<&Index>, columns: &[ColumnId]) -> Reach {
        let (mut reach, table) = (Reach::default(), effect.table);
        let most = table.homes.all().len();
        if effect.replaces {
            // Of the values that were there before nothing is known.
            reach.named = most;
            return reach;
        }
        for row in &effect.rows {
            let given = row.given(table, columns);
            if has_null(&given) {
                continue;
            }
            match (known(&given), given.as_slice()) {
                (Some(values), _) => {
                    reach.homes.extend(claim_place(table, index, &values).ok().flatten().map(|place| place.home));
                }
                (None, [Given::BornHere]) => reach.homes.extend([self.store.local]),
                _ if row.many => reach.named = most,
                _ => reach.named = most.min(reach.named + 1),
            }
        }
        reach
    }

    fn parents(&mut self, effect: &Effect<'_>) {
        for key in &effect.table.foreign_keys {
            let Some(parent) = self.schema.table_by_id(key.parent) else { continue };
            if effect.touches(&key.columns) {
                let reach = self.parent_reach(effect, key, &parent);
                self.add(reach, format!("parent in {}", parent.name), None);
            }
        }
    }

    fn parent_reach(&self, effect: &Effect<'_>, key: &ForeignKey, parent: &Table) -> Reach {
        let mut reach = Reach::default();
        let most = parent.homes.all().len();
        for row in &effect.rows {
            let given = row.given(effect.table, &key.columns);
            if has_null(&given) {
                continue;
            }
            let ordered = |columns: &[ColumnId]| -> Option<Vec<Given>> {
                let at = |id: &ColumnId| key.parent_columns.iter().position(|column| column == id);
                columns.iter().map(|id| given.get(at(id)?).cloned()).collect()
            };
            let placed = ordered(parent.placement.columns());
            let exact: Option<Option<HomeNo>> = match (parent.homes.only(), placed) {
                (Some(home), _) => Some(Some(home)),
                // At the site of the row itself, which is written or was read.
                (None, Some(_)) if live_together(effect.table, key, parent) => continue,
                (None, Some(placed)) => known(&placed).and_then(|values| parent.homes.of_values(&values).ok()),
                (None, None) => claimed(parent).into_iter().find_map(|(index, columns, _)| {
                    let ordered = ordered(&columns).filter(|found| found.len() == key.columns.len())?;
                    let place = claim_place(parent, index, &known(&ordered)?).ok()?;
                    Some(place.map(|place| place.home))
                }),
            };
            match exact {
                Some(home) => reach.homes.extend(home),
                None if row.many => reach.named = most,
                None => reach.named = most.min(reach.named + 1),
            }
        }
        reach
    }

    fn children(&mut self, effect: &Effect<'_>) {
        let table = effect.table;
        for (child, key) in self.schema.foreign_keys_to(table) {
            if effect.changed.is_some() && !effect.touches(&key.parent_columns) {
                continue;
            }
            let mut reach = Reach::default();
            if !live_together(&child, &key, table) || effect.moves() {
                reach.homes.extend(child.homes.all());
            }
            let action = if effect.writes { key.on_update } else { key.on_delete };
            if action == ReferentialAction::Restrict {
                self.add(reach, format!("no children in {}", child.name), None);
                continue;
            }
            self.add(reach.clone(), format!("children in {}", child.name), Some(Step::Children(self.children)));
            self.children += 1;
            self.add(reach, format!("children in {}", child.name), None);
            // What becomes of them goes on from there, once for each table.
            if self.seen.insert(child.id) {
                let changed = key.columns.iter().copied().collect();
                match action == ReferentialAction::Cascade && !effect.writes {
                    true => self.of(&deleted(&child)),
                    false => self.of(&Effect { changed: Some(changed), writes: true, ..deleted(&child) }),
                }
            }
        }
    }

    /// What ON CONFLICT reads, and what DO UPDATE does.
    fn of_conflicts(&mut self, insert: &Insert) {
        let Some(conflict) = &insert.on_conflict else { return };
        let mut all = Reach::default();
        self.parts.iter().for_each(|part| all.add(&part.reach));
        self.add(all, format!("conflicts with {}", insert.table.name), Some(Step::Conflicts));
        let Some(update) = &conflict.update else { return };
        if !claimed(&insert.table).is_empty() {
            let anywhere = Reach { named: insert.table.homes.all().len(), ..Reach::default() };
            self.add(anywhere, format!("rows of {} by their claims", insert.table.name), Some(Step::Conflicting));
        }
        self.of(&updated(&insert.table, &update.assignments));
    }
}
