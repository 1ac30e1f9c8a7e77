//! INSERT, with ON CONFLICT.

use super::constraints::{KeyKind, UniqueKey, check_row, unique_keys, unique_violation};
use super::foreign_keys::Parents;
use super::update::{RowChange, apply_updates};
use super::write::insert_row;
use super::{ChangeResult, assigned, coerced, default_value, returned};
use crate::catalog::Table;
use crate::error::{Error, Result, SqlState};
use crate::exec::claims::claimed_row;
use crate::exec::context::ExecContext;
use crate::exec::keys::{Located, decode_table_row, row_place};
use crate::exec::node::{ConflictTarget, Insert, OnConflict};
use crate::store::{Entry, Guard, KeyRange, Read, ReadLimits, successor};
use crate::txn::HomeRead;
use crate::value::Value;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};

pub(super) async fn run(insert: &Insert, cx: &mut ExecContext<'_>) -> Result<ChangeResult> {
    let table = &insert.table;
    cx.txn.use_table(table)?;
    let source = crate::exec::run(&insert.source, cx).await?;
    let rows = complete_rows(insert, source, cx).await?;
    for row in &rows {
        check_row(table, row, &insert.checks, cx).await?;
    }
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        keys.push(unique_keys(table, row)?);
    }
    let mut parents = Parents::default();
    for row in &rows {
        parents.of_row(table, row, None, cx)?;
    }
    let reads_first = cx.txn.checks_early() || insert.on_conflict.is_some();
    let mut existing: HashMap<Located, (Entry, KeyKind)> = HashMap::new();
    if reads_first {
        let mut reads = parents.reads();
        let parent_reads = reads.len();
        // A unique index's entry is followed to its row, which DO UPDATE needs.
        let follow = insert.on_conflict.as_ref().is_some_and(|conflict| conflict.update.is_some());
        let telling: Vec<&UniqueKey> = keys.iter().flatten().filter(|key| key.kind != KeyKind::Behind).collect();
        reads.extend(telling.iter().map(|key| key_read(key, follow)));
        let mut found = cx.txn.read(reads, ReadLimits::default()).await?;
        let answers = found.split_off(parent_reads);
        parents.found(found);
        for (key, result) in telling.into_iter().zip(answers) {
            if let Some(entry) = result.entries.into_iter().next() {
                existing.insert(key.at.clone(), (entry, key.kind));
            }
        }
        if follow {
            follow_claims(&mut existing, cx).await?;
        }
    }
    let mut result = ChangeResult::default();
    let mut work = Inserting { insert, reads_first, existing, taken: HashSet::new(), touched: HashSet::new() };
    let mut updates = Vec::new();
    let mut parents_of_inserted = Parents::default();
    for (row, keys) in rows.into_iter().zip(&keys) {
        match work.conflict(&row, keys)? {
            None => {
                work.insert(&row, keys, cx)?;
                if insert.on_conflict.is_some() {
                    parents_of_inserted.of_row(table, &row, None, cx)?;
                }
                result.affected += 1;
                returned(insert.returning.as_ref(), &row, &mut result, cx).await?;
            }
            Some(entry) => {
                let Some(conflict) = &insert.on_conflict else { continue };
                let Some(change) = work.update(conflict, &entry, &row, cx).await? else { continue };
                check_row(table, &change.new, &insert.checks, cx).await?;
                result.affected += 1;
                returned(insert.returning.as_ref(), &change.new, &mut result, cx).await?;
                updates.push(change);
            }
        }
    }
    if !updates.is_empty() {
        apply_updates(table, updates, 0, cx).await?;
    }
    match insert.on_conflict {
        Some(_) => parents.require_of(&parents_of_inserted, cx)?,
        None => parents.require(cx)?,
    }
    Ok(result)
}

fn key_read(unique: &UniqueKey, follow: bool) -> HomeRead {
    let key = &unique.at.key;
    let read = match unique.target {
        ConflictTarget::Index(_) if follow && unique.kind == KeyKind::Itself => {
            let range = KeyRange { from: key.clone(), to: successor(key) };
            Read::Follow { range, limit: None, reverse: false }
        }
        _ => Read::Point(key.clone()),
    };
    HomeRead { home: unique.at.home, read }
}

/// Gives claims the rows that they speak of.
async fn follow_claims(existing: &mut HashMap<Located, (Entry, KeyKind)>, cx: &mut ExecContext<'_>) -> Result<()> {
    let mut claims: Vec<&mut Entry> =
        existing.values_mut().filter(|(_, kind)| *kind == KeyKind::Claim).map(|(entry, _)| entry).collect();
    let places = claims.iter().map(|claim| claimed_row(&claim.value));
    let reads =
        places.map(|place| place.map(|place| HomeRead::point(place.home, place.key))).collect::<Result<Vec<_>>>()?;
    let found = cx.txn.read(reads, ReadLimits::default()).await?;
    for (claim, result) in claims.iter_mut().zip(found) {
        claim.target = result.entries.into_iter().next().map(Box::new);
    }
    Ok(())
}

