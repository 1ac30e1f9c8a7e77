//! GROUP BY: what a query may still mention once its rows have been gathered into groups.
//!
//! Expressions are bound over the rows of FROM first, each aggregate standing as a column of the aggregation to come. Then
//! [`Grouping::apply`] replaces what equals a grouping expression by that group's column; a column of FROM that is left over is an
//! error, unless the groups include the primary key of its table, on which it then depends.

use super::scope::{Namespace, ScopeColumn};
use super::{Binder, coerce, names, operators, walk};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{ColId, Expr, ExprKind};
use sqlparser::ast;

/// The groups of a query.
pub(super) struct Grouping {
    /// Id and expression of each group.
    pub groups: Vec<(ColId, Expr)>,
    namespace: Namespace,
    /// All columns of the rows that are gathered.
    input: Vec<ColId>,
    next_column: u32,
}

impl Grouping {
    /// Groups by these expressions over these rows. `next_column` is the first id that is free.
    pub fn new(groups: Vec<(ColId, Expr)>, namespace: Namespace, input: Vec<ColId>, next_column: u32) -> Self {
        Self { groups, namespace, input, next_column }
    }

    /// The first id that is free now.
    pub fn next_column(&self) -> u32 {
        self.next_column
    }

    /// Makes an expression over the rows one over the groups.
    pub fn apply(&mut self, expr: &mut Expr) -> Result<()> {
        walk::rewrite_expr(expr, &mut |expr| self.replace(expr))
    }

    fn replace(&mut self, expr: &mut Expr) -> Result<bool> {
        if let Some((id, _)) = self.groups.iter().find(|(_, group)| walk::same(group, expr)) {
            *expr = Expr::column(*id, expr.data_type.clone());
            return Ok(true);
        }
        let ExprKind::Column(id) = expr.kind else { return Ok(false) };
        if !self.input.contains(&id) {
            return Ok(true);
        }
        if !self.depends_on_a_key(id) {
            let name = self.namespace.qualified_name(id).unwrap_or_else(|| "?column?".to_owned());
            let message =
                format!("column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function");
            return Err(Error::new(SqlState::GROUPING_ERROR, message));
        }
        let group = ColId(self.next_column);
        self.next_column += 1;
        self.groups.push((group, expr.clone()));
        *expr = Expr::column(group, expr.data_type.clone());
        Ok(true)
    }

    fn depends_on_a_key(&self, id: ColId) -> bool {
        let is = |column: &ScopeColumn| matches!(column.expr.kind, ExprKind::Column(this) if this == id);
        let relation = self.namespace.relations.iter().find(|relation| relation.columns.iter().any(is));
        let grouped = |key: &ColId| {
            self.groups.iter().any(|(_, group)| matches!(group.kind, ExprKind::Column(this) if this == *key))
        };
        relation.is_some_and(|relation| !relation.key.is_empty() && relation.key.iter().all(grouped))
    }
}

/// An item of the SELECT list.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The name of its column.
    pub name: String,
    /// Over the rows of FROM.
    pub expr: Expr,
}

impl<'a> Binder<'a> {
    /// The expressions of GROUP BY: positions and names of the SELECT list, or anything over FROM.
    pub(super) fn groups(&mut self, group_by: &'a ast::GroupByExpr, items: &[Item]) -> Result<Vec<(ColId, Expr)>> {
        let exprs = match group_by {
            ast::GroupByExpr::Expressions(exprs, modifiers) if modifiers.is_empty() => exprs,
            _ => return Err(Error::unsupported("this form of GROUP BY")),
        };
        let mut groups: Vec<(ColId, Expr)> = vec![];
        for expr in exprs {
            let expr = coerce::settle(self.group(expr, items)?)?;
            if !operators::has_order(&expr.data_type) {
                return Err(no_equality(&expr.data_type));
            }
            if !groups.iter().any(|(_, known)| walk::same(known, &expr)) {
                groups.push((self.new_column(), expr));
            }
        }
        Ok(groups)
    }

    fn group(&mut self, expr: &'a ast::Expr, items: &[Item]) -> Result<Expr> {
        match expr {
            ast::Expr::Value(value) => match &value.value {
                ast::Value::Number(digits, _) => {
                    let item = at_position(items, digits, "GROUP BY")?;
                    self.check_no_aggregate(&item.expr)?;
                    return Ok(item.expr.clone());
                }
                ast::Value::SingleQuotedString(_) | ast::Value::Null => {
                    return Err(Error::new(SqlState::SYNTAX_ERROR, "non-integer constant in GROUP BY"));
                }
                _ => {}
            },
            ast::Expr::Identifier(ident) => {
                let name = names::fold(ident);
                let in_from = self
                    .scopes
                    .last()
                    .is_some_and(|scope| scope.namespace.columns.iter().any(|column| column.name == name));
                if !in_from && let Some(item) = named_item(items, &name, "GROUP BY")? {
                    self.check_no_aggregate(&item.expr)?;
                    return Ok(item.expr.clone());
                }
            }
            ast::Expr::GroupingSets(_) | ast::Expr::Cube(_) | ast::Expr::Rollup(_) => {
                return Err(Error::unsupported("GROUPING SETS, CUBE and ROLLUP"));
            }
            _ => {}
        }
        self.expr(expr)
    }

    fn check_no_aggregate(&self, expr: &Expr) -> Result<()> {
        let mut columns = vec![];
        walk::columns_of(expr, &mut columns);
        let aggregates = self.scopes.last().map_or(&[][..], |scope| &scope.aggregates);
        if aggregates.iter().any(|(id, _)| columns.contains(id)) {
            return Err(Error::new(SqlState::GROUPING_ERROR, "aggregate functions are not allowed in GROUP BY"));
        }
        Ok(())
    }
}

/// The item at a position that GROUP BY or ORDER BY gives.
pub(super) fn at_position<'i>(items: &'i [Item], digits: &str, clause: &str) -> Result<&'i Item> {
    index_at(items.len(), digits, clause)
        .and_then(|index| items.get(index).ok_or_else(|| Error::internal("a position in the select list")))
}

/// The index that a position, from 1, stands for.
pub(super) fn index_at(len: usize, digits: &str, clause: &str) -> Result<usize> {
    if digits.contains(['.', 'e', 'E']) {
        return Err(Error::new(SqlState::SYNTAX_ERROR, format!("non-integer constant in {clause}")));
    }
    match digits.parse::<usize>() {
        Ok(position) if (1..=len).contains(&position) => Ok(position - 1),
        _ => Err(Error::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!("{clause} position {digits} is not in select list"),
        )),
    }
}

/// The item of this name; several are fine as long as they are the same expression.
pub(super) fn named_item<'i>(items: &'i [Item], name: &str, clause: &str) -> Result<Option<&'i Item>> {
    let mut matching = items.iter().filter(|item| item.name == name);
    let Some(first) = matching.next() else { return Ok(None) };
    if matching.any(|other| !walk::same(&first.expr, &other.expr)) {
        return Err(Error::new(SqlState::AMBIGUOUS_COLUMN, format!("{clause} \"{name}\" is ambiguous")));
    }
    Ok(Some(first))
}

/// 42883 for json where values must be told apart.
pub(super) fn no_equality(data_type: &crate::value::DataType) -> Error {
    Error::new(SqlState::UNDEFINED_FUNCTION, format!("could not identify an equality operator for type {data_type}"))
}
