//! Random expressions of a kind over the columns that are in scope.

use super::query::subquery;
use super::{COLUMNS, Kind, Random};

/// The relations whose columns an expression may use, by alias; all have the columns `id` and [`COLUMNS`].
pub(super) type Scope = Vec<String>;

/// An expression. `depth` bounds its nesting.
pub(super) fn expression(random: &mut Random, scope: &Scope, kind: Kind, depth: usize) -> String {
    if depth == 0 || random.one_in(4) {
        return leaf(random, scope, kind);
    }
    match random.below(10) {
        0 => case(random, scope, kind, depth - 1),
        1 => {
            let (first, second) = pair(random, scope, kind, depth - 1);
            let function = random.pick(&["coalesce", "nullif", "greatest", "least"]);
            format!("{function}({first}, {second})")
        }
        2 if depth > 1 && kind != Kind::Bool => scalar_subquery(random, scope, kind),
        _ => match kind {
            Kind::Int => integer(random, scope, depth - 1),
            Kind::Big => big(random, scope, depth - 1),
            Kind::Numeric => numeric(random, scope, depth - 1),
            Kind::Text => text(random, scope, depth - 1),
            Kind::Date => date(random, scope, depth - 1),
            Kind::Bool => condition(random, scope, depth - 1),
        },
    }
}

fn leaf(random: &mut Random, scope: &Scope, kind: Kind) -> String {
    if scope.is_empty() || random.one_in(4) {
        return random.literal(kind);
    }
    let relation = random.pick(scope).clone();
    if kind == Kind::Int && random.one_in(4) {
        return format!("{relation}.id");
    }
    let columns: Vec<&str> = COLUMNS.iter().filter(|(_, of, _)| *of == kind).map(|(name, ..)| *name).collect();
    format!("{relation}.{}", random.pick(&columns))
}

fn pair(random: &mut Random, scope: &Scope, kind: Kind, depth: usize) -> (String, String) {
    (expression(random, scope, kind, depth), expression(random, scope, kind, depth))
}

fn case(random: &mut Random, scope: &Scope, kind: Kind, depth: usize) -> String {
    let when = expression(random, scope, Kind::Bool, depth);
    let (then, other) = pair(random, scope, kind, depth);
    if random.one_in(3) {
        format!("CASE WHEN {when} THEN {then} END")
    } else {
        format!("CASE WHEN {when} THEN {then} ELSE {other} END")
    }
}

/// An aggregate without GROUP BY gives exactly one row.
fn scalar_subquery(random: &mut Random, scope: &Scope, kind: Kind) -> String {
    let relation = format!("s{}", random.below(1000));
    let mut inner = if random.one_in(2) { scope.clone() } else { Vec::new() };
    inner.push(relation.clone());
    let value = expression(random, &vec![relation.clone()], kind, 1);
    let filter = expression(random, &inner, Kind::Bool, 1);
    let table = random.pick(&super::TABLES);
    let function = random.pick(&["min", "max"]);
    format!("(SELECT {function}({value}) FROM {table} AS {relation} WHERE {filter})")
}

fn integer(random: &mut Random, scope: &Scope, depth: usize) -> String {
    let of = |random: &mut Random, kind| expression(random, scope, kind, depth);
    match random.below(9) {
        0 => format!("({} + {})", of(random, Kind::Int), of(random, Kind::Int)),
        1 => format!("({} - {})", of(random, Kind::Int), of(random, Kind::Int)),
        2 => format!("({} * {})", of(random, Kind::Int), 2 + random.below(5)),
        3 => format!("({} / {})", of(random, Kind::Int), random.pick(&["2", "3", "-4"])),
        4 => format!("({} % {})", of(random, Kind::Int), random.pick(&["2", "7", "-3"])),
        5 => format!("abs({})", of(random, Kind::Int)),
        6 => format!("length({})", of(random, Kind::Text)),
        7 => format!("({})::integer", of(random, Kind::Bool)),
        _ => format!("(- {})", of(random, Kind::Int)),
    }
}

fn big(random: &mut Random, scope: &Scope, depth: usize) -> String {
    let of = |random: &mut Random, kind| expression(random, scope, kind, depth);
    match random.below(4) {
        0 => format!("({} + {})", of(random, Kind::Big), of(random, Kind::Int)),
        1 => format!("({} - {})", of(random, Kind::Big), of(random, Kind::Big)),
        2 => format!("({})::bigint", of(random, Kind::Int)),
        _ => format!("({} / {})", of(random, Kind::Big), 1 + random.below(9)),
    }
}

