//! `EXPLAIN`: the plan as text, and the store round trips that it will take.
//!
//! ```text
//! Lookup Join (inner)
//!   -> Scan on item using index item_order (order_id = 7)  rows~100
//!   -> Look up in product by primary key (id = item.product_id)
//! Round trips: 2 (reads 2, commits 0)
//! Sites: pisa, rome; wide-area round trips: 2 (reads 1: item at pisa; commits 1: validation)
//! ```
//!
//! The last line is there where there are several sites; of what crosses between them it gives the reasons.

use super::participants::{Step, participants};
use super::reach::{Reach, StoreTraits};
use crate::catalog::{SchemaView, Table};
use crate::exec::expr::{BinaryOp, CompareOp, Expr, ExprKind, SortKey, Subquery, SubqueryBody, SubqueryKind, UnaryOp};
use crate::exec::node::{Access, Assignment, Change, JoinKind, Node, Scan, SetOp};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The plan of a query as lines of text.
pub fn explain_query(node: &Node, store: StoreTraits<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    describe(node, 0, store, &mut lines);
    let trips = Trips::of(node, store);
    // What came from several homes is validated together.
    let commits = u64::from(trips.reach.may_spread());
    lines.push(trips_line(&trips, commits));
    lines.extend(wide_line(&trips, commits, &["validation".to_owned()], store));
    lines
}

/// The plan of a data-changing statement as lines of text. An autocommit statement's commit is counted.
pub fn explain_change(change: &Change, schema: &dyn SchemaView, store: StoreTraits<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let (head, source) = match change {
        Change::Insert(insert) => (format!("Insert on {}", insert.table.name), &insert.source),
        Change::Update(update) => (format!("Update on {}", update.table.name), &update.source),
        Change::Delete(delete) => (format!("Delete on {}", delete.table.name), &delete.source),
    };
    lines.push(head);
    describe(source, 1, store, &mut lines);
    let mut trips = Trips::of(source, store);
    if let Change::Insert(insert) = change
        && insert.on_conflict.is_some()
    {
        trips.reads += 1;
    }
    if let Change::Update(update) = change {
        let subqueries = update.assignments.iter().filter_map(|(_, value)| match value {
            Assignment::Expr(expr) => Some(expr),
            Assignment::Default => None,
        });
        subqueries.for_each(|expr| trips.add_expr(expr, store));
    }
    // Rows that were read elsewhere are changed there.
    let mut commits = trips.why.clone();
    if store.topology.is_spread() {
        trips.add_participants(change, schema, store, &mut commits);
    }
    lines.push(trips_line(&trips, 1));
    lines.extend(wide_line(&trips, 1, &commits, store));
    lines
}

/// Where it happens, what of it crosses between sites, and why; nothing where there is only one.
fn wide_line(trips: &Trips, commits: u64, why: &[String], store: StoreTraits<'_>) -> Option<String> {
    if !store.topology.is_spread() {
        return None;
    }
    let commits = if trips.reach.is_near(store) { 0 } else { commits };
    let least = if trips.reach.named > 0 { "at most " } else { "" };
    let because = |count: u64, why: &[String]| match count {
        0 => String::new(),
        _ if why.is_empty() => String::new(),
        _ => format!(": {}", why.join(", ")),
    };
    let (reads, committed) = (because(trips.wide, &trips.why), because(commits, why));
    let mark = if reads.is_empty() && committed.is_empty() { "," } else { ";" };
    Some(format!(
        "Sites: {}; wide-area round trips: {least}{} (reads {}{reads}{mark} commits {commits}{committed})",
        trips.reach.text(store),
        trips.wide + commits,
        trips.wide
    ))
}

/// Notes a reason, once.
fn note(why: &mut Vec<String>, reason: String) {
    if !why.contains(&reason) {
        why.push(reason);
    }
}

