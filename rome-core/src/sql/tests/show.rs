//! Bound trees as short text: columns as `#3`, casts as `x::type`, relations indented below what reads them.

use crate::exec::expr::{AggregateCall, ColId, CompareOp, Expr, ExprKind, SubqueryBody, SubqueryKind};
use crate::plan::logical::{Bound, BoundInsert, Query, Rel};
use crate::value::Value;
use std::fmt::Write;

pub(super) fn bound(bound: &Bound) -> String {
    let mut out = String::new();
    match bound {
        Bound::Query(query) => show_query(query, 0, &mut out),
        Bound::Insert(insert) => show_insert(insert, &mut out),
        Bound::Update(update) => {
            writeln!(out, "update {} row {}", update.table.name, ids(&update.row)).unwrap();
            show_assignments(&update.assignments, &mut out);
            show_checks(&update.checks, &mut out);
            show_returning(update.returning.as_deref(), &mut out);
            show_rel(&update.source, 1, &mut out);
        }
        Bound::Delete(delete) => {
            writeln!(out, "delete {} row {}", delete.table.name, ids(&delete.row)).unwrap();
            show_returning(delete.returning.as_deref(), &mut out);
            show_rel(&delete.source, 1, &mut out);
        }
        Bound::Explain { analyze, statement } => {
            writeln!(out, "explain analyze={analyze}").unwrap();
            out.push_str(&self::bound(statement));
        }
        Bound::Schema(change) => writeln!(out, "{change:?}").unwrap(),
        Bound::Control(control) => writeln!(out, "{control:?}").unwrap(),
    }
    out
}

fn show_insert(insert: &BoundInsert, out: &mut String) {
    let targets: Vec<&str> = insert.targets.iter().map(|p| insert.table.columns[*p].name.as_str()).collect();
    writeln!(out, "insert {} ({}) row {}", insert.table.name, targets.join(", "), ids(&insert.row)).unwrap();
    if insert.overriding_system {
        writeln!(out, "  overriding").unwrap();
    }
    if !insert.default_marks.is_empty() {
        writeln!(out, "  default at {:?}", insert.default_marks).unwrap();
    }
    for (column, default) in insert.table.columns.iter().zip(&insert.defaults) {
        if let Some(default) = default {
            writeln!(out, "  default {} = {}", column.name, expr(default)).unwrap();
        }
    }
    show_checks(&insert.checks, out);
    if let Some(conflict) = &insert.on_conflict {
        writeln!(out, "  on conflict {:?} excluded {}", conflict.target, ids(&insert.excluded)).unwrap();
        if let Some((assignments, predicate)) = &conflict.update {
            show_assignments(assignments, out);
            if let Some(predicate) = predicate {
                writeln!(out, "  where {}", expr(predicate)).unwrap();
            }
        }
    }
    show_returning(insert.returning.as_deref(), out);
    show_query(&insert.source, 1, out);
}

fn show_assignments(assignments: &[(usize, Option<Expr>)], out: &mut String) {
    for (position, value) in assignments {
        let value = value.as_ref().map_or_else(|| "DEFAULT".to_owned(), expr);
        writeln!(out, "  set {position} = {value}").unwrap();
    }
}

fn show_checks(checks: &[(String, Expr)], out: &mut String) {
    for (name, check) in checks {
        writeln!(out, "  check {name}: {}", expr(check)).unwrap();
    }
}

fn show_returning(returning: Option<&[(Expr, crate::exec::node::OutputColumn)]>, out: &mut String) {
    for (value, column) in returning.unwrap_or_default() {
        writeln!(out, "  returning {} {} = {}", column.name, column.data_type, expr(value)).unwrap();
    }
}

fn ids(ids: &[ColId]) -> String {
    ids.iter().map(|id| format!("#{}", id.0)).collect::<Vec<_>>().join(" ")
}

fn show_query(query: &Query, depth: usize, out: &mut String) {
    let columns: Vec<String> =
        query.output.iter().map(|(id, column)| format!("{} {} #{}", column.name, column.data_type, id.0)).collect();
    writeln!(out, "{}-> {}", "  ".repeat(depth), columns.join(", ")).unwrap();
    show_rel(&query.rel, depth + 1, out);
}

fn list(exprs: &[Expr]) -> String {
    exprs.iter().map(expr).collect::<Vec<_>>().join(", ")
}

fn named(exprs: &[(ColId, Expr)]) -> String {
    exprs.iter().map(|(id, value)| format!("#{} = {}", id.0, expr(value))).collect::<Vec<_>>().join(", ")
}