fn numeric(random: &mut Random, scope: &Scope, depth: usize) -> String {
    let of = |random: &mut Random, kind| expression(random, scope, kind, depth);
    match random.below(8) {
        0 => format!("({} + {})", of(random, Kind::Numeric), of(random, Kind::Numeric)),
        1 => format!("({} - {})", of(random, Kind::Numeric), of(random, Kind::Int)),
        2 => format!("({} * {})", of(random, Kind::Numeric), random.literal(Kind::Numeric)),
        3 => format!("round({}, {})", of(random, Kind::Numeric), random.below(3)),
        4 => format!("({})::numeric", of(random, Kind::Int)),
        5 => format!("floor({})", of(random, Kind::Numeric)),
        6 => format!("({} / {})", of(random, Kind::Numeric), random.pick(&["2", "4.0", "3"])),
        _ => format!("abs({})", of(random, Kind::Numeric)),
    }
}

fn text(random: &mut Random, scope: &Scope, depth: usize) -> String {
    let of = |random: &mut Random, kind| expression(random, scope, kind, depth);
    match random.below(10) {
        0 | 1 => format!("({} || {})", of(random, Kind::Text), of(random, Kind::Text)),
        2 => format!("upper({})", of(random, Kind::Text)),
        3 => format!("lower({})", of(random, Kind::Text)),
        4 => format!("substr({}, {}, {})", of(random, Kind::Text), 1 + random.below(3), random.below(4)),
        5 => format!("replace({}, 'a', {})", of(random, Kind::Text), random.literal(Kind::Text)),
        6 => {
            let kind = *random.pick(&[Kind::Int, Kind::Big, Kind::Numeric, Kind::Date, Kind::Bool]);
            format!("({})::text", of(random, kind))
        }
        7 => format!("trim({})", of(random, Kind::Text)),
        8 => format!("left({}, {})", of(random, Kind::Text), random.below(3)),
        _ => format!("lpad({}, {}, 'xy')", of(random, Kind::Text), random.below(6)),
    }
}

fn date(random: &mut Random, scope: &Scope, depth: usize) -> String {
    let operand = expression(random, scope, Kind::Date, depth);
    let sign = random.pick(&["+", "-"]);
    format!("({operand} {sign} {})", random.below(400))
}

fn condition(random: &mut Random, scope: &Scope, depth: usize) -> String {
    let kind = *random.pick(&[Kind::Int, Kind::Int, Kind::Big, Kind::Numeric, Kind::Text, Kind::Date]);
    let of = |random: &mut Random, kind| expression(random, scope, kind, depth);
    match random.below(14) {
        0..=3 => {
            let operator = *random.pick(&["=", "<>", "<", "<=", ">", ">="]);
            format!("({} {operator} {})", of(random, kind), of(random, kind))
        }
        4 => format!("({} AND {})", of(random, Kind::Bool), of(random, Kind::Bool)),
        5 => format!("({} OR {})", of(random, Kind::Bool), of(random, Kind::Bool)),
        6 => format!("(NOT {})", of(random, Kind::Bool)),
        7 => {
            let test = *random.pick(&["IS NULL", "IS NOT NULL"]);
            format!("({} {test})", of(random, kind))
        }
        8 => {
            let test = *random.pick(&["IS TRUE", "IS NOT TRUE", "IS FALSE", "IS UNKNOWN"]);
            format!("({} {test})", of(random, Kind::Bool))
        }
        9 => {
            let not = *random.pick(&["", "NOT "]);
            let items: Vec<String> = (0..1 + random.below(3)).map(|_| random.literal_or_null(kind, 6)).collect();
            format!("({} {not}IN ({}))", of(random, kind), items.join(", "))
        }
        10 => {
            let not = *random.pick(&["", "NOT "]);
            format!("({} {not}BETWEEN {} AND {})", of(random, kind), of(random, kind), random.literal(kind))
        }
        11 => {
            let operator = *random.pick(&["LIKE", "NOT LIKE", "ILIKE"]);
            let pattern = *random.pick(&["'%a%'", "'_b'", "'a%'", "''", "'%'", "'x\\_y'", "'B_'"]);
            format!("({} {operator} {pattern})", of(random, Kind::Text))
        }
        12 => {
            let not = *random.pick(&["", "NOT "]);
            format!("({} IS {not}DISTINCT FROM {})", of(random, kind), of(random, kind))
        }
        _ => subquery(random, scope, kind, depth),
    }
}
