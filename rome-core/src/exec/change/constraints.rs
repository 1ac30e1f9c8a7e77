//! NOT NULL, CHECK and uniqueness.

use crate::catalog::{ColumnId, Index, IndexState, Table};
use crate::error::{Error, Result, SqlState};
use crate::exec::claims::claim_of_row;
use crate::exec::context::ExecContext;
use crate::exec::expr::Expr;
use crate::exec::keys::{Located, index_entry, row_place};
use crate::exec::node::ConflictTarget;
use crate::value::Value;

/// Checks what a row must satisfy by itself.
pub(super) async fn check_row(
    table: &Table,
    row: &[Value],
    checks: &[(String, Expr)],
    cx: &mut ExecContext<'_>,
) -> Result<()> {
    for (column, value) in table.columns.iter().zip(row) {
        if column.not_null && value.is_null() {
            return Err(Error::new(
                SqlState::NOT_NULL_VIOLATION,
                format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    column.name, table.name
                ),
            )
            .with_detail(format!("Failing row contains ({}).", listed(table, row)))
            .with_table(&table.name)
            .with_column(&column.name));
        }
    }
    for (name, check) in checks {
        // NULL passes.
        if matches!(cx.evaluate(check, row).await?, Value::Bool(false)) {
            return Err(Error::new(
                SqlState::CHECK_VIOLATION,
                format!("new row for relation \"{}\" violates check constraint \"{name}\"", table.name),
            )
            .with_detail(format!("Failing row contains ({}).", listed(table, row)))
            .with_table(&table.name)
            .with_constraint(name));
        }
    }
    Ok(())
}

fn listed(table: &Table, row: &[Value]) -> String {
    let values = table
        .columns
        .iter()
        .zip(row)
        .filter(|(column, _)| !column.hidden)
        .map(|(column, value)| if value.is_null() { "null".to_owned() } else { value.to_text(&column.data_type) });
    values.collect::<Vec<_>>().join(", ")
}

/// One key that may exist only once.
pub(super) struct UniqueKey {
    pub(super) target: ConflictTarget,
    /// Where it is checked.
    pub(super) at: Located,
    /// What lies there.
    pub(super) kind: KeyKind,
}

/// What tells whether a key is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeyKind {
    /// The row, or its entry.
    Itself,
    /// A claim.
    Claim,
    /// The row, or its entry, of a key that has a claim: the claim tells, but the home of the row may be behind that of the claim, with a mark still
    /// in the place where the new row is to be written.
    Behind,
}

/// The keys that a row claims: its own, and its entries in unique indexes where no column is NULL.
pub(super) fn unique_keys(table: &Table, row: &[Value]) -> Result<Vec<UniqueKey>> {
    let place = row_place(table, row)?;
    let home = place.home;
    let mut keys = vec![];
    let mut add = |target, index, at: Located| -> Result<()> {
        let kind = match claim_of_row(table, index, row)? {
            Some((claim, _)) => {
                keys.push(UniqueKey { target, at: claim, kind: KeyKind::Claim });
                KeyKind::Behind
            }
            None => KeyKind::Itself,
        };
        keys.push(UniqueKey { target, at, kind });
        Ok(())
    };
    add(ConflictTarget::PrimaryKey, None, place)?;
    for (position, index) in table.indexes.iter().enumerate() {
        if index.unique && index.state != IndexState::DeleteOnly && !has_null(table, index, row) {
            let (entry, _) = index_entry(table, index, row)?;
            add(ConflictTarget::Index(position), Some(index), Located { home, key: entry })?;
        }
    }
    Ok(keys)
}

fn has_null(table: &Table, index: &Index, row: &[Value]) -> bool {
    index
        .columns
        .iter()
        .any(|part| table.position(part.column).and_then(|position| row.get(position)).is_none_or(Value::is_null))
}

/// SQLSTATE 23505 for a row that claims a key which is taken.
pub(super) fn unique_violation(table: &Table, target: ConflictTarget, row: &[Value]) -> Error {
    let (name, columns): (&str, Vec<ColumnId>) = match target {
        ConflictTarget::PrimaryKey => {
            (table.primary_key_name.as_deref().unwrap_or("primary key"), table.primary_key.clone())
        }
        ConflictTarget::Index(position) => match table.indexes.get(position) {
            Some(index) => (&index.name, index.columns.iter().map(|part| part.column).collect()),
            None => ("unknown", Vec::new()),
        },
    };
    Error::new(SqlState::UNIQUE_VIOLATION, format!("duplicate key value violates unique constraint \"{name}\""))
        .with_detail(format!("Key {} already exists.", key_text(table, &columns, row)))
        .with_table(&table.name)
        .with_constraint(name)
}

/// `(a, b)=(1, x)`
pub(super) fn key_text(table: &Table, columns: &[ColumnId], row: &[Value]) -> String {
    let parts = columns.iter().filter_map(|id| {
        let position = table.position(*id)?;
        let column = table.columns.get(position)?;
        let value = row.get(position)?;
        let text = if value.is_null() { "null".to_owned() } else { value.to_text(&column.data_type) };
        Some((column.name.clone(), text))
    });
    let (names, values): (Vec<String>, Vec<String>) = parts.unzip();
    format!("({})=({})", names.join(", "), values.join(", "))
}