fn trips_line(trips: &Trips, commits: u64) -> String {
    let mut line = format!("Round trips: {} (reads {}, commits {commits})", trips.reads + commits, trips.reads);
    if trips.per_row > 0 {
        let _ = write!(line, ", plus {} for each distinct outer row of a correlated subquery", trips.per_row);
    }
    line
}

/// Round trips of a plan whose every range fits one page.
#[derive(Default)]
struct Trips {
    reads: u64,
    per_row: u64,
    /// Of the reads, those that may leave the local site.
    wide: u64,
    /// What is read there.
    why: Vec<String>,
    reach: Reach,
}

/// Round trips of the scans that are read together.
#[derive(Default)]
struct First {
    reads: u64,
    wide: u64,
}

impl Trips {
    fn of(node: &Node, store: StoreTraits<'_>) -> Self {
        let mut trips = Self::default();
        // All scans that depend on no other rows are read together.
        let mut first = First::default();
        trips.walk(node, store, &mut first);
        trips.reads += first.reads;
        trips.wide += first.wide;
        trips
    }

    fn walk(&mut self, node: &Node, store: StoreTraits<'_>, first: &mut First) {
        match node {
            Node::Scan(scan) => {
                let (reads, wide) = self.visit(scan, store);
                first.reads = first.reads.max(reads);
                first.wide = first.wide.max(wide);
            }
            Node::LookupJoin { inner, .. } => {
                let (reads, wide) = self.visit(inner, store);
                self.reads += reads;
                self.wide += wide;
            }
            _ => {}
        }
        for expr in exprs(node) {
            self.add_expr(expr, store);
        }
        for input in inputs(node) {
            self.walk(input, store, first);
        }
    }

    /// The round trips of a scan, and how many of them may leave the local site.
    fn visit(&mut self, scan: &Scan, store: StoreTraits<'_>) -> (u64, u64) {
        let reach = Reach::of_scan(scan, store);
        self.reach.add(&reach);
        let reads = scan_trips(scan, store);
        if reach.is_near(store) {
            return (reads, 0);
        }
        let table = &scan.table.name;
        let why =
            if scan.by_claim { format!("{table} by its claim") } else { format!("{table} at {}", reach.text(store)) };
        note(&mut self.why, why);
        (reads, reads)
    }

    /// What a change reaches besides what its source reads: `commits` are the reasons why its commit leaves the site.
    fn add_participants(
        &mut self,
        change: &Change,
        schema: &dyn SchemaView,
        store: StoreTraits<'_>,
        commits: &mut Vec<String>,
    ) {
        let mut steps = BTreeSet::new();
        for part in participants(change, schema, store) {
            self.reach.add(&part.reach);
            if part.reach.is_near(store) {
                continue;
            }
            match part.read {
                None => note(commits, part.why),
                Some(step) => {
                    steps.insert(step);
                    note(&mut self.why, part.why);
                }
            }
        }
        self.wide += steps.len() as u64;
        // That ON CONFLICT reads is counted wherever it does.
        self.reads += steps.iter().filter(|step| **step != Step::Conflicts).count() as u64;
    }

    fn add_expr(&mut self, expr: &Expr, store: StoreTraits<'_>) {
        if let ExprKind::Subquery(subquery) = &expr.kind
            && let SubqueryBody::Planned { node, outer } = &subquery.body
        {
            let inner = Self::of(node, store);
            self.reach.add(&inner.reach);
            self.wide += inner.wide;
            inner.why.into_iter().for_each(|why| note(&mut self.why, why));
            if outer.is_empty() {
                self.reads += inner.reads
            } else {
                self.per_row += inner.reads
            }
            self.per_row += inner.per_row;
        }
        expr.children().into_iter().for_each(|child| self.add_expr(child, store));
    }
}

fn scan_trips(scan: &Scan, store: StoreTraits<'_>) -> u64 {
    if scan.by_claim || scan.access.index.is_some() && !store.follow { 2 } else { 1 }
}

