//! Random queries over the tables.

use super::expression::{Scope, expression};
use super::{COLUMNS, Kind, Random, TABLES};

/// A query; all its output columns are in its ORDER BY, if it has one. The flag says whether it has.
pub fn query(random: &mut Random) -> (String, bool) {
    let kinds: Vec<Kind> = (0..1 + random.below(3)).map(|_| COLUMNS[random.below(COLUMNS.len())].1).collect();
    let mut query = match random.below(8) {
        0 | 1 => set_operation(random, &kinds),
        2 | 3 => grouped(random),
        4 => format!("WITH w AS ({}) SELECT DISTINCT * FROM w", select(random, &kinds)),
        _ => select(random, &kinds),
    };
    let ordered = !random.one_in(3);
    if ordered {
        let columns = query.split(" FROM ").next().unwrap_or_default().matches(" AS c").count().max(1);
        let columns = if query.starts_with("WITH") { kinds.len() } else { columns };
        let keys: Vec<String> = (1..=columns)
            .map(|column| {
                let direction = random.pick(&["", " ASC", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
                format!("{column}{direction}")
            })
            .collect();
        query = format!("{query} ORDER BY {}", keys.join(", "));
        if random.one_in(3) {
            query = format!("{query} LIMIT {}", random.below(8));
        }
        if random.one_in(4) {
            query = format!("{query} OFFSET {}", random.below(4));
        }
    }
    (query, ordered)
}

/// Output columns are `c0`, `c1`, ..., and nothing before FROM has a column alias besides them.
fn select(random: &mut Random, kinds: &[Kind]) -> String {
    let (from, scope) = from(random);
    let distinct = if random.one_in(4) { "DISTINCT " } else { "" };
    let outputs: Vec<String> = kinds
        .iter()
        .enumerate()
        .map(|(number, kind)| format!("{} AS c{number}", expression_without_from(random, &scope, *kind)))
        .collect();
    format!("SELECT {distinct}{} FROM {from}{}", outputs.join(", "), filter(random, &scope))
}

/// The outputs are counted by the text before the first FROM, so they hold no subquery.
fn expression_without_from(random: &mut Random, scope: &Scope, kind: Kind) -> String {
    loop {
        let candidate = expression(random, scope, kind, 2);
        if !candidate.contains("SELECT") && !candidate.contains(" FROM ") {
            return candidate;
        }
    }
}

fn filter(random: &mut Random, scope: &Scope) -> String {
    if random.one_in(5) { String::new() } else { format!(" WHERE {}", expression(random, scope, Kind::Bool, 3)) }
}

/// One to three relations, joined in any way.
fn from(random: &mut Random) -> (String, Scope) {
    let mut scope: Scope = vec!["a".to_owned()];
    let mut text = relation(random, "a");
    for alias in ["b", "c"].iter().take(random.below(3)) {
        let joined = relation(random, alias);
        let left = random.pick(&scope).clone();
        scope.push((*alias).to_owned());
        text = match random.below(8) {
            0 => format!("{text} CROSS JOIN {joined}"),
            // FULL JOIN needs a condition that can be merged or hashed, in PostgreSQL.
            1 => format!("{text} FULL JOIN {joined} ON {alias}.i = {left}.i"),
            kind => {
                let join = ["JOIN", "LEFT JOIN", "RIGHT JOIN"][kind % 3];
                let column = random.pick(&["id", "i", "j", "t", "d"]);
                let other = if *column == "id" { *random.pick(&["i", "j", "id"]) } else { column };
                let more = if random.one_in(3) {
                    format!(" AND {}", expression(random, &scope, Kind::Bool, 1))
                } else {
                    String::new()
                };
                format!("{text} {join} {joined} ON {alias}.{column} = {left}.{other}{more}")
            }
        };
    }
    (text, scope)
}

fn relation(random: &mut Random, alias: &str) -> String {
    let table = random.pick(&TABLES);
    if random.one_in(6) {
        let filter = expression(random, &vec!["x".to_owned()], Kind::Bool, 1);
        format!("(SELECT * FROM {table} AS x WHERE {filter}) AS {alias}")
    } else {
        format!("{table} AS {alias}")
    }
}

fn set_operation(random: &mut Random, kinds: &[Kind]) -> String {
    let operator = *random.pick(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"]);
    format!("{} {operator} {}", select(random, kinds), select(random, kinds))
}

fn grouped(random: &mut Random) -> String {
    let (from, scope) = from(random);
    let filter = filter(random, &scope);
    let mut outputs = Vec::new();
    let mut groups = Vec::new();
    for _ in 0..random.below(3) {
        let kind = *random.pick(&[Kind::Int, Kind::Text, Kind::Bool, Kind::Date]);
        let group = expression_without_from(random, &scope, kind);
        // A constant there would be the number of an output column, or refused.
        if group.contains('.') && scope.iter().any(|alias| group.contains(&format!("{alias}."))) {
            groups.push(group);
        }
    }
    for group in &groups {
        outputs.push(format!("{group} AS c{}", outputs.len()));
    }
    for _ in 0..1 + random.below(2) {
        outputs.push(format!("{} AS c{}", aggregate(random, &scope), outputs.len()));
    }
    let by = if groups.is_empty() { String::new() } else { format!(" GROUP BY {}", groups.join(", ")) };
    let having = if random.one_in(3) { format!(" HAVING {} > 1", count(random, &scope)) } else { String::new() };
    format!("SELECT {} FROM {from}{filter}{by}{having}", outputs.join(", "))
}

fn aggregate(random: &mut Random, scope: &Scope) -> String {
    let (function, kind) = *random.pick(&[
        ("sum", Kind::Int),
        ("sum", Kind::Big),
        ("sum", Kind::Numeric),
        ("avg", Kind::Int),
        ("avg", Kind::Numeric),
        ("min", Kind::Text),
        ("max", Kind::Date),
        ("max", Kind::Numeric),
        ("min", Kind::Int),
        ("bool_and", Kind::Bool),
        ("bool_or", Kind::Bool),
        ("count", Kind::Text),
    ]);
    let distinct = if random.one_in(4) { "DISTINCT " } else { "" };
    let argument = expression_without_from(random, scope, kind);
    let filter = if random.one_in(4) {
        format!(" FILTER (WHERE {})", expression_without_from(random, scope, Kind::Bool))
    } else {
        String::new()
    };
    if random.one_in(5) { count(random, scope) } else { format!("{function}({distinct}{argument}){filter}") }
}

fn count(random: &mut Random, scope: &Scope) -> String {
    if random.one_in(2) { "count(*)".to_owned() } else { format!("count({}.i)", random.pick(scope)) }
}

/// A condition with a subquery, correlated or not.
pub(super) fn subquery(random: &mut Random, scope: &Scope, kind: Kind, depth: usize) -> String {
    let alias = format!("q{}", random.below(1000));
    let table = random.pick(&TABLES);
    let own = vec![alias.clone()];
    let mut both = if random.one_in(2) { scope.clone() } else { Vec::new() };
    both.push(alias.clone());
    let filter = expression(random, &both, Kind::Bool, depth.min(1));
    let not = *random.pick(&["", "NOT "]);
    match random.below(4) {
        0 | 1 => format!("({not}EXISTS (SELECT 1 FROM {table} AS {alias} WHERE {filter}))"),
        2 => {
            let (left, right) = (expression(random, scope, kind, 1), expression(random, &own, kind, 1));
            format!("({left} {not}IN (SELECT {right} FROM {table} AS {alias} WHERE {filter}))")
        }
        _ => {
            let (left, right) = (expression(random, scope, kind, 1), expression(random, &own, kind, 1));
            let quantifier = *random.pick(&["= ANY", "> ALL", "<> ALL", "<= ANY"]);
            format!("({left} {quantifier} (SELECT {right} FROM {table} AS {alias} WHERE {filter}))")
        }
    }
}
