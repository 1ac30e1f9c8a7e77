//! Changes of the schema, as data: what DDL statements ask for.

use super::{Identity, ReferentialAction};
use crate::value::DataType;

/// A DDL statement.
#[derive(Clone, Debug)]
pub enum SchemaChange {
    /// CREATE TABLE
    CreateTable {
        /// What to make.
        table: NewTable,
        /// IF NOT EXISTS
        if_not_exists: bool,
    },
    /// DROP TABLE
    DropTable {
        /// Names.
        names: Vec<String>,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE: drops foreign keys of other tables that refer to these.
        cascade: bool,
    },
    /// TRUNCATE
    Truncate {
        /// Names.
        names: Vec<String>,
        /// CASCADE
        cascade: bool,
        /// RESTART IDENTITY
        restart_identity: bool,
    },
    /// CREATE INDEX
    CreateIndex {
        /// The table.
        table: String,
        /// What to make.
        index: NewIndex,
        /// IF NOT EXISTS
        if_not_exists: bool,
    },
    /// DROP INDEX
    DropIndex {
        /// Names.
        names: Vec<String>,
        /// IF EXISTS
        if_exists: bool,
    },
    /// ALTER TABLE
    AlterTable {
        /// The table.
        name: String,
        /// IF EXISTS
        if_exists: bool,
        /// In order.
        actions: Vec<AlterAction>,
    },
}

/// A table to make.
#[derive(Clone, Debug, Default)]
pub struct NewTable {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<NewColumn>,
    /// The primary key: constraint name if given, columns.
    pub primary_key: Option<(Option<String>, Vec<String>)>,
    /// UNIQUE constraints.
    pub uniques: Vec<(Option<String>, Vec<String>)>,
    /// CHECK constraints: name if given, text.
    pub checks: Vec<(Option<String>, String)>,
    /// FOREIGN KEY constraints.
    pub foreign_keys: Vec<NewForeignKey>,
    /// WITH (key = value), placements among them.
    pub options: Vec<(String, String)>,
}

/// A column to make.
#[derive(Clone, Debug)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// NOT NULL
    pub not_null: bool,
    /// DEFAULT, as SQL text that has been bound once for its errors.
    pub default: Option<String>,
    /// Identity or serial.
    pub identity: Option<Identity>,
}

/// An index to make.
#[derive(Clone, Debug)]
pub struct NewIndex {
    /// Its name, if given.
    pub name: Option<String>,
    /// Columns: name, descending, nulls first (resolved to PostgreSQL's default where not said).
    pub columns: Vec<(String, bool, bool)>,
    /// UNIQUE
    pub unique: bool,
}

/// A foreign key to make.
#[derive(Clone, Debug)]
pub struct NewForeignKey {
    /// Constraint name, if given.
    pub name: Option<String>,
    /// Referencing columns.
    pub columns: Vec<String>,
    /// Referenced table.
    pub parent: String,
    /// Referenced columns; empty means its primary key.
    pub parent_columns: Vec<String>,
    /// ON DELETE
    pub on_delete: ReferentialAction,
    /// ON UPDATE
    pub on_update: ReferentialAction,
}

/// One action of ALTER TABLE.
#[derive(Clone, Debug)]
pub enum AlterAction {
    /// ADD COLUMN
    AddColumn {
        /// The column.
        column: NewColumn,
        /// IF NOT EXISTS
        if_not_exists: bool,
        /// UNIQUE on the column.
        unique: bool,
        /// CHECKs on the column.
        checks: Vec<(Option<String>, String)>,
        /// REFERENCES on the column.
        foreign_key: Option<NewForeignKey>,
    },
    /// DROP COLUMN
    DropColumn {
        /// Its name.
        name: String,
        /// IF EXISTS
        if_exists: bool,
        /// CASCADE
        cascade: bool,
    },
    /// RENAME COLUMN
    RenameColumn {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// RENAME TO
    RenameTable(String),
    /// RENAME CONSTRAINT
    RenameConstraint {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// ALTER COLUMN SET DEFAULT, DROP DEFAULT (`None`)
    SetDefault {
        /// The column.
        column: String,
        /// SQL text.
        default: Option<String>,
    },
    /// ALTER COLUMN SET / DROP NOT NULL
    SetNotNull {
        /// The column.
        column: String,
        /// SET or DROP.
        not_null: bool,
    },
    /// ALTER COLUMN TYPE
    SetType {
        /// The column.
        column: String,
        /// The new type.
        data_type: DataType,
    },
    /// ADD UNIQUE
    AddUnique(Option<String>, Vec<String>),
    /// ADD PRIMARY KEY
    AddPrimaryKey(Option<String>, Vec<String>),
    /// ADD CHECK
    AddCheck(Option<String>, String),
    /// ADD FOREIGN KEY
    AddForeignKey(NewForeignKey),
    /// SET (key = value, ...)
    SetOptions(Vec<(String, String)>),
    /// DROP CONSTRAINT
    DropConstraint {
        /// Its name.
        name: String,
        /// IF EXISTS
        if_exists: bool,
    },
}
