//! What sea-query renders parses and binds.

use super::{TestSchema, show};
use crate::database::{Dialect, IntoStatement};
use crate::sql::{bind, parse};
use crate::value::{DataType, Value};
use sea_query::{
    Alias, CaseStatement, ColumnDef, Expr, ExprTrait, ForeignKey, ForeignKeyAction, Func, Index, IndexOrder, JoinType,
    LockType, OnConflict, Order, Query, Table, UnionType,
};

/// Renders, parses and binds; shows the tree.
fn bound(statement: impl IntoStatement) -> String {
    let (sql, values) = statement.into_statement().render(Dialect::Postgres);
    let types: Vec<DataType> = values.iter().map(kind).collect();
    let statements = parse(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let bound = bind(&statements[0], &TestSchema::new(), &types).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(bound.parameters, values.len(), "{sql}");
    show::bound(&bound.bound)
}

fn kind(value: &Value) -> DataType {
    match value {
        Value::Bool(_) => DataType::Bool,
        Value::Int(_) => DataType::Int8,
        Value::Float(_) => DataType::Float8,
        Value::Numeric(_) => DataType::Numeric(None),
        _ => DataType::Unknown,
    }
}

fn a(name: &str) -> Alias {
    Alias::new(name)
}

fn c(table: &str, column: &str) -> Expr {
    Expr::col((a(table), a(column)))
}

#[test]
fn selects() {
    let plain = Query::select()
        .columns([a("id"), a("name")])
        .from(a("users"))
        .and_where(Expr::col(a("age")).gte(18).and(Expr::col(a("name")).like("a%")))
        .and_where(Expr::col(a("id")).is_in([1, 2, 3]))
        .and_where(Expr::col(a("email")).is_not_null().or(Expr::col(a("active")).eq(true)))
        .order_by(a("name"), Order::Desc)
        .limit(10)
        .offset(5)
        .to_owned();
    assert!(bound(plain).contains("#1 like $2"));
    let joined = Query::select()
        .column((a("u"), a("id")))
        .expr_as(Func::count(c("o", "no")), a("n"))
        .from_as(a("users"), a("u"))
        .join_as(JoinType::LeftJoin, a("orders"), a("o"), c("o", "user_id").equals((a("u"), a("id"))))
        .group_by_col((a("u"), a("id")))
        .and_having(Func::count(c("o", "no")).gt(1))
        .order_by_expr(Func::count(c("o", "no")).into(), Order::Asc)
        .to_owned();
    assert!(bound(joined).contains("Left join on"));
    let nested = Query::select()
        .column(a("id"))
        .from_subquery(Query::select().column(a("id")).from(a("users")).take(), a("x"))
        .and_where(Expr::col(a("id")).in_subquery(Query::select().column(a("user_id")).from(a("orders")).take()))
        .and_where(Expr::exists(Query::select().expr(Expr::val(1)).from(a("log")).take()))
        .union(UnionType::All, Query::select().column(a("age")).from(a("users")).take())
        .to_owned();
    assert!(bound(nested).contains("Union all"));
    let values = Query::select().column((a("v"), a("column1"))).from_values([(1, "x"), (2, "y")], a("v")).to_owned();
    assert!(bound(values).contains("values"));
    let computed = Query::select()
        .expr(Expr::col(a("age")).add(1).mul(2))
        .expr(Expr::col(a("age")).cast_as(a("text")))
        .expr(CaseStatement::new().case(Expr::col(a("age")).gt(5), "old").finally("young"))
        .expr(Func::coalesce([Expr::col(a("name")), Expr::val("none")]))
        .expr(Func::lower(Expr::col(a("name"))))
        .expr(Expr::col(a("age")).between(1, 5))
        .expr(Expr::tuple([Expr::col(a("id")), Expr::col(a("age"))]).in_tuples([(1, 2), (3, 4)]))
        .from(a("users"))
        .lock(LockType::Update)
        .to_owned();
    assert!(bound(computed).contains("for update"));
    let distinct = Query::select().distinct().column(a("age")).from(a("users")).to_owned();
    assert!(bound(distinct).contains("distinct"));
    let distinct_on = Query::select().distinct_on([a("age")]).columns([a("age"), a("id")]).from(a("users")).to_owned();
    assert!(bound(distinct_on).contains("distinct on"));
}

#[test]
fn changes() {
    let insert = Query::insert()
        .into_table(a("users"))
        .columns([a("id"), a("name"), a("balance")])
        .values_panic([1.into(), "a".into(), 1.5.into()])
        .values_panic([2.into(), "b".into(), Expr::val(2.5)])
        .on_conflict(OnConflict::column(a("id")).update_columns([a("name")]).value(a("age"), Expr::val(3)).to_owned())
        .returning_all()
        .to_owned();
    assert!(bound(insert).contains("on conflict Some(PrimaryKey)"));
    let ignore = Query::insert()
        .into_table(a("users"))
        .columns([a("id")])
        .values_panic([1.into()])
        .on_conflict(OnConflict::column(a("id")).do_nothing().to_owned())
        .to_owned();
    assert!(bound(ignore).contains("on conflict"));
    let default = Query::insert().into_table(a("users")).or_default_values().returning_col(a("id")).to_owned();
    assert!(bound(default).contains("returning id"));
    let select = Query::insert()
        .into_table(a("users"))
        .columns([a("name")])
        .select_from(Query::select().column(a("note")).from(a("orders")).take())
        .unwrap()
        .to_owned();
    assert!(bound(select).contains("scan orders"));
    let update = Query::update()
        .table(a("users"))
        .value(a("age"), Expr::col(a("age")).add(1))
        .value(a("name"), "x")
        .from(a("orders"))
        .and_where(c("orders", "user_id").equals((a("users"), a("id"))))
        .returning_col((a("users"), a("id")))
        .to_owned();
    assert!(bound(update).contains("Inner join"));
    let delete = Query::delete().from_table(a("users")).and_where(Expr::col(a("id")).eq(1)).returning_all().to_owned();
    assert!(bound(delete).contains("delete users"));
}

#[test]
fn schemas() {
    let create = Table::create()
        .table(a("new"))
        .if_not_exists()
        .col(ColumnDef::new(a("id")).integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new(a("big")).big_integer().not_null().default(5))
        .col(ColumnDef::new(a("name")).string_len(40).unique_key().default("x"))
        .col(ColumnDef::new(a("text")).text().null())
        .col(ColumnDef::new(a("code")).char_len(3))
        .col(ColumnDef::new(a("price")).decimal_len(10, 2))
        .col(ColumnDef::new(a("ratio")).double())
        .col(ColumnDef::new(a("at")).timestamp_with_time_zone().default(Expr::current_timestamp()))
        .col(ColumnDef::new(a("day")).date())
        .col(ColumnDef::new(a("ok")).boolean().default(true))
        .col(ColumnDef::new(a("doc")).json_binary())
        .col(ColumnDef::new(a("raw")).binary())
        .col(ColumnDef::new(a("uid")).uuid())
        .col(ColumnDef::new(a("tags")).array(sea_query::ColumnType::Text))
        .check(Expr::col(a("big")).gt(0))
        .foreign_key(
            ForeignKey::create()
                .name("fk")
                .from(a("new"), a("big"))
                .to(a("users"), a("id"))
                .on_delete(ForeignKeyAction::Cascade)
                .on_update(ForeignKeyAction::NoAction),
        )
        .index(Index::create().unique().name("two").col(a("big")).col(a("day")))
        .to_owned();
    let text = bound(create);
    assert!(text.contains("Array(Text)") && text.contains("\"fk\"") && text.contains("\"two\""), "{text}");
    let composite = Table::create()
        .table(a("pair"))
        .col(ColumnDef::new(a("x")).integer())
        .col(ColumnDef::new(a("y")).integer())
        .primary_key(Index::create().col(a("x")).col(a("y")))
        .to_owned();
    assert!(bound(composite).contains("primary_key: Some((None, [\"x\", \"y\"]))"));
    let index = Index::create().name("i").table(a("users")).col((a("age"), IndexOrder::Desc)).unique().to_owned();
    assert!(bound(index).contains("(\"age\", true, true)"));
    bound(Index::drop().name("i").to_owned());
    bound(Table::drop().table(a("users")).if_exists().cascade().to_owned());
    bound(Table::truncate().table(a("users")).to_owned());
    bound(Table::rename().table(a("users"), a("people")).to_owned());
    bound(Table::alter().table(a("users")).add_column(ColumnDef::new(a("z")).integer().default(1)).to_owned());
    bound(Table::alter().table(a("users")).drop_column(a("age")).to_owned());
    bound(Table::alter().table(a("users")).rename_column(a("age"), a("years")).to_owned());
    bound(Table::alter().table(a("users")).modify_column(ColumnDef::new(a("age")).big_integer().not_null()).to_owned());
    bound(
        ForeignKey::create()
            .name("fk2")
            .from(a("orders"), a("user_id"))
            .to(a("users"), a("id"))
            .on_delete(ForeignKeyAction::SetNull)
            .to_owned(),
    );
    bound(ForeignKey::drop().name("fk2").table(a("orders")).to_owned());
}
