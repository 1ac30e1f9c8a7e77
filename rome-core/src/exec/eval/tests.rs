#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::exec::expr::{BinaryOp, UnaryOp};
use crate::exec::functions::resolve;
use chrono::DateTime;

fn literal(value: impl Into<Value>) -> Expr {
    let value = value.into();
    let data_type = value.natural_type();
    Expr::literal(value, data_type)
}

fn binary(op: BinaryOp, left: Expr, right: Expr, data_type: DataType) -> Expr {
    Expr { kind: ExprKind::Binary(op, Box::new(left), Box::new(right)), data_type }
}

fn boolean(kind: ExprKind) -> Expr {
    Expr { kind, data_type: DataType::Bool }
}

fn null() -> Expr {
    Expr::literal(Value::Null, DataType::Unknown)
}

fn run(expr: &Expr) -> Result<Value> {
    let context = CallContext::at(DateTime::UNIX_EPOCH);
    evaluate(expr, &[], &Scope::new(&[], &[], &context))
}

/// The result's text, or the SQLSTATE and message.
fn shown(expr: &Expr) -> String {
    match run(expr) {
        Ok(value) => value.to_text(&expr.data_type),
        Err(error) => format!("{}: {}", error.state(), error.message()),
    }
}

fn called(name: &str, args: Vec<Expr>) -> String {
    let types: Vec<DataType> = args.iter().map(|arg| arg.data_type.clone()).collect();
    let resolved = match resolve(name, &types) {
        Ok(resolved) => resolved,
        Err(error) => return format!("{}: {}", error.state(), error.message()),
    };
    let cast = |(arg, data_type): (Expr, DataType)| Expr { kind: ExprKind::Cast(Box::new(arg)), data_type };
    let args = args.into_iter().zip(resolved.args).map(cast).collect();
    shown(&Expr { kind: ExprKind::Call(resolved.function, args), data_type: resolved.result })
}

fn numeric(text: &str) -> Expr {
    literal(text.parse::<rust_decimal::Decimal>().unwrap())
}

#[test]
fn integers_overflow_by_their_type() {
    let add =
        |left: i64, right: i64, data_type| shown(&binary(BinaryOp::Add, literal(left), literal(right), data_type));
    assert_eq!(add(2_147_483_647, 1, DataType::Int4), "22003: integer out of range");
    assert_eq!(add(2_147_483_647, 1, DataType::Int8), "2147483648");
    assert_eq!(add(i64::MAX, 1, DataType::Int8), "22003: bigint out of range");
    let divide =
        |left: i64, right: i64| shown(&binary(BinaryOp::Divide, literal(left), literal(right), DataType::Int4));
    assert_eq!(divide(-7, 2), "-3");
    assert_eq!(divide(1, 0), "22012: division by zero");
    assert_eq!(divide(-2_147_483_648, -1), "22003: integer out of range");
    let negated = Expr { kind: ExprKind::Unary(UnaryOp::Negate, Box::new(literal(-32768))), data_type: DataType::Int2 };
    assert_eq!(shown(&negated), "22003: smallint out of range");
}

#[test]
fn numeric_quotients_have_postgresqls_decimals() {
    let divide = |left, right| shown(&binary(BinaryOp::Divide, numeric(left), numeric(right), DataType::Numeric(None)));
    assert_eq!(divide("1", "3"), "0.33333333333333333333");
    assert_eq!(divide("10", "3"), "3.3333333333333333");
    assert_eq!(divide("1", "2"), "0.50000000000000000000");
    assert_eq!(divide("100000", "7"), "14285.714285714286");
    assert_eq!(divide("1", "0"), "22012: division by zero");
}

