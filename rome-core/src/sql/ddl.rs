//! CREATE TABLE, CREATE INDEX, DROP, TRUNCATE.

use super::parse::syntax_error;
use super::scope::{Relation, ScopeColumn};
use super::stored::{check_over, default_of_type, text_of};
use super::{Binder, ParseLimits, names, too_complex, types};
use crate::catalog::{Identity, ReferentialAction};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{ColId, Expr};
use crate::plan::logical::{NewColumn, NewForeignKey, NewIndex, NewTable, SchemaChange};
use sqlparser::ast::{self, ColumnOption, TableConstraint};

/// A column with the constraints that were written beside it.
pub(super) struct ColumnParts {
    pub column: NewColumn,
    pub primary_key: Option<Option<String>>,
    pub unique: Option<Option<String>>,
    pub checks: Vec<(Option<String>, String)>,
    pub foreign_key: Option<NewForeignKey>,
}

impl Binder<'_> {
    pub(super) fn create_table(&mut self, create: &ast::CreateTable) -> Result<SchemaChange> {
        check_clauses(create)?;
        let name = names::relation(&create.name)?;
        if create.columns.len() > ParseLimits::COLUMNS_MAX {
            return Err(too_complex("columns of a table", ParseLimits::COLUMNS_MAX));
        }
        let mut table = NewTable { name, options: options(&create.table_options)?, ..NewTable::default() };
        for column in &create.columns {
            let parts = column_parts(column)?;
            add_column(&mut table, parts)?;
        }
        for constraint in &create.constraints {
            add_constraint(&mut table, constraint)?;
        }
        self.check_table(&mut table)?;
        Ok(SchemaChange::CreateTable { table, if_not_exists: create.if_not_exists })
    }

    /// Checks that the constraints name columns of the table, and names the checks.
    fn check_table(&self, table: &mut NewTable) -> Result<()> {
        let keys = table.primary_key.iter().chain(&table.uniques).map(|(_, columns)| columns);
        for columns in keys.chain(table.foreign_keys.iter().map(|key| &key.columns)) {
            check_key_columns(table, columns)?;
        }
        let relation = relation_of(table);
        let mut taken: Vec<String> = table.checks.iter().filter_map(|(name, _)| name.clone()).collect();
        for (name, text) in &mut table.checks {
            let (_, mentioned) = check_over(text, relation.clone())?;
            if name.is_none() {
                *name = Some(check_name(&table.name, &mentioned, &taken));
                taken.extend(name.clone());
            }
        }
        for (index, name) in taken.iter().enumerate() {
            if taken.iter().take(index).any(|earlier| earlier == name) {
                return Err(Error::new(
                    SqlState::DUPLICATE_OBJECT,
                    format!("constraint \"{name}\" for relation \"{}\" already exists", table.name),
                )
                .with_constraint(name.as_str()));
            }
        }
        Ok(())
    }

    pub(super) fn create_index(&mut self, create: &ast::CreateIndex) -> Result<SchemaChange> {
        if create.predicate.is_some() {
            return Err(Error::unsupported("a partial index"));
        }
        if !create.include.is_empty() || !create.with.is_empty() {
            return Err(Error::unsupported("INCLUDE or WITH of an index"));
        }
        if create.nulls_distinct == Some(false) {
            return Err(Error::unsupported("NULLS NOT DISTINCT"));
        }
        if let Some(using) = &create.using
            && !matches!(using, ast::IndexType::BTree)
        {
            return Err(Error::unsupported(format!("the index type {using}")));
        }
        let table = self.table(&names::relation(&create.table_name)?)?;
        let mut columns = vec![];
        for part in &create.columns {
            let name = key_column(part)?;
            if table.column_named(&name).is_none() {
                return Err(Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"))
                    .with_column(name.as_str()));
            }
            let descending = match &part.column.options.sort {
                None | Some(ast::OrderBySort::Asc) => false,
                Some(ast::OrderBySort::Desc) => true,
                Some(ast::OrderBySort::Using(_)) => return Err(syntax_error("syntax error at or near \"USING\"")),
            };
            columns.push((name, descending, part.column.options.nulls_first.unwrap_or(descending)));
        }
        let name = create.name.as_ref().map(names::relation).transpose()?;
        Ok(SchemaChange::CreateIndex {
            table: table.name.clone(),
            index: NewIndex { name, columns, unique: create.unique },
            if_not_exists: create.if_not_exists,
        })
    }

    pub(super) fn drop_objects(&mut self, statement: &ast::Statement) -> Result<SchemaChange> {
        let ast::Statement::Drop { object_type, if_exists, names: dropped, cascade, table, .. } = statement else {
            return Err(Error::internal("DROP"));
        };
        if table.is_some() {
            return Err(syntax_error("syntax error at or near \"ON\""));
        }
        let dropped = dropped.iter().map(names::relation).collect::<Result<Vec<_>>>()?;
        match object_type {
            ast::ObjectType::Table => {
                Ok(SchemaChange::DropTable { names: dropped, if_exists: *if_exists, cascade: *cascade })
            }
            ast::ObjectType::Index => Ok(SchemaChange::DropIndex { names: dropped, if_exists: *if_exists }),
            other => Err(Error::unsupported(format!("DROP {other}"))),
        }
    }

    pub(super) fn truncate(&mut self, truncate: &ast::Truncate) -> Result<SchemaChange> {
        if truncate.partitions.is_some() || truncate.if_exists || truncate.on_cluster.is_some() {
            return Err(Error::unsupported("this form of TRUNCATE"));
        }
        let tables = truncate.table_names.iter().map(|target| names::relation(&target.name));
        Ok(SchemaChange::Truncate {
            names: tables.collect::<Result<_>>()?,
            cascade: matches!(truncate.cascade, Some(ast::CascadeOption::Cascade)),
            restart_identity: matches!(truncate.identity, Some(ast::TruncateIdentityOption::Restart)),
        })
    }
}