fn show_rel(rel: &Rel, depth: usize, out: &mut String) {
    let mut inputs: Vec<&Rel> = vec![];
    let line = match rel {
        Rel::OneRow => "one row".to_owned(),
        Rel::Values { columns, rows } => {
            let rows: Vec<String> = rows.iter().map(|row| format!("({})", list(row))).collect();
            format!("values {}: {}", ids(columns), rows.join(" "))
        }
        Rel::Scan { columns, alias, lock, table } => {
            let names: Vec<String> =
                columns.iter().map(|(id, position)| format!("#{} {}", id.0, table.columns[*position].name)).collect();
            format!("scan {alias}{}: {}", if *lock { " for update" } else { "" }, names.join(", "))
        }
        Rel::Filter { input, predicate } => {
            inputs.push(input);
            format!("filter {}", expr(predicate))
        }
        Rel::Project { input, exprs } => {
            inputs.push(input);
            format!("project {}", named(exprs))
        }
        Rel::Join { kind, left, right, on } => {
            inputs.extend([&**left, right]);
            format!("{kind:?} join{}", on.as_ref().map_or_else(String::new, |on| format!(" on {}", expr(on))))
        }
        Rel::Aggregate { input, groups, aggregates } => {
            inputs.push(input);
            let calls: Vec<String> =
                aggregates.iter().map(|(id, call)| format!("#{} = {}", id.0, aggregate(call))).collect();
            format!("aggregate by [{}]: {}", named(groups), calls.join(", "))
        }
        Rel::Distinct { input, on } => {
            inputs.push(input);
            format!("distinct{}", on.as_ref().map_or_else(String::new, |on| format!(" on {}", list(on))))
        }
        Rel::Sort { input, keys } => {
            inputs.push(input);
            let keys: Vec<String> = keys
                .iter()
                .map(|key| {
                    let direction = if key.descending { "desc" } else { "asc" };
                    format!("{} {direction} nulls {}", expr(&key.expr), if key.nulls_first { "first" } else { "last" })
                })
                .collect();
            format!("sort {}", keys.join(", "))
        }
        Rel::Limit { input, limit, offset } => {
            inputs.push(input);
            let show = |value: &Option<Expr>| value.as_ref().map_or_else(|| "-".to_owned(), expr);
            format!("limit {} offset {}", show(limit), show(offset))
        }
        Rel::SetOp { op, all, left, right, columns } => {
            inputs.extend([&**left, right]);
            format!("{op:?}{} {}", if *all { " all" } else { "" }, ids(columns))
        }
    };
    writeln!(out, "{}{line}", "  ".repeat(depth)).unwrap();
    for input in inputs {
        show_rel(input, depth + 1, out);
    }
}

fn aggregate(call: &AggregateCall) -> String {
    let distinct = if call.distinct { "distinct " } else { "" };
    let filter = call.filter.as_ref().map_or_else(String::new, |filter| format!(" filter {}", expr(filter)));
    format!("{:?}({distinct}{}){filter}::{}", call.function, list(&call.args), call.data_type)
}

fn compare(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Eq => "=",
        CompareOp::NotEq => "<>",
        CompareOp::Lt => "<",
        CompareOp::LtEq => "<=",
        CompareOp::Gt => ">",
        CompareOp::GtEq => ">=",
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Text(text) => format!("'{text}'"),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Numeric(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn expr(value: &Expr) -> String {
    match &value.kind {
        ExprKind::Literal(Value::Int(number)) => number.to_string(),
        ExprKind::Literal(Value::Bool(value)) => value.to_string(),
        ExprKind::Literal(constant) => format!("{}::{}", literal(constant), value.data_type),
        ExprKind::Param(position) => format!("${}", position + 1),
        ExprKind::Column(id) => format!("#{}", id.0),
        ExprKind::Slot(slot) | ExprKind::Outer(slot) => format!("slot {slot}"),
        ExprKind::Unary(op, inner) => format!("{op:?}({})", expr(inner)),
        ExprKind::Binary(op, left, right) => {
            format!("({} {} {}):{}", expr(left), super::super::operators::symbol(*op), expr(right), value.data_type)
        }
        ExprKind::Compare(op, left, right) => format!("{} {} {}", expr(left), compare(*op), expr(right)),
        ExprKind::IsDistinct(left, right) => format!("distinct({}, {})", expr(left), expr(right)),
        ExprKind::And(list) => format!("({})", list.iter().map(expr).collect::<Vec<_>>().join(" and ")),
        ExprKind::Or(list) => format!("({})", list.iter().map(expr).collect::<Vec<_>>().join(" or ")),
        ExprKind::Not(inner) => format!("not({})", expr(inner)),
        ExprKind::IsNull(inner) => format!("{} is null", expr(inner)),
        ExprKind::IsBool(inner, is) => format!("{} is {is}", expr(inner)),
        ExprKind::Like { text, pattern, case_insensitive, escape } => {
            let op = if *case_insensitive { "ilike" } else { "like" };
            format!("{} {op} {} escape {escape:?}", expr(text), expr(pattern))
        }
        ExprKind::InList(left, items) => format!("{} in ({})", expr(left), list(items)),
        ExprKind::QuantifiedArray { left, op, array, all } => {
            format!("{} {} {}({})", expr(left), compare(*op), if *all { "all" } else { "any" }, expr(array))
        }
        ExprKind::Case { whens, otherwise } => {
            let whens: Vec<String> =
                whens.iter().map(|(when, then)| format!("when {} then {}", expr(when), expr(then))).collect();
            let otherwise = otherwise.as_ref().map_or_else(String::new, |value| format!(" else {}", expr(value)));
            format!("case {}{otherwise} end:{}", whens.join(" "), value.data_type)
        }
        ExprKind::Coalesce(items) => format!("coalesce({}):{}", list(items), value.data_type),
        ExprKind::Cast(inner) => format!("{}::{}", expr(inner), value.data_type),
        ExprKind::Call(function, args) => format!("{}({}):{}", function.name, list(args), value.data_type),
        ExprKind::Array(items) => format!("array[{}]:{}", list(items), value.data_type),
        ExprKind::Subquery(subquery) => {
            let kind = match &subquery.kind {
                SubqueryKind::Scalar => "scalar".to_owned(),
                SubqueryKind::Exists => "exists".to_owned(),
                SubqueryKind::Array => "array".to_owned(),
                SubqueryKind::Quantified { left, op, all } => {
                    format!("({}) {} {}", list(left), compare(*op), if *all { "all" } else { "any" })
                }
            };
            let SubqueryBody::Logical(body) = &subquery.body else { return kind };
            let mut text = String::new();
            show_query(body.as_any().downcast_ref::<Query>().unwrap(), 0, &mut text);
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            format!("{kind}{{{}}}", lines.join(" | "))
        }
    }
}
