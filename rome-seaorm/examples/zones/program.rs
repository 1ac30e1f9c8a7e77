//! Zones and their hosts. A zone must keep one host that is enabled: an invariant over several rows, which only serializable transactions hold.
//!
//! Nothing here knows which database it runs on.

use rome_seaorm::is_retryable;
use sea_orm::prelude::*;
use sea_orm::{IsolationLevel, QueryOrder, QuerySelect, Schema, Set, TransactionError, TransactionTrait};

/// Where hosts stand.
pub mod zone {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "zone")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        #[sea_orm(unique)]
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::host::Entity")]
        Host,
    }

    impl Related<super::host::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Host.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What virtual machines run on.
pub mod host {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "host")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub zone_id: i32,
        #[sea_orm(unique)]
        pub name: String,
        pub ram_mb: i64,
        pub enabled: bool,
        pub note: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::zone::Entity", from = "Column::ZoneId", to = "super::zone::Column::Id")]
        Zone,
    }

    impl Related<super::zone::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Zone.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// How an attempt to take a host out of service ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Drained {
    /// It is out of service.
    Done,
    /// It is the zone's last one.
    Refused,
    /// Another transaction was faster; to be tried again.
    Conflict,
}

/// Makes the two tables.
pub async fn create_tables<C: ConnectionTrait>(db: &C) -> Result<(), DbErr> {
    let schema = Schema::new(db.get_database_backend());
    db.execute(&schema.create_table_from_entity(zone::Entity)).await?;
    db.execute(&schema.create_table_from_entity(host::Entity)).await?;
    Ok(())
}

/// Adds a zone with hosts of these names.
pub async fn add_zone<C: ConnectionTrait>(db: &C, name: &str, hosts: &[&str]) -> Result<zone::Model, DbErr> {
    let zone = zone::ActiveModel { name: Set(name.to_owned()), ..Default::default() }.insert(db).await?;
    for host in hosts {
        add_host(db, zone.id, host).await?;
    }
    Ok(zone)
}

/// Adds a host.
pub async fn add_host<C: ConnectionTrait>(db: &C, zone_id: i32, name: &str) -> Result<host::Model, DbErr> {
    let host = host::ActiveModel {
        zone_id: Set(zone_id),
        name: Set(name.to_owned()),
        ram_mb: Set(4096),
        enabled: Set(true),
        ..Default::default()
    };
    host.insert(db).await
}

/// Zones with their hosts, along the relation.
pub async fn inventory<C: ConnectionTrait>(db: &C) -> Result<Vec<(zone::Model, Vec<host::Model>)>, DbErr> {
    zone::Entity::find()
        .find_with_related(host::Entity)
        // SeaORM puts the zone's key first, so that each zone's rows come together.
        .order_by_asc(host::Column::Name)
        .all(db)
        .await
}

/// Names and sizes of the hosts in service, and how many they are.
pub async fn in_service<C: ConnectionTrait>(db: &C) -> Result<(Vec<(String, i64)>, u64), DbErr> {
    let enabled = host::Entity::find().filter(host::Column::Enabled.eq(true));
    let count = enabled.clone().count(db).await?;
    let rows = enabled
        .select_only()
        // Not in the order of the names: the tuple takes columns by position.
        .columns([host::Column::RamMb, host::Column::Name])
        .order_by_asc(host::Column::Name)
        .into_tuple::<(i64, String)>()
        .all(db)
        .await?;
    Ok((rows.into_iter().map(|(ram_mb, name)| (name, ram_mb)).collect(), count))
}

/// Takes a host out of service, unless it is its zone's last one.
pub async fn drain<C: ConnectionTrait + TransactionTrait>(db: &C, name: &str) -> Result<Drained, DbErr> {
    let name = name.to_owned();
    ended(
        db.transaction_with_config(
            |tx| Box::pin(async move { disable_unless_last(tx, &name).await }),
            Some(IsolationLevel::Serializable),
            None,
        )
        .await,
    )
}

/// The same, while another transaction drains `rival` of the same zone: each has read that two hosts are enabled, and would leave none.
pub async fn drain_against<C>(db: &C, name: &str, rival: &str) -> Result<Drained, DbErr>
where
    C: ConnectionTrait + TransactionTrait + Clone + Send + 'static,
{
    let (name, rival, other) = (name.to_owned(), rival.to_owned(), db.clone());
    ended(
        db.transaction_with_config(
            |tx| {
                Box::pin(async move {
                    let last = is_last(tx, &name).await?;
                    let rivals = drain(&other, &rival).await?;
                    assert_eq!((last, rivals), (false, Drained::Done));
                    disable(tx, &name).await
                })
            },
            Some(IsolationLevel::Serializable),
            None,
        )
        .await,
    )
}

/// Servers differ in whether a statement or the commit reports a conflict; it is the same error.
fn ended(result: Result<Drained, TransactionError<DbErr>>) -> Result<Drained, DbErr> {
    match result {
        Ok(drained) => Ok(drained),
        Err(TransactionError::Connection(error) | TransactionError::Transaction(error)) if is_retryable(&error) => {
            Ok(Drained::Conflict)
        }
        Err(TransactionError::Connection(error) | TransactionError::Transaction(error)) => Err(error),
    }
}

async fn disable_unless_last<C: ConnectionTrait>(tx: &C, name: &str) -> Result<Drained, DbErr> {
    if is_last(tx, name).await? { Ok(Drained::Refused) } else { disable(tx, name).await }
}

async fn is_last<C: ConnectionTrait>(tx: &C, name: &str) -> Result<bool, DbErr> {
    let (host, zone) = host::Entity::find()
        .find_also_related(zone::Entity)
        .filter(host::Column::Name.eq(name))
        .one(tx)
        .await?
        .ok_or_else(|| DbErr::RecordNotFound(name.to_owned()))?;
    let zone = zone.ok_or_else(|| DbErr::RecordNotFound(format!("the zone of {name}")))?;
    let others =
        zone.find_related(host::Entity).filter(host::Column::Enabled.eq(true)).filter(host::Column::Id.ne(host.id));
    Ok(others.count(tx).await? == 0)
}

async fn disable<C: ConnectionTrait>(tx: &C, name: &str) -> Result<Drained, DbErr> {
    host::Entity::update_many()
        .col_expr(host::Column::Enabled, Expr::value(false))
        .filter(host::Column::Name.eq(name))
        .exec(tx)
        .await?;
    Ok(Drained::Done)
}

/// The whole program: what it prints is the same on every database.
pub async fn run<C>(db: &C) -> Result<(), DbErr>
where
    C: ConnectionTrait + TransactionTrait + Clone + Send + 'static,
{
    create_tables(db).await?;
    add_zone(db, "north", &["n1", "n2"]).await?;
    add_zone(db, "south", &["s1"]).await?;
    for (zone, hosts) in inventory(db).await? {
        println!("{}: {}", zone.name, hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(", "));
    }
    println!("drain s1: {:?}", drain(db, "s1").await?);
    println!("drain n1 while n2 is drained: {:?}", drain_against(db, "n1", "n2").await?);
    println!("drain n1 again: {:?}", drain(db, "n1").await?);
    let (hosts, count) = in_service(db).await?;
    println!("in service: {count} {hosts:?}");
    Ok(())
}