fn add_column(table: &mut NewTable, parts: ColumnParts) -> Result<()> {
    let name = parts.column.name.clone();
    if table.columns.iter().any(|column| column.name == name) {
        return Err(Error::new(SqlState::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once"))
            .with_column(name));
    }
    table.columns.push(parts.column);
    if let Some(constraint) = parts.primary_key {
        set_primary_key(table, constraint, vec![name.clone()])?;
    }
    if let Some(constraint) = parts.unique {
        table.uniques.push((constraint, vec![name]));
    }
    table.checks.extend(parts.checks);
    table.foreign_keys.extend(parts.foreign_key);
    Ok(())
}

fn set_primary_key(table: &mut NewTable, constraint: Option<String>, columns: Vec<String>) -> Result<()> {
    if table.primary_key.is_some() {
        return Err(Error::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{}\" are not allowed", table.name),
        ));
    }
    table.primary_key = Some((constraint, columns));
    Ok(())
}

/// A table constraint of CREATE TABLE and ALTER TABLE.
pub(super) enum Constraint {
    PrimaryKey(Option<String>, Vec<String>),
    Unique(Option<String>, Vec<String>),
    Check(Option<String>, String),
    ForeignKey(NewForeignKey),
}

fn add_constraint(table: &mut NewTable, constraint: &TableConstraint) -> Result<()> {
    match self::constraint(constraint)? {
        Constraint::PrimaryKey(name, columns) => set_primary_key(table, name, columns)?,
        Constraint::Unique(name, columns) => table.uniques.push((name, columns)),
        Constraint::Check(name, text) => table.checks.push((name, text)),
        Constraint::ForeignKey(key) => table.foreign_keys.push(key),
    }
    Ok(())
}

pub(super) fn constraint(constraint: &TableConstraint) -> Result<Constraint> {
    let name = |ident: &Option<ast::Ident>| ident.as_ref().map(names::fold);
    let columns = |columns: &[ast::IndexColumn]| columns.iter().map(key_column).collect::<Result<Vec<_>>>();
    Ok(match constraint {
        TableConstraint::PrimaryKey(key) => Constraint::PrimaryKey(name(&key.name), columns(&key.columns)?),
        TableConstraint::Unique(key) => {
            if key.nulls_distinct == ast::NullsDistinctOption::NotDistinct {
                return Err(Error::unsupported("NULLS NOT DISTINCT"));
            }
            Constraint::Unique(name(&key.name), columns(&key.columns)?)
        }
        TableConstraint::Check(check) => Constraint::Check(name(&check.name), text_of(&check.expr)),
        TableConstraint::ForeignKey(key) => Constraint::ForeignKey(foreign_key(key, None, None)?),
        _ => return Err(Error::unsupported("this table constraint")),
    })
}

