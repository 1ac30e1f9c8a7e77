//! SELECT, VALUES, and queries as a whole.

use super::from::Source;
use super::grouping::{Grouping, Item, no_equality};
use super::order::Keys;
use super::parse::syntax_error;
use super::scope::{Clause, CommonTable, Namespace, Scope};
use super::{Binder, ParseLimits, coerce, names, operators, too_complex, walk};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{ColId, Expr};
use crate::exec::node::OutputColumn;
use crate::plan::logical::{Query, Rel};
use crate::value::DataType;
use sqlparser::ast::{self, SelectItem, SetExpr};

/// What is to happen with result columns that are literals of unknown type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unknowns {
    /// They become text.
    Settle,
    /// The place that the query stands in decides: a branch of UNION, the source of INSERT.
    Keep,
}

impl<'a> Binder<'a> {
    /// A query whose columns all have known types.
    pub(super) fn query(&mut self, query: &'a ast::Query) -> Result<Query> {
        self.query_with(query, Unknowns::Settle)
    }

    pub(super) fn query_with(&mut self, query: &'a ast::Query, unknowns: Unknowns) -> Result<Query> {
        self.deeper(|binder| {
            let outer_tables = binder.common_tables.len();
            let query = binder.query_here(query, unknowns)?;
            binder.end_with(outer_tables)?;
            Ok(query)
        })
    }

    /// Forgets the names of a WITH; what nothing has used is bound now, for its errors.
    pub(super) fn end_with(&mut self, outer_tables: usize) -> Result<()> {
        for position in outer_tables..self.common_tables.len() {
            if self.common_tables.get(position).is_some_and(|common| !common.used) {
                self.common_table(position, None)?;
            }
        }
        self.common_tables.truncate(outer_tables);
        Ok(())
    }

