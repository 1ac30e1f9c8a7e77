//! What binding makes of statements.
//!
//! The golden scripts in `scripts` hold statements, one a line, and the tree or error that binding gives, as [`show`] writes it. The schema is
//! that of [`TestSchema`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fuzz;
mod limits;
mod sea;
mod show;

use super::{bind, parse};
use crate::catalog::{
    Check, Column, ColumnId, ForeignKey, Homes, Identity, Index, IndexColumn, IndexState, Placement, ReferentialAction,
    SchemaView, Table, TableId,
};
use crate::error::Result;
use crate::topology::Topology;
use crate::value::DataType;
use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

/// A few tables: `users` with keys of all kinds, `orders` with a composite key, `log` without a key, `types` with a column of each type.
pub(super) struct TestSchema {
    tables: Vec<Arc<Table>>,
}

fn column(id: u32, name: &str, data_type: DataType) -> Column {
    Column {
        id: ColumnId(id),
        name: name.to_owned(),
        data_type,
        not_null: false,
        default: None,
        identity: None,
        missing: None,
        hidden: false,
    }
}

fn table(id: u32, name: &str, columns: &[(&str, DataType)], key: &[u32]) -> Table {
    let columns: Vec<Column> =
        (0..).zip(columns).map(|(id, (name, data_type))| column(id, name, data_type.clone())).collect();
    Table {
        id: TableId(id),
        name: name.to_owned(),
        version: Default::default(),
        next_column: u32::try_from(columns.len()).unwrap(),
        columns,
        primary_key: key.iter().copied().map(ColumnId).collect(),
        primary_key_name: Some(format!("{name}_pkey")),
        indexes: vec![],
        checks: vec![],
        foreign_keys: vec![],
        referenced_by: vec![],
        stamp: 0,
        placement: Placement::First,
        rows: None,
        shadow: None,
        target: None,
        claims: None,
        authorities: vec![],
        unclaimed: false,
        changes: false,
        homes: Homes::default(),
    }
}

fn index(name: &str, columns: &[u32], unique: bool) -> Index {
    let part = |id: &u32| IndexColumn { column: ColumnId(*id), descending: false, nulls_first: false };
    Index {
        space: 100,
        name: name.to_owned(),
        columns: columns.iter().map(part).collect(),
        unique,
        claims: None,
        constraint: unique,
        state: IndexState::Public,
    }
}

impl TestSchema {
    pub(super) fn new() -> Self {
        use DataType::*;
        let mut users = table(
            1,
            "users",
            &[
                ("id", Int4),
                ("name", Varchar(Some(40))),
                ("email", Text),
                ("age", Int4),
                ("active", Bool),
                ("balance", Numeric(Some((12, 2)))),
                ("created", TimestampTz),
            ],
            &[0],
        );
        users.columns[0].identity = Some(Identity { always: false, start: 1, increment: 1 });
        users.columns[4].default = Some("true".to_owned());
        users.columns[6].default = Some("now()".to_owned());
        users.indexes = vec![index("users_email_key", &[2], true), index("users_age", &[3], false)];
        users.checks = vec![Check { name: "users_age_check".to_owned(), expression: "age >= 0".to_owned() }];
        let mut orders = table(
            2,
            "orders",
            &[("user_id", Int4), ("no", Int8), ("total", Numeric(None)), ("placed", Date), ("note", Text)],
            &[0, 1],
        );
        orders.foreign_keys = vec![ForeignKey {
            name: "orders_user_id_fkey".to_owned(),
            columns: vec![ColumnId(0)],
            parent: TableId(1),
            parent_columns: vec![ColumnId(0)],
            on_delete: ReferentialAction::Cascade,
            on_update: ReferentialAction::Restrict,
        }];
        let mut log = table(3, "log", &[("message", Text), ("at", Timestamp), ("_key", Uuid)], &[2]);
        log.columns[2].hidden = true;
        log.primary_key_name = None;
        let types = table(
            4,
            "types",
            &[
                ("i2", Int2),
                ("i4", Int4),
                ("i8", Int8),
                ("f4", Float4),
                ("f8", Float8),
                ("n", Numeric(None)),
                ("t", Text),
                ("c", Char(5)),
                ("b", Bytea),
                ("u", Uuid),
                ("d", Date),
                ("ti", Time),
                ("ts", Timestamp),
                ("tz", TimestampTz),
                ("iv", Interval),
                ("j", Json),
                ("jb", Jsonb),
                ("ia", Array(Arc::new(Int4))),
                ("ta", Array(Arc::new(Text))),
            ],
            &[0],
        );
        Self { tables: [users, orders, log, types].into_iter().map(Arc::new).collect() }
    }
}

impl SchemaView for TestSchema {
    fn table(&self, name: &str) -> Option<Arc<Table>> {
        self.tables.iter().find(|table| table.name == name).cloned()
    }

    fn table_by_id(&self, id: TableId) -> Option<Arc<Table>> {
        self.tables.iter().find(|table| table.id == id).cloned()
    }

    fn topology(&self) -> Arc<Topology> {
        Arc::new(Topology::single("here"))
    }
}

/// Binds each statement of a text, shown.
pub(super) fn bound_text(sql: &str, parameters: &[DataType]) -> Result<String> {
    let schema = TestSchema::new();
    let mut text = String::new();
    for statement in parse(sql)? {
        let bound = bind(&statement, &schema, parameters)?;
        text.push_str(&show::bound(&bound.bound));
    }
    Ok(text)
}

/// Runs a script: `> SQL` binds a statement, `> [int unknown] SQL` one with parameters of these types.
struct Runner;

impl goldenscript::Runner for Runner {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        _: &goldenscript::Context,
    ) -> std::result::Result<String, Box<dyn StdError>> {
        let text = command.name.as_str();
        let (types, sql) = match text.strip_prefix("[").and_then(|rest| rest.split_once("] ")) {
            Some((types, sql)) => (types.split(' ').map(parameter_type).collect(), sql),
            None => (vec![], text),
        };
        Ok(match bound_text(sql, &types) {
            Ok(text) => text,
            Err(error) => format!("ERROR {} {}\n", error.state(), error.message()),
        })
    }
}

fn parameter_type(name: &str) -> DataType {
    match name {
        "int" => DataType::Int8,
        "float" => DataType::Float8,
        "uuid" => DataType::Uuid,
        "ints" => DataType::Array(Arc::new(DataType::Int8)),
        _ => DataType::Unknown,
    }
}

macro_rules! scripts {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sql/tests/scripts").join(stringify!($name));
            goldenscript::run(&mut Runner, path).unwrap();
        }
    )*};
}

scripts! { select join predicates operators functions grouping order set_operations subqueries insert update_delete ddl alter control errors }