fn exprs(node: &Node) -> Vec<&Expr> {
    match node {
        Node::OneRow | Node::Nothing { .. } | Node::SetOp { .. } => vec![],
        Node::Values { rows } => rows.iter().flatten().collect(),
        Node::Scan(scan) => scan.filter.iter().collect(),
        Node::Filter { predicate, .. } => vec![predicate],
        Node::Project { exprs, .. } => exprs.iter().collect(),
        Node::LookupJoin { inner, on, .. } => inner.filter.iter().chain(on).collect(),
        Node::HashJoin { on, .. } | Node::NestedLoopJoin { on, .. } => on.iter().collect(),
        Node::Aggregate { groups, aggregates, .. } => {
            groups.iter().chain(aggregates.iter().flat_map(|call| call.args.iter().chain(&call.filter))).collect()
        }
        Node::Sort { keys, .. } => keys.iter().map(|key| &key.expr).collect(),
        Node::Limit { limit, offset, .. } => limit.iter().chain(offset).collect(),
        Node::Distinct { on, .. } => on.iter().flatten().collect(),
    }
}

fn inputs(node: &Node) -> Vec<&Node> {
    match node {
        Node::OneRow | Node::Nothing { .. } | Node::Values { .. } | Node::Scan(_) => vec![],
        Node::Filter { input, .. }
        | Node::Project { input, .. }
        | Node::Aggregate { input, .. }
        | Node::Sort { input, .. }
        | Node::Limit { input, .. }
        | Node::Distinct { input, .. } => vec![input],
        Node::LookupJoin { outer, .. } => vec![outer],
        Node::HashJoin { left, right, .. }
        | Node::NestedLoopJoin { left, right, .. }
        | Node::SetOp { left, right, .. } => vec![left, right],
    }
}