    fn query_here(&mut self, query: &'a ast::Query, unknowns: Unknowns) -> Result<Query> {
        if query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return Err(Error::unsupported("this clause of a query"));
        }
        if let Some(with) = &query.with {
            self.with(with)?;
        }
        let bound = match &*query.body {
            SetExpr::Select(select) => self.select(select, query.order_by.as_ref(), &query.locks, unknowns)?,
            body => {
                if !query.locks.is_empty() {
                    return Err(Error::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        "FOR UPDATE is not allowed with UNION/INTERSECT/EXCEPT",
                    ));
                }
                let bound = self.set_expr(body, unknowns)?;
                self.order_by_output(bound, query.order_by.as_ref())?
            }
        };
        self.limit(bound, query)
    }

    /// The body of a query.
    pub(super) fn set_expr(&mut self, body: &'a SetExpr, unknowns: Unknowns) -> Result<Query> {
        match body {
            SetExpr::Select(select) => self.select(select, None, &[], unknowns),
            SetExpr::Query(query) => self.query_with(query, unknowns),
            SetExpr::Values(values) => self.values(values, unknowns),
            SetExpr::SetOperation { .. } => self.set_operation(body, unknowns),
            SetExpr::Table(_) => Err(Error::unsupported("TABLE as a query")),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(Error::unsupported("a data-modifying statement inside a query"))
            }
        }
    }

    /// WITH: notes the names; each use binds its query.
    pub(super) fn with(&mut self, with: &'a ast::With) -> Result<()> {
        if with.recursive {
            return Err(Error::unsupported("WITH RECURSIVE"));
        }
        let before = self.common_tables.len();
        for cte in &with.cte_tables {
            if matches!(&*cte.query.body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_)) {
                return Err(Error::unsupported("a data-modifying statement in WITH"));
            }
            let name = names::fold(&cte.alias.name);
            let mut earlier = self.common_tables.iter().skip(before);
            if earlier.any(|common| names::fold(&common.alias.name) == name) {
                return Err(Error::new(
                    SqlState::DUPLICATE_ALIAS,
                    format!("WITH query name \"{name}\" specified more than once"),
                ));
            }
            let scopes = self.scopes.len();
            self.common_tables.push(CommonTable { alias: &cte.alias, query: &cte.query, scopes, used: false });
        }
        Ok(())
    }

    /// VALUES as a query.
    fn values(&mut self, values: &'a ast::Values, unknowns: Unknowns) -> Result<Query> {
        let scope = Scope::new(Namespace::default(), Clause::Values);
        let rows = self.within(scope, |binder| {
            values.rows.iter().map(|row| binder.exprs(&row.content)).collect::<Result<Vec<_>>>()
        })?;
        let width = rows.first().map_or(0, Vec::len);
        if rows.iter().any(|row| row.len() != width) {
            return Err(syntax_error("VALUES lists must all be the same length"));
        }
        let mut output = vec![];
        for position in 0..width {
            let types = rows.iter().filter_map(|row| row.get(position)).map(|expr| &expr.data_type);
            let all_unknown = types.clone().all(|data_type| *data_type == DataType::Unknown);
            let data_type = match unknowns {
                Unknowns::Keep if all_unknown => DataType::Unknown,
                _ => coerce::common(types, "VALUES")?,
            };
            output.push((self.new_column(), OutputColumn { name: format!("column{}", position + 1), data_type }));
        }
        let convert = |row: Vec<Expr>| -> Result<Vec<Expr>> {
            let columns = row.into_iter().zip(&output);
            columns.map(|(expr, (_, column))| coerce::convert(expr, &column.data_type)).collect()
        };
        let rows = rows.into_iter().map(convert).collect::<Result<_>>()?;
        let columns = output.iter().map(|(id, _)| *id).collect();
        Ok(Query { rel: Rel::Values { columns, rows }, output })
    }

    fn select(
        &mut self,
        select: &'a ast::Select,
        order_by: Option<&'a ast::OrderBy>,
        locks: &[ast::LockClause],
        unknowns: Unknowns,
    ) -> Result<Query> {
        check_clauses(select)?;
        let Source { mut rel, namespace } = self.bind_from(&select.from)?;
        lock(&mut rel, locks, select)?;
        self.scopes.push(Scope::new(namespace, Clause::Where));
        let parts = self.select_parts(select, order_by, unknowns);
        let scope = self.scopes.pop().ok_or_else(|| Error::internal("a scope"))?;
        self.assemble(rel, parts?, scope)
    }

    /// Binds the clauses over the rows of FROM.
    fn select_parts(
        &mut self,
        select: &'a ast::Select,
        order_by: Option<&'a ast::OrderBy>,
        unknowns: Unknowns,
    ) -> Result<Parts> {
        let filter = select.selection.as_ref().map(|filter| self.condition(filter, "WHERE")).transpose()?;
        self.enter(Clause::SelectList);
        let mut items = self.items(&select.projection)?;
        if unknowns == Unknowns::Settle {
            for item in &mut items {
                item.expr = coerce::settle(item.expr.clone())?;
            }
        }
        self.enter(Clause::GroupBy);
        let groups = self.groups(&select.group_by, &items)?;
        self.enter(Clause::Having);
        let having = select.having.as_ref().map(|having| self.condition(having, "HAVING")).transpose()?;
        self.enter(Clause::OrderBy);
        let mut keys = Keys::new(items.len());
        if let Some(order_by) = order_by {
            self.sort_keys(order_by, &items, &mut keys)?;
        }
        let distinct = match &select.distinct {
            None | Some(ast::Distinct::All) => Distinct::None,
            Some(ast::Distinct::Distinct) => {
                if !keys.extra.is_empty() {
                    return Err(Error::new(
                        SqlState::INVALID_COLUMN_REFERENCE,
                        "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
                    ));
                }
                if let Some(item) = items.iter().find(|item| !operators::has_order(&item.expr.data_type)) {
                    return Err(no_equality(&item.expr.data_type));
                }
                Distinct::Rows
            }
            Some(ast::Distinct::On(exprs)) => {
                self.enter(Clause::DistinctOn);
                let on = exprs.iter().map(|expr| self.order_target(expr, &items, &mut keys, "DISTINCT ON"));
                let on = on.collect::<Result<Vec<_>>>()?;
                let matches = keys.keys.iter().take(on.len()).all(|key| on.contains(&key.column));
                if !matches {
                    return Err(Error::new(
                        SqlState::INVALID_COLUMN_REFERENCE,
                        "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
                    ));
                }
                Distinct::On(on)
            }
        };
        let grouped = !groups.is_empty() || having.is_some();
        Ok(Parts { filter, items, groups, grouped, having, keys, distinct })
    }

    /// Puts the clauses together, in the order in which they take effect.
    fn assemble(&mut self, mut rel: Rel, mut parts: Parts, scope: Scope) -> Result<Query> {
        if let Some(predicate) = parts.filter {
            rel = Rel::Filter { input: Box::new(rel), predicate };
        }
        if parts.grouped || !scope.aggregates.is_empty() {
            let mut grouping = Grouping::new(parts.groups, scope.namespace, rel.columns(), self.next_column);
            let exprs = parts.items.iter_mut().map(|item| &mut item.expr);
            for expr in exprs.chain(&mut parts.keys.extra).chain(&mut parts.having) {
                grouping.apply(expr)?;
            }
            self.next_column = grouping.next_column();
            rel = Rel::Aggregate { input: Box::new(rel), groups: grouping.groups, aggregates: scope.aggregates };
            if let Some(predicate) = parts.having {
                rel = Rel::Filter { input: Box::new(rel), predicate };
            }
        }
        let mut exprs: Vec<(ColId, Expr)> = vec![];
        let mut output = vec![];
        for item in parts.items {
            let id = self.new_column();
            output.push((id, OutputColumn { name: item.name, data_type: item.expr.data_type.clone() }));
            exprs.push((id, item.expr));
        }
        for expr in parts.keys.extra {
            exprs.push((self.new_column(), expr));
        }
        let columns: Vec<Expr> = exprs.iter().map(|(id, expr)| Expr::column(*id, expr.data_type.clone())).collect();
        rel = Rel::Project { input: Box::new(rel), exprs };
        if matches!(parts.distinct, Distinct::Rows) {
            rel = Rel::Distinct { input: Box::new(rel), on: None };
        }
        if !parts.keys.keys.is_empty() {
            rel = Rel::Sort {
                input: Box::new(rel),
                keys: parts.keys.keys.iter().map(|key| key.over(&columns)).collect::<Result<_>>()?,
            };
        }
        if let Distinct::On(on) = parts.distinct {
            let on = on.into_iter().map(|column| columns.get(column).cloned());
            let on = on.collect::<Option<Vec<_>>>().ok_or_else(|| Error::internal("a column of DISTINCT ON"))?;
            rel = Rel::Distinct { input: Box::new(rel), on: Some(on) };
        }
        Ok(Query { rel, output })
    }

    /// The list of a SELECT or RETURNING, `*` expanded.
    pub(super) fn items(&mut self, list: &'a [SelectItem]) -> Result<Vec<Item>> {
        let mut items = vec![];
        for item in list {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    items.push(Item { name: names::output_name(expr), expr: self.expr(expr)? });
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    items.push(Item { name: names::fold(alias), expr: self.expr(expr)? });
                }
                SelectItem::Wildcard(options) => {
                    check_wildcard(options)?;
                    let namespace = self.scopes.last().map(|scope| &scope.namespace);
                    let Some(namespace) = namespace.filter(|namespace| !namespace.relations.is_empty()) else {
                        return Err(syntax_error("SELECT * with no tables specified is not valid"));
                    };
                    items.extend(
                        namespace
                            .columns
                            .iter()
                            .map(|column| Item { name: column.name.clone(), expr: column.expr.clone() }),
                    );
                }
                SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    check_wildcard(options)?;
                    let relation = self.resolve_relation(&names::relation(name)?)?;
                    items.extend(
                        relation
                            .columns
                            .iter()
                            .map(|column| Item { name: column.name.clone(), expr: column.expr.clone() }),
                    );
                }
                SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => {
                    return Err(Error::unsupported("this item of a SELECT list"));
                }
            }
        }
        if items.len() > ParseLimits::COLUMNS_MAX {
            return Err(too_complex("columns of a result", ParseLimits::COLUMNS_MAX));
        }
        Ok(items)
    }

    /// LIMIT, OFFSET and FETCH FIRST.
    fn limit(&mut self, bound: Query, query: &'a ast::Query) -> Result<Query> {
        let (mut limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(ast::LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(_) => return Err(syntax_error("LIMIT #,# syntax is not supported")),
        };
        let mut one_row = None;
        if let Some(fetch) = &query.fetch {
            if fetch.with_ties || fetch.percent {
                return Err(Error::unsupported("FETCH with WITH TIES or PERCENT"));
            }
            match &fetch.quantity {
                Some(quantity) => limit = Some(quantity),
                None => one_row = Some(Expr::literal(crate::value::Value::Int(1), DataType::Int8)),
            }
        }
        let limit = limit.map(|limit| self.row_count(limit, "LIMIT")).transpose()?.or(one_row);
        let offset = offset.map(|offset| self.row_count(offset, "OFFSET")).transpose()?;
        if limit.is_none() && offset.is_none() {
            return Ok(bound);
        }
        Ok(Query { rel: Rel::Limit { input: Box::new(bound.rel), limit, offset }, output: bound.output })
    }

    fn row_count(&mut self, expr: &'a ast::Expr, clause: &str) -> Result<Expr> {
        // LIMIT ALL
        if matches!(expr, ast::Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("all"))
        {
            return Ok(Expr::literal(crate::value::Value::Null, DataType::Int8));
        }
        let scope = Scope::new(Namespace::default(), Clause::Limit);
        let expr = self.within(scope, |binder| binder.expr(expr))?;
        coerce::convert_in(expr, &DataType::Int8, coerce::Context::Assignment, |from| {
            let message = format!("argument of {clause} must be type bigint, not type {from}");
            Error::new(SqlState::DATATYPE_MISMATCH, message)
        })
    }
}