/// Rows with all columns of the table: given values brought to their types, defaults for the others.
async fn complete_rows(insert: &Insert, source: Vec<Vec<Value>>, cx: &mut ExecContext<'_>) -> Result<Vec<Vec<Value>>> {
    let table = &insert.table;
    let marks: HashSet<(usize, usize)> = insert.default_marks.iter().copied().collect();
    let mut numbers: HashMap<usize, std::vec::IntoIter<i64>> = HashMap::new();
    let mut rows = Vec::with_capacity(source.len());
    for (number, given) in source.iter().enumerate() {
        let mut row: Vec<Option<Value>> = vec![None; table.columns.len()];
        for (at, (position, value)) in insert.targets.iter().zip(given).enumerate() {
            let (Some(column), Some(slot)) = (table.columns.get(*position), row.get_mut(*position)) else { continue };
            if marks.contains(&(number, at)) {
                continue;
            }
            if column.identity.as_ref().is_some_and(|identity| identity.always) && !insert.overriding_system {
                return Err(generated_always(&column.name));
            }
            *slot = Some(coerced(value.clone(), column)?);
        }
        let mut full = Vec::with_capacity(row.len());
        for (position, (column, value)) in table.columns.iter().zip(row).enumerate() {
            full.push(match value {
                Some(value) => value,
                None if column.identity.is_some() => {
                    // Numbers for all rows of the statement at once.
                    let block = match numbers.remove(&position) {
                        Some(block) => block,
                        None => cx.numbers.clone().next(table.id, column, source.len()).await?.into_iter(),
                    };
                    let next = numbers.entry(position).insert_entry(block).get_mut().next();
                    coerced(next.map_or(Value::Null, Value::Int), column)?
                }
                None => {
                    default_value(table, column, insert.defaults.get(position).and_then(Option::as_ref), cx).await?
                }
            });
        }
        rows.push(full);
    }
    Ok(rows)
}

fn generated_always(column: &str) -> Error {
    Error::new(SqlState::GENERATED_ALWAYS, format!("cannot insert a non-DEFAULT value into column \"{column}\""))
        .with_detail(format!("Column \"{column}\" is an identity column defined as GENERATED ALWAYS."))
        .with_hint("Use OVERRIDING SYSTEM VALUE to override.")
        .with_column(column)
}

/// An INSERT at work.
struct Inserting<'a> {
    insert: &'a Insert,
    reads_first: bool,
    /// Keys that exist, as read before the statement wrote anything.
    existing: HashMap<Located, (Entry, KeyKind)>,
    /// Keys that earlier rows of the statement have taken.
    taken: HashSet<Located>,
    /// Rows that ON CONFLICT has updated.
    touched: HashSet<Located>,
}

impl Inserting<'_> {
    /// The existing entry that a row conflicts with, if ON CONFLICT is to deal with it; an error if not. What ON CONFLICT deals with is not
    /// inserted, so its other keys may be taken.
    fn conflict(&self, row: &[Value], keys: &[UniqueKey]) -> Result<Option<Entry>> {
        let table = &self.insert.table;
        let target = self.insert.on_conflict.as_ref().map(|conflict| conflict.target);
        let mut arbitrated = None;
        let mut violated = None;
        for key in keys {
            let by_this_statement = self.taken.contains(&key.at);
            let Some(entry) = self.existing.get(&key.at).map(|(entry, _)| entry).cloned().or_else(|| {
                by_this_statement.then(|| Entry {
                    key: key.at.key.clone(),
                    version: 0,
                    value: Bytes::new(),
                    target: None,
                })
            }) else {
                continue;
            };
            match target {
                Some(target) if target.is_none_or(|target| target == key.target) => {
                    let updates = self.insert.on_conflict.as_ref().is_some_and(|conflict| conflict.update.is_some());
                    if by_this_statement && updates {
                        return Err(affected_twice());
                    }
                    arbitrated = Some(entry);
                }
                _ => violated = violated.or(Some(key.target)),
            }
        }
        match (arbitrated, violated) {
            (None, Some(target)) => Err(unique_violation(table, target, row)),
            (arbitrated, _) => Ok(arbitrated),
        }
    }

    fn insert(&mut self, row: &[Value], keys: &[UniqueKey], cx: &mut ExecContext<'_>) -> Result<()> {
        let table = &self.insert.table;
        for key in keys {
            if !self.reads_first || key.kind == KeyKind::Behind {
                let Located { home, key: at } = key.at.clone();
                let failure = unique_violation(table, key.target, row).with_contended(at.clone());
                cx.txn.expect(home, Guard::Absent(at), failure)?;
            }
            self.taken.insert(key.at.clone());
        }
        insert_row(cx.txn, table, row)
    }

    /// DO UPDATE: the change of the existing row; `None` for DO NOTHING or where WHERE is not true.
    async fn update(
        &mut self,
        conflict: &OnConflict,
        entry: &Entry,
        excluded: &[Value],
        cx: &mut ExecContext<'_>,
    ) -> Result<Option<RowChange>> {
        let Some(update) = &conflict.update else { return Ok(None) };
        let table: &Table = &self.insert.table;
        let claimed = match conflict.target {
            Some(ConflictTarget::Index(position)) => {
                table.indexes.get(position).is_some_and(|index| index.claims.is_some())
            }
            _ => table.claims.is_some(),
        };
        let stored = match conflict.target {
            Some(ConflictTarget::Index(_)) => entry.target.as_deref(),
            _ if claimed => entry.target.as_deref(),
            _ => Some(entry),
        };
        let stored = stored.ok_or_else(|| {
            Error::new(SqlState::DATA_CORRUPTED, format!("an index entry of \"{}\" has no row", table.name))
        })?;
        let old = decode_table_row(table, &stored.value)?;
        if !self.touched.insert(row_place(table, &old)?) {
            return Err(affected_twice());
        }
        let both: Vec<Value> = old.iter().chain(excluded).cloned().collect();
        if let Some(predicate) = &update.predicate
            && !matches!(cx.evaluate(predicate, &both).await?, Value::Bool(true))
        {
            return Ok(None);
        }
        let new = assigned(table, &old, &both, &update.assignments, &self.insert.defaults, cx).await?;
        Ok(Some(RowChange { old, new }))
    }
}

fn affected_twice() -> Error {
    Error::new(SqlState::CARDINALITY_VIOLATION, "ON CONFLICT DO UPDATE command cannot affect row a second time")
        .with_hint(
            "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
        )
}