/// Appends a node's lines; returns the labels of its columns.
fn describe(node: &Node, depth: usize, store: StoreTraits<'_>, lines: &mut Vec<String>) -> Vec<String> {
    let at = lines.len();
    lines.push(String::new());
    let (line, labels) = match node {
        Node::OneRow => ("One row".to_owned(), vec![]),
        Node::Nothing { width } => ("Nothing".to_owned(), vec!["?".to_owned(); *width]),
        Node::Values { rows } => {
            let width = rows.first().map_or(0, Vec::len);
            (format!("Values ({} rows)", rows.len()), (1..=width).map(|n| format!("column{n}")).collect())
        }
        Node::Scan(scan) => (scan_line("Scan on", scan, &[], store), scan_labels(scan)),
        Node::Filter { input, predicate } => {
            let labels = describe(input, depth + 1, store, lines);
            (format!("Filter ({})", expression(predicate, &labels)), labels)
        }
        Node::Project { input, exprs } => {
            let labels = describe(input, depth + 1, store, lines);
            let exprs: Vec<String> = exprs.iter().map(|expr| expression(expr, &labels)).collect();
            (format!("Project ({})", exprs.join(", ")), exprs)
        }
        Node::LookupJoin { kind, outer, inner, on } => {
            let mut labels = describe(outer, depth + 1, store, lines);
            let inner_line = scan_line("Look up in", inner, &labels, store);
            lines.push(format!("{}-> {inner_line}", "  ".repeat(depth + 1)));
            let both: Vec<String> = labels.iter().cloned().chain(scan_labels(inner)).collect();
            let line = format!("Lookup Join ({}){}", join_kind(*kind), condition(on.as_ref(), &both));
            if !matches!(kind, JoinKind::Semi | JoinKind::Anti) {
                labels = both;
            }
            (line, labels)
        }
        Node::HashJoin { kind, left, right, left_keys, right_keys, on, .. } => {
            let left = describe(left, depth + 1, store, lines);
            let right = describe(right, depth + 1, store, lines);
            let keys: Vec<String> = left_keys
                .iter()
                .zip(right_keys)
                .map(|(l, r)| format!("{} = {}", expression(l, &left), expression(r, &right)))
                .collect();
            let both: Vec<String> = left.iter().cloned().chain(right).collect();
            let line =
                format!("Hash Join ({}) on {}{}", join_kind(*kind), keys.join(" AND "), condition(on.as_ref(), &both));
            (line, if matches!(kind, JoinKind::Semi | JoinKind::Anti) { left } else { both })
        }
        Node::NestedLoopJoin { kind, left, right, on, .. } => {
            let left = describe(left, depth + 1, store, lines);
            let right = describe(right, depth + 1, store, lines);
            let both: Vec<String> = left.iter().cloned().chain(right).collect();
            let line = format!("Nested Loop Join ({}){}", join_kind(*kind), condition(on.as_ref(), &both));
            (line, if matches!(kind, JoinKind::Semi | JoinKind::Anti) { left } else { both })
        }
        Node::Aggregate { input, groups, aggregates } => {
            let labels = describe(input, depth + 1, store, lines);
            let mut out: Vec<String> = groups.iter().map(|group| expression(group, &labels)).collect();
            let by = if groups.is_empty() { String::new() } else { format!(" by {}", out.join(", ")) };
            let calls: Vec<String> = aggregates
                .iter()
                .map(|call| {
                    let args: Vec<String> = call.args.iter().map(|arg| expression(arg, &labels)).collect();
                    let args = if args.is_empty() { "*".to_owned() } else { args.join(", ") };
                    let distinct = if call.distinct { "DISTINCT " } else { "" };
                    format!("{:?}({distinct}{args})", call.function).to_lowercase()
                })
                .collect();
            out.extend(calls.iter().cloned());
            (format!("Aggregate ({}){by}", calls.join(", ")), out)
        }
        Node::Sort { input, keys, limit } => {
            let labels = describe(input, depth + 1, store, lines);
            let top = limit.as_ref().map_or(String::new(), |limit| format!(", first {}", expression(limit, &[])));
            (format!("Sort ({}{top})", sort_keys(keys, &labels)), labels)
        }
        Node::Limit { input, limit, offset } => {
            let labels = describe(input, depth + 1, store, lines);
            let part = |name: &str, expr: &Option<Expr>| {
                expr.as_ref().map_or(String::new(), |expr| format!(" {name} {}", expression(expr, &[])))
            };
            (format!("Limit{}{}", part("", limit).trim_end(), part("offset", offset)), labels)
        }
        Node::Distinct { input, on } => {
            let labels = describe(input, depth + 1, store, lines);
            let on = on.as_ref().map_or(String::new(), |on| {
                format!(" on {}", on.iter().map(|expr| expression(expr, &labels)).collect::<Vec<_>>().join(", "))
            });
            (format!("Distinct{on}"), labels)
        }
        Node::SetOp { op, all, left, right } => {
            let labels = describe(left, depth + 1, store, lines);
            describe(right, depth + 1, store, lines);
            let name = match op {
                SetOp::Union => "Union",
                SetOp::Intersect => "Intersect",
                SetOp::Except => "Except",
            };
            (format!("{name}{}", if *all { " all" } else { "" }), labels)
        }
    };
    let arrow = if depth == 0 { String::new() } else { format!("{}-> ", "  ".repeat(depth)) };
    if let Some(slot) = lines.get_mut(at) {
        *slot = format!("{arrow}{line}");
    }
    labels
}

fn scan_labels(scan: &Scan) -> Vec<String> {
    let name = |position: &usize| scan.table.columns.get(*position).map_or("?", |column| column.name.as_str());
    scan.columns.iter().map(|position| format!("{}.{}", scan.table.name, name(position))).collect()
}