/// The clauses of a SELECT, over the rows of FROM.
struct Parts {
    filter: Option<Expr>,
    items: Vec<Item>,
    groups: Vec<(ColId, Expr)>,
    grouped: bool,
    having: Option<Expr>,
    keys: Keys,
    distinct: Distinct,
}

enum Distinct {
    None,
    Rows,
    /// By these columns, in the numbering of [`Keys`].
    On(Vec<usize>),
}

fn check_clauses(select: &ast::Select) -> Result<()> {
    let foreign = select.top.is_some()
        || select.exclude.is_some()
        || select.into.is_some()
        || !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
        || select.qualify.is_some()
        || select.value_table_mode.is_some()
        || select.flavor != ast::SelectFlavor::Standard;
    if foreign {
        return Err(Error::unsupported("this clause of SELECT"));
    }
    if !select.named_window.is_empty() {
        return Err(Error::unsupported("WINDOW"));
    }
    Ok(())
}

fn check_wildcard(options: &ast::WildcardAdditionalOptions) -> Result<()> {
    let plain = options.opt_ilike.is_none()
        && options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_alias.is_none();
    if plain { Ok(()) } else { Err(Error::unsupported("an option of *")) }
}

/// FOR UPDATE and FOR SHARE. NOWAIT and SKIP LOCKED change nothing, since nothing ever waits for a lock or finds one.
fn lock(rel: &mut Rel, locks: &[ast::LockClause], select: &ast::Select) -> Result<()> {
    let Some(first) = locks.first() else { return Ok(()) };
    let name = match first.lock_type {
        ast::LockType::Share => "FOR SHARE",
        ast::LockType::Update => "FOR UPDATE",
    };
    let grouped = !matches!(&select.group_by, ast::GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let with = match (&select.distinct, grouped, &select.having) {
        (Some(ast::Distinct::Distinct | ast::Distinct::On(_)), ..) => Some("DISTINCT clause"),
        (_, true, _) => Some("GROUP BY clause"),
        (_, _, Some(_)) => Some("HAVING clause"),
        _ => None,
    };
    if let Some(with) = with {
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{name} is not allowed with {with}")));
    }
    for lock in locks {
        let of = lock.of.as_ref().map(names::relation).transpose()?;
        if !walk::lock_scans(rel, of.as_deref())
            && let Some(of) = of
        {
            return Err(Error::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{of}\" in {name} clause not found in FROM clause"),
            ));
        }
    }
    Ok(())
}