#[test]
fn junctions_are_three_valued_and_stop_early() {
    let failing = || {
        let quotient = binary(BinaryOp::Divide, literal(1), literal(0), DataType::Int4);
        boolean(ExprKind::Compare(CompareOp::Eq, Box::new(quotient), Box::new(literal(1))))
    };
    let and = |list| shown(&boolean(ExprKind::And(list)));
    let or = |list| shown(&boolean(ExprKind::Or(list)));
    assert_eq!(and(vec![null(), Expr::bool(false)]), "f");
    assert_eq!(and(vec![null(), Expr::bool(true)]), "NULL");
    assert_eq!(or(vec![null(), Expr::bool(true)]), "t");
    assert_eq!(or(vec![null(), Expr::bool(false)]), "NULL");
    assert_eq!(and(vec![Expr::bool(false), failing()]), "f");
    assert_eq!(or(vec![Expr::bool(true), failing()]), "t");
    assert_eq!(and(vec![Expr::bool(true), failing()]), "22012: division by zero");
}

#[test]
fn in_lists_with_null_are_unknown() {
    let in_list = |sought: i64| boolean(ExprKind::InList(Box::new(literal(sought)), vec![literal(1), null()]));
    assert_eq!(shown(&in_list(1)), "t");
    assert_eq!(shown(&in_list(2)), "NULL");
    assert_eq!(shown(&boolean(ExprKind::Not(Box::new(in_list(2))))), "NULL");
    assert_eq!(shown(&boolean(ExprKind::InList(Box::new(literal(1)), vec![]))), "f");
}