fn scan_line(verb: &str, scan: &Scan, outer: &[String], store: StoreTraits<'_>) -> String {
    let table: &Table = &scan.table;
    let (order, columns): (String, Vec<&str>) = match scan.access.index.and_then(|at| table.indexes.get(at)) {
        Some(index) => (
            format!("index {}", index.name),
            index.columns.iter().filter_map(|part| table.column(part.column)).map(|c| c.name.as_str()).collect(),
        ),
        None => (
            "primary key".to_owned(),
            table.primary_key.iter().filter_map(|id| table.column(*id)).map(|c| c.name.as_str()).collect(),
        ),
    };
    let conditions = access_conditions(&scan.access, &columns, outer);
    let mut line = format!("{verb} {} ", table.name);
    if conditions.is_empty() && scan.access.index.is_none() {
        line.push_str("(all rows)");
    } else {
        let _ = write!(line, "using {order}");
        if !conditions.is_empty() {
            let _ = write!(line, " ({})", conditions.join(" AND "));
        }
    }
    if scan.reverse {
        line.push_str(" backwards");
    }
    if let Some(filter) = &scan.filter {
        let _ = write!(line, " filter ({})", expression(filter, &scan_labels(scan)));
    }
    if let Some(goal) = &scan.row_goal {
        let _ = write!(line, " first {}", expression(goal, &[]));
    }
    if scan.lock {
        line.push_str(" for update");
    }
    if scan.by_claim {
        line.push_str(" by its claim");
    }
    if store.topology.is_spread() {
        let copy = if store.copied.contains(&scan.table.id) { " from the copy" } else { "" };
        let _ = write!(line, "{copy} at {}", Reach::of_scan(scan, store).text(store));
    }
    let _ = write!(line, "  rows~{:.0}", scan.estimated_rows);
    line
}

fn access_conditions(access: &Access, columns: &[&str], outer: &[String]) -> Vec<String> {
    let mut conditions = Vec::new();
    for (column, alternatives) in columns.iter().zip(&access.prefix) {
        let values: Vec<String> = alternatives.iter().map(|value| expression(value, outer)).collect();
        conditions.push(match values.as_slice() {
            [value] => format!("{column} = {value}"),
            _ => format!("{column} IN ({})", values.join(", ")),
        });
    }
    let next = columns.get(access.prefix.len()).copied().unwrap_or("?");
    for (bound, strict, inclusive) in [(&access.lower, ">", ">="), (&access.upper, "<", "<=")] {
        if let Some(bound) = bound {
            let op = if bound.inclusive { inclusive } else { strict };
            conditions.push(format!("{next} {op} {}", expression(&bound.value, outer)));
        }
    }
    conditions
}

fn condition(on: Option<&Expr>, labels: &[String]) -> String {
    on.map_or(String::new(), |on| format!(" if ({})", expression(on, labels)))
}

fn join_kind(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Right => "right",
        JoinKind::Full => "full",
        JoinKind::Semi => "semi",
        JoinKind::Anti => "anti",
    }
}

fn sort_keys(keys: &[SortKey], labels: &[String]) -> String {
    let keys = keys.iter().map(|key| {
        let direction = if key.descending { " desc" } else { "" };
        format!("{}{direction}", expression(&key.expr, labels))
    });
    keys.collect::<Vec<_>>().join(", ")
}