fn foreign_key(
    key: &ast::ForeignKeyConstraint,
    name: Option<&ast::Ident>,
    column: Option<&str>,
) -> Result<NewForeignKey> {
    if key.characteristics.is_some_and(|how| how.deferrable == Some(true)) {
        return Err(Error::unsupported("a deferrable constraint"));
    }
    if matches!(
        key.match_kind,
        Some(ast::ConstraintReferenceMatchKind::Full | ast::ConstraintReferenceMatchKind::Partial)
    ) {
        return Err(Error::unsupported("MATCH FULL and MATCH PARTIAL"));
    }
    let mut columns: Vec<String> = key.columns.iter().map(names::fold).collect();
    columns.extend(column.map(str::to_owned));
    let parent_columns: Vec<String> = key.referred_columns.iter().map(names::fold).collect();
    if !parent_columns.is_empty() && parent_columns.len() != columns.len() {
        return Err(Error::new(
            SqlState::INVALID_FOREIGN_KEY,
            "number of referencing and referenced columns for foreign key disagree",
        ));
    }
    Ok(NewForeignKey {
        name: name.or(key.name.as_ref()).map(names::fold),
        columns,
        parent: names::relation(&key.foreign_table)?,
        parent_columns,
        on_delete: action(key.on_delete),
        on_update: action(key.on_update),
    })
}

fn action(action: Option<ast::ReferentialAction>) -> ReferentialAction {
    match action {
        None | Some(ast::ReferentialAction::Restrict | ast::ReferentialAction::NoAction) => ReferentialAction::Restrict,
        Some(ast::ReferentialAction::Cascade) => ReferentialAction::Cascade,
        Some(ast::ReferentialAction::SetNull) => ReferentialAction::SetNull,
        Some(ast::ReferentialAction::SetDefault) => ReferentialAction::SetDefault,
    }
}

/// The column of an index or key: expressions are not supported.
fn key_column(part: &ast::IndexColumn) -> Result<String> {
    if part.operator_class.is_some() {
        return Err(Error::unsupported("an operator class"));
    }
    let mut expr = &part.column.expr;
    while let ast::Expr::Nested(inner) = expr {
        expr = inner;
    }
    match expr {
        ast::Expr::Identifier(ident) => Ok(names::fold(ident)),
        _ => Err(Error::unsupported("an index on an expression")),
    }
}

/// Reads a column with its options.
pub(super) fn column_parts(definition: &ast::ColumnDef) -> Result<ColumnParts> {
    let name = names::fold(&definition.name);
    let serial = types::serial(&definition.data_type);
    let identity = serial.as_ref().map(|_| Identity { always: false, start: 1, increment: 1 });
    let data_type = serial.map_or_else(|| types::data_type(&definition.data_type), Ok)?;
    let not_null = identity.is_some();
    let column = NewColumn { name, data_type, not_null, default: None, identity };
    let mut parts = ColumnParts { column, primary_key: None, unique: None, checks: vec![], foreign_key: None };
    let mut nullable = false;
    for option in &definition.options {
        let constraint = option.name.as_ref().map(names::fold);
        match &option.option {
            ColumnOption::Null => nullable = true,
            ColumnOption::NotNull => parts.column.not_null = true,
            ColumnOption::Default(expr) => set_default(&mut parts.column, text_of(expr))?,
            ColumnOption::PrimaryKey(_) => {
                parts.column.not_null = true;
                parts.primary_key = Some(constraint);
            }
            ColumnOption::Unique(_) => parts.unique = Some(constraint),
            ColumnOption::Check(check) => {
                let name = constraint.or_else(|| check.name.as_ref().map(names::fold));
                parts.checks.push((name, text_of(&check.expr)));
            }
            ColumnOption::ForeignKey(key) => {
                parts.foreign_key = Some(foreign_key(key, option.name.as_ref(), Some(&parts.column.name))?);
            }
            ColumnOption::Generated { generated_as, sequence_options, generation_expr: None, .. } => {
                parts.column.identity = Some(identity_of(&parts.column, *generated_as, sequence_options.as_deref())?);
                parts.column.not_null = true;
            }
            ColumnOption::Generated { .. } => return Err(Error::unsupported("a generated column")),
            ColumnOption::Collation(collation) => {
                let collation = names::parts(collation)?.pop().unwrap_or_default();
                if !matches!(collation.as_str(), "C" | "POSIX" | "default" | "ucs_basic") {
                    return Err(Error::unsupported(format!("the collation \"{collation}\"")));
                }
            }
            _ => return Err(Error::unsupported("this column option")),
        }
    }
    if nullable && parts.column.not_null {
        return Err(syntax_error(format!(
            "conflicting NULL/NOT NULL declarations for column \"{}\"",
            parts.column.name
        )));
    }
    if parts.column.identity.is_some() && parts.column.default.is_some() {
        return Err(syntax_error(format!("both default and identity specified for column \"{}\"", parts.column.name)));
    }
    Ok(parts)
}

fn set_default(column: &mut NewColumn, text: String) -> Result<()> {
    if column.default.is_some() {
        return Err(syntax_error(format!("multiple default values specified for column \"{}\"", column.name)));
    }
    default_of_type(&text, &column.name, &column.data_type)?;
    column.default = Some(text);
    Ok(())
}