#[test]
fn text_functions() {
    let text = |text: &str| literal(text);
    assert_eq!(called("substring", vec![text("héllo"), literal(2), literal(3)]), "éll");
    assert_eq!(called("substring", vec![text("hello"), literal(-1), literal(4)]), "he");
    assert_eq!(
        called("substr", vec![text("hello"), literal(2), literal(-1)]),
        "22011: negative substring length not allowed"
    );
    assert_eq!(called("left", vec![text("hello"), literal(-2)]), "hel");
    assert_eq!(called("right", vec![text("hello"), literal(-2)]), "llo");
    assert_eq!(called("lpad", vec![text("7"), literal(3), text("0")]), "007");
    assert_eq!(called("concat", vec![text("a"), null(), literal(1), literal(true)]), "a1t");
    assert_eq!(called("concat_ws", vec![text("-"), text("a"), null(), text("b")]), "a-b");
    assert_eq!(called("split_part", vec![text("a,b,c"), text(","), literal(-1)]), "c");
    assert_eq!(called("initcap", vec![text("hELLO wORLD")]), "Hello World");
    assert_eq!(called("translate", vec![text("12345"), text("143"), text("ax")]), "a2x5");
    assert_eq!(called("md5", vec![text("abc")]), "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(called("to_hex", vec![literal(-1)]), "ffffffff");
    assert_eq!(
        called("regexp_replace", vec![text("foobarbaz"), text("b(..)"), text("X\\1Y"), text("g")]),
        "fooXarYXazY"
    );
    assert_eq!(called("format", vec![text("%s=%L %I"), text("a"), text("it's"), text("Odd")]), "a='it''s' \"Odd\"");
    assert_eq!(called("repeat", vec![text("x"), literal(2_000_000_000)]), "54000: requested length too large");
    assert_eq!(called("upper", vec![null()]), "NULL");
}

#[test]
fn number_and_time_functions() {
    assert_eq!(called("round", vec![numeric("2.345"), literal(2)]), "2.35");
    assert_eq!(called("round", vec![literal(2.5_f64)]), "2");
    assert_eq!(called("greatest", vec![literal(1), null(), literal(3)]), "3");
    assert_eq!(called("nullif", vec![literal(1), literal(1)]), "NULL");
    assert_eq!(called("gcd", vec![literal(12), literal(18)]), "6");
    assert_eq!(called("sqrt", vec![literal(-1.0_f64)]), "2201F: cannot take square root of a negative number");
    assert_eq!(called("now", vec![]), "1970-01-01 00:00:00+00");
    let moment = || literal(DateTime::from_timestamp(1_709_201_472, 500_000_000).unwrap());
    assert_eq!(called("date_trunc", vec![literal("month"), moment()]), "2024-02-01 00:00:00+00");
    assert_eq!(called("extract", vec![literal("second"), moment()]), "12.500000");
    assert_eq!(called("date_part", vec![literal("dow"), moment()]), "4");
    assert_eq!(called("to_char", vec![moment(), literal("YYYY-MM-DD HH24:MI:SS Dy")]), "2024-02-29 10:11:12 Thu");
    assert_eq!(called("to_char", vec![literal(1234567), literal("FM9,999,999")]), "1,234,567");
    assert_eq!(called("timezone", vec![literal("+02"), moment()]), "2024-02-29 08:11:12.5");
    assert_eq!(
        called("date_trunc", vec![literal("fortnight"), moment()]),
        "22023: unit \"fortnight\" not recognized for type timestamp with time zone"
    );
}

#[test]
fn documents_and_arrays() {
    let document = || literal(serde_json::json!({"a": [1, {"b": "x"}], "n": null}));
    let get = |op, left, right: Expr| binary(op, left, right, DataType::Jsonb);
    let text = |left, key: &str| shown(&binary(BinaryOp::JsonGetText, left, literal(key), DataType::Text));
    assert_eq!(text(document(), "n"), "NULL");
    assert_eq!(text(get(BinaryOp::JsonGet, get(BinaryOp::JsonGet, document(), literal("a")), literal(-1)), "b"), "x");
    let contained = literal(serde_json::json!({"a": [{"b": "x"}]}));
    assert_eq!(shown(&binary(BinaryOp::Contains, document(), contained, DataType::Bool)), "t");
    let array =
        Expr::literal(Value::Array(vec![Value::Int(1), Value::Null].into()), DataType::Array(DataType::Int4.into()));
    let any = |sought: i64| {
        let (left, array) = (Box::new(literal(sought)), Box::new(array.clone()));
        shown(&boolean(ExprKind::QuantifiedArray { left, op: CompareOp::Eq, array, all: false }))
    };
    assert_eq!((any(1).as_str(), any(2).as_str()), ("t", "NULL"));
    let joined = binary(BinaryOp::Concat, array.clone(), literal(7), DataType::Array(DataType::Int4.into()));
    assert_eq!(shown(&joined), "{1,NULL,7}");
    assert_eq!(called("jsonb_typeof", vec![document()]), "object");
    assert_eq!(called("cardinality", vec![array]), "2");
}

#[test]
fn deep_expressions_are_refused_not_fatal() {
    let abs = resolve("abs", &[DataType::Int4]).unwrap().function;
    let forms: [fn(&'static ScalarFunction, Expr) -> ExprKind; 4] = [
        |_, inner| ExprKind::Unary(UnaryOp::Negate, Box::new(inner)),
        |_, inner| ExprKind::Binary(BinaryOp::Add, Box::new(inner), Box::new(literal(1))),
        |abs, inner| ExprKind::Call(abs, vec![inner]),
        |_, inner| ExprKind::Case { whens: vec![(Expr::bool(false), literal(1))], otherwise: Some(Box::new(inner)) },
    ];
    for form in forms {
        let mut expr = literal(1);
        for _ in 0..=MAX_EXPRESSION_DEPTH {
            expr = Expr { kind: form(abs, expr), data_type: DataType::Int4 };
        }
        // The default stack of a worker thread.
        let small = std::thread::Builder::new().stack_size(2 << 20);
        let shown = small.spawn(move || shown(&expr)).unwrap().join().unwrap();
        assert_eq!(shown, "54001: stack depth limit exceeded");
    }
}

#[test]
fn the_listing_names_every_function() {
    let listing = crate::exec::functions::listing();
    assert!(listing.contains("| `round(numeric, integer)` | numeric | To so many decimals. |"));
}
