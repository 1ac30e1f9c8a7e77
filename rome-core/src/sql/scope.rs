//! What a name means at some place of a statement.
//!
//! Each query has a [`Scope`]: the relations of its FROM clause and their columns. Names are looked up in the innermost scope first, then in
//! those around it; what is found further out is a correlation.

use super::Binder;
use super::names;
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{AggregateCall, ColId, Expr};
use sqlparser::ast;

/// A relation of a FROM clause.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// The name by which columns are qualified: the alias, where there is one. `None` for a derived table without a name.
    pub name: Option<String>,
    /// The table's own name, where an alias hides it.
    pub hidden_name: Option<String>,
    /// Its columns in order.
    pub columns: Vec<ScopeColumn>,
    /// For a table the columns of its primary key, on which all others depend.
    pub key: Vec<ColId>,
}

/// A column that can be named.
#[derive(Clone, Debug)]
pub(super) struct ScopeColumn {
    /// Its name.
    pub name: String,
    /// What it stands for: a column, or COALESCE of two for a column that FULL JOIN USING merged.
    pub expr: Expr,
}

/// What a FROM clause, or a part of one, makes visible.
#[derive(Clone, Debug, Default)]
pub(super) struct Namespace {
    /// For qualified names.
    pub relations: Vec<Relation>,
    /// For names without qualification and for `*`, in order: USING has merged columns.
    pub columns: Vec<ScopeColumn>,
}

impl Namespace {
    /// Of one relation.
    pub fn of(relation: Relation) -> Self {
        Self { columns: relation.columns.clone(), relations: vec![relation] }
    }

    /// Adds what stands beside it.
    pub fn extend(&mut self, other: Namespace) -> Result<()> {
        self.add_relations(other.relations)?;
        self.columns.extend(other.columns);
        Ok(())
    }

    /// Adds relations, each under a new name.
    pub fn add_relations(&mut self, relations: Vec<Relation>) -> Result<()> {
        for relation in relations {
            if let Some(name) = &relation.name
                && self.relation(name).is_some()
            {
                return Err(Error::new(
                    SqlState::DUPLICATE_ALIAS,
                    format!("table name \"{name}\" specified more than once"),
                ));
            }
            self.relations.push(relation);
        }
        Ok(())
    }

    /// The relation of this name.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.name.as_deref() == Some(name))
    }

    /// How a column is called in a message: `t.c`, or `c` where it belongs to no named relation.
    pub fn qualified_name(&self, id: ColId) -> Option<String> {
        use crate::exec::expr::ExprKind::Column;
        for relation in &self.relations {
            let column = relation.columns.iter().find(|column| matches!(column.expr.kind, Column(this) if this == id));
            if let Some(column) = column {
                return Some(match &relation.name {
                    Some(relation) => format!("{relation}.{}", column.name),
                    None => column.name.clone(),
                });
            }
        }
        None
    }
}

/// The part of a statement that is being bound, which decides what may stand there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Clause {
    /// SELECT's list.
    SelectList,
    /// WHERE
    Where,
    /// JOIN ... ON
    JoinOn,
    /// GROUP BY
    GroupBy,
    /// HAVING
    Having,
    /// ORDER BY
    OrderBy,
    /// DISTINCT ON
    DistinctOn,
    /// LIMIT and OFFSET.
    Limit,
    /// VALUES
    Values,
    /// SET of UPDATE and of ON CONFLICT.
    Set,
    /// RETURNING
    Returning,
    /// A column's default.
    Default,
    /// A CHECK constraint.
    Check,
}

impl Clause {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::SelectList => "SELECT",
            Self::Where => "WHERE",
            Self::JoinOn => "JOIN conditions",
            Self::GroupBy => "GROUP BY",
            Self::Having => "HAVING",
            Self::OrderBy => "ORDER BY",
            Self::DistinctOn => "DISTINCT ON",
            Self::Limit => "LIMIT",
            Self::Values => "VALUES",
            Self::Set => "UPDATE",
            Self::Returning => "RETURNING",
            Self::Default => "DEFAULT expressions",
            Self::Check => "check constraints",
        }
    }

    /// Whether aggregates may stand there.
    pub fn takes_aggregates(self) -> bool {
        matches!(self, Self::SelectList | Self::Having | Self::OrderBy | Self::DistinctOn)
    }
}