fn identity_of(
    column: &NewColumn,
    generated: ast::GeneratedAs,
    options: Option<&[ast::SequenceOptions]>,
) -> Result<Identity> {
    if !column.data_type.is_integer() {
        return Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "identity column type must be smallint, integer, or bigint",
        ));
    }
    let always = match generated {
        ast::GeneratedAs::Always => true,
        ast::GeneratedAs::ByDefault => false,
        ast::GeneratedAs::ExpStored => return Err(Error::unsupported("a generated column")),
    };
    let mut identity = Identity { always, start: 1, increment: 1 };
    let mut start = None;
    for option in options.unwrap_or_default() {
        match option {
            ast::SequenceOptions::StartWith(value, _) => start = Some(integer(value)?),
            ast::SequenceOptions::IncrementBy(value, _) => identity.increment = integer(value)?,
            ast::SequenceOptions::Cache(_)
            | ast::SequenceOptions::Cycle(true)
            | ast::SequenceOptions::MinValue(None)
            | ast::SequenceOptions::MaxValue(None) => {}
            _ => return Err(Error::unsupported("MINVALUE, MAXVALUE and CYCLE of an identity column")),
        }
    }
    if identity.increment == 0 {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "INCREMENT must not be zero"));
    }
    identity.start = start.unwrap_or(if identity.increment < 0 { -1 } else { 1 });
    Ok(identity)
}

fn integer(expr: &ast::Expr) -> Result<i64> {
    let text = expr.to_string().replace(' ', "");
    text.parse().map_err(|_| syntax_error(format!("syntax error at or near \"{text}\"")))
}

fn check_key_columns(table: &NewTable, columns: &[String]) -> Result<()> {
    for (index, name) in columns.iter().enumerate() {
        if !table.columns.iter().any(|column| column.name == *name) {
            return Err(Error::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" named in key does not exist"),
            )
            .with_column(name.as_str()));
        }
        if columns.iter().take(index).any(|earlier| earlier == name) {
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, format!("column \"{name}\" appears twice in key"))
                .with_column(name.as_str()));
        }
    }
    Ok(())
}

/// The columns of a table that is not there yet, for binding its checks.
fn relation_of(table: &NewTable) -> Relation {
    let columns = (0..).zip(&table.columns).map(|(id, column)| ScopeColumn {
        name: column.name.clone(),
        expr: Expr::column(ColId(id), column.data_type.clone()),
    });
    Relation { name: Some(table.name.clone()), hidden_name: None, columns: columns.collect(), key: vec![] }
}

/// A check's name as PostgreSQL makes it: after its column where it mentions one.
pub(super) fn check_name(table: &str, mentioned: &[String], taken: &[String]) -> String {
    let base = match mentioned {
        [column] => format!("{table}_{column}_check"),
        _ => format!("{table}_check"),
    };
    let mut name = base.clone();
    let mut number = 0;
    while taken.contains(&name) {
        number += 1;
        name = format!("{base}{number}");
    }
    name
}

/// WITH (key = value)
fn options(options: &ast::CreateTableOptions) -> Result<Vec<(String, String)>> {
    let list = match options {
        ast::CreateTableOptions::None => return Ok(vec![]),
        ast::CreateTableOptions::With(list) => list,
        _ => return Err(Error::unsupported("this form of table options")),
    };
    option_pairs(list)
}

/// Options as keys and texts.
pub(super) fn option_pairs(list: &[ast::SqlOption]) -> Result<Vec<(String, String)>> {
    let pairs = list.iter().map(|option| match option {
        ast::SqlOption::KeyValue { key, value } => {
            let text = match value {
                ast::Expr::Value(value) => match &value.value {
                    ast::Value::SingleQuotedString(text) => text.clone(),
                    other => other.to_string(),
                },
                other => other.to_string(),
            };
            Ok((names::fold(key), text))
        }
        ast::SqlOption::Ident(key) => Ok((names::fold(key), "true".to_owned())),
        _ => Err(Error::unsupported("this form of table option")),
    });
    pairs.collect()
}

fn check_clauses(create: &ast::CreateTable) -> Result<()> {
    if create.query.is_some() || create.like.is_some() || create.clone.is_some() {
        return Err(Error::unsupported("CREATE TABLE from something else"));
    }
    if create.temporary || create.or_replace || create.external || create.unlogged {
        return Err(Error::unsupported("this kind of table"));
    }
    if create.inherits.is_some() || create.partition_of.is_some() || create.partition_by.is_some() {
        return Err(Error::unsupported("inheritance and partitions"));
    }
    Ok(())
}