/// An expression as text; parameters by number, constants as they are.
fn expression(expr: &Expr, labels: &[String]) -> String {
    let sub = |expr: &Expr| expression(expr, labels);
    let list = |exprs: &[Expr]| exprs.iter().map(sub).collect::<Vec<_>>().join(", ");
    match &expr.kind {
        ExprKind::Literal(value) if value.is_null() => "NULL".to_owned(),
        ExprKind::Literal(value) => match &expr.data_type {
            data_type if data_type.is_number() => value.to_text(data_type),
            data_type => format!("'{}'", value.to_text(data_type).replace('\'', "''")),
        },
        ExprKind::Param(number) => format!("${}", number + 1),
        ExprKind::Column(id) => format!("#{}", id.0),
        ExprKind::Slot(slot) => labels.get(*slot).cloned().unwrap_or_else(|| format!("@{slot}")),
        ExprKind::Outer(number) => format!("outer.{number}"),
        ExprKind::Unary(UnaryOp::Negate, x) => format!("-{}", sub(x)),
        ExprKind::Unary(UnaryOp::BitNot, x) => format!("~{}", sub(x)),
        ExprKind::Binary(op, l, r) => format!("({} {} {})", sub(l), binary_op(*op), sub(r)),
        ExprKind::Compare(op, l, r) => format!("{} {} {}", sub(l), compare_op(*op), sub(r)),
        ExprKind::IsDistinct(l, r) => format!("{} IS DISTINCT FROM {}", sub(l), sub(r)),
        ExprKind::And(parts) => parts.iter().map(sub).collect::<Vec<_>>().join(" AND "),
        ExprKind::Or(parts) => format!("({})", parts.iter().map(sub).collect::<Vec<_>>().join(" OR ")),
        ExprKind::Not(x) => format!("NOT ({})", sub(x)),
        ExprKind::IsNull(x) => format!("{} IS NULL", sub(x)),
        ExprKind::IsBool(x, value) => format!("{} IS {}", sub(x), if *value { "TRUE" } else { "FALSE" }),
        ExprKind::Like { text, pattern, case_insensitive, .. } => {
            format!("{} {} {}", sub(text), if *case_insensitive { "ILIKE" } else { "LIKE" }, sub(pattern))
        }
        ExprKind::InList(x, items) => format!("{} IN ({})", sub(x), list(items)),
        ExprKind::QuantifiedArray { left, op, array, all } => {
            format!("{} {} {}({})", sub(left), compare_op(*op), if *all { "ALL" } else { "ANY" }, sub(array))
        }
        ExprKind::Case { .. } => "CASE".to_owned(),
        ExprKind::Coalesce(items) => format!("COALESCE({})", list(items)),
        ExprKind::Cast(x) => format!("{}::{}", sub(x), expr.data_type),
        ExprKind::Call(function, args) => format!("{}({})", function.name, list(args)),
        ExprKind::Array(items) => format!("ARRAY[{}]", list(items)),
        ExprKind::Subquery(subquery) => subquery_text(subquery, labels),
    }
}

fn subquery_text(subquery: &Subquery, labels: &[String]) -> String {
    match &subquery.kind {
        SubqueryKind::Scalar => "(subquery)".to_owned(),
        SubqueryKind::Exists => "EXISTS (subquery)".to_owned(),
        SubqueryKind::Quantified { left, op, all } => {
            let left: Vec<String> = left.iter().map(|expr| expression(expr, labels)).collect();
            format!("({}) {} {} (subquery)", left.join(", "), compare_op(*op), if *all { "ALL" } else { "ANY" })
        }
        SubqueryKind::Array => "ARRAY(subquery)".to_owned(),
    }
}

fn compare_op(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Eq => "=",
        CompareOp::NotEq => "<>",
        CompareOp::Lt => "<",
        CompareOp::LtEq => "<=",
        CompareOp::Gt => ">",
        CompareOp::GtEq => ">=",
    }
}

fn binary_op(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::Modulo => "%",
        BinaryOp::Power => "^",
        BinaryOp::Concat => "||",
        BinaryOp::BitAnd => "&",
        BinaryOp::BitOr => "|",
        BinaryOp::BitXor => "#",
        BinaryOp::ShiftLeft => "<<",
        BinaryOp::ShiftRight => ">>",
        BinaryOp::JsonGet => "->",
        BinaryOp::JsonGetText => "->>",
        BinaryOp::Contains => "@>",
        BinaryOp::Regex { case_insensitive: false } => "~",
        BinaryOp::Regex { case_insensitive: true } => "~*",
    }
}