/// One query around the place at hand.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// What its FROM clause makes visible.
    pub namespace: Namespace,
    /// The clause that is being bound.
    pub clause: Clause,
    /// Inside the arguments of an aggregate.
    pub in_aggregate: bool,
    /// The aggregates met so far.
    pub aggregates: Vec<(ColId, AggregateCall)>,
}

impl Scope {
    /// A scope for binding one clause.
    pub fn new(namespace: Namespace, clause: Clause) -> Self {
        Self { namespace, clause, in_aggregate: false, aggregates: vec![] }
    }
}

/// A query that WITH has named: bound anew at each use.
#[derive(Clone, Copy)]
pub(super) struct CommonTable<'a> {
    /// Its name and columns.
    pub alias: &'a ast::TableAlias,
    /// What it stands for.
    pub query: &'a ast::Query,
    /// How many scopes it sees.
    pub scopes: usize,
    /// Whether anything has used it yet.
    pub used: bool,
}

impl<'a> Binder<'a> {
    /// Binds something inside a scope.
    pub(super) fn within<T>(&mut self, scope: Scope, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.scopes.push(scope);
        let result = step(self);
        self.scopes.pop();
        result
    }

    /// The clause being bound, of the innermost query.
    pub(super) fn clause(&self) -> Option<Clause> {
        self.scopes.last().map(|scope| scope.clause)
    }

    /// Says which clause of the innermost query comes next.
    pub(super) fn enter(&mut self, clause: Clause) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.clause = clause;
        }
    }

    /// An unqualified column name.
    pub(super) fn resolve_column(&self, name: &str) -> Result<Expr> {
        for scope in self.scopes.iter().rev() {
            if let Some(expr) = unique(&scope.namespace.columns, name)? {
                return Ok(expr);
            }
        }
        if self.clause() == Some(Clause::Default) {
            return Err(Error::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "cannot use column reference in DEFAULT expression",
            ));
        }
        Err(Error::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist")).with_column(name))
    }

    /// `t.c`, `public.t.c`
    pub(super) fn resolve_qualified(&self, parts: &[ast::Ident]) -> Result<Expr> {
        let parts: Vec<String> = parts.iter().map(names::fold).collect();
        let (relation, column) = match parts.as_slice() {
            [column] => return self.resolve_column(column),
            [relation, column] => (relation, column),
            [schema, relation, column] if schema == "public" => (relation, column),
            _ => {
                let name = parts.join(".");
                return Err(Error::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("cross-schema reference {name} is not known"),
                ));
            }
        };
        let found = self.resolve_relation(relation)?;
        let expr = unique(&found.columns, column)?;
        expr.ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_COLUMN, format!("column {relation}.{column} does not exist"))
                .with_column(column)
        })
    }

    /// The relation that a qualification names.
    pub(super) fn resolve_relation(&self, name: &str) -> Result<&Relation> {
        let namespaces = || self.scopes.iter().rev().map(|scope| &scope.namespace);
        if let Some(relation) = namespaces().find_map(|namespace| namespace.relation(name)) {
            return Ok(relation);
        }
        let hidden = namespaces().find_map(|namespace| {
            namespace.relations.iter().find(|relation| relation.hidden_name.as_deref() == Some(name))
        });
        Err(match hidden.and_then(|relation| relation.name.as_deref()) {
            Some(alias) => Error::new(
                SqlState::UNDEFINED_TABLE,
                format!("invalid reference to FROM-clause entry for table \"{name}\""),
            )
            .with_hint(format!("Perhaps you meant to reference the table alias \"{alias}\".")),
            None => Error::new(SqlState::UNDEFINED_TABLE, format!("missing FROM-clause entry for table \"{name}\"")),
        })
    }
}

/// The one column of this name.
pub(super) fn unique(columns: &[ScopeColumn], name: &str) -> Result<Option<Expr>> {
    let mut matching = columns.iter().filter(|column| column.name == name);
    let first = matching.next();
    if matching.next().is_some() {
        return Err(Error::new(SqlState::AMBIGUOUS_COLUMN, format!("column reference \"{name}\" is ambiguous"))
            .with_column(name));
    }
    Ok(first.map(|column| column.expr.clone()))
}
