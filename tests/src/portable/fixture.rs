//! The tables that most cases work on: a small cloud.
//!
//! ```text
//! site:   1 berlin     2 lyon      3 oslo
//! host:   1 b1  site 1  ram 64  zone a      4 l2  site 2  ram 64  no zone
//!         2 b2  site 1  ram 32  zone b      5 x1  no site ram 16  no zone
//!         3 l1  site 2  ram 32  zone a
//! server: 1 web host 1 ram 8    2 db host 1 ram 16    3 cache host 2 ram 4    4 idle no host ram 2
//! ```

use super::*;

/// Creates and fills the tables.
pub(crate) async fn cloud(db: &dyn Database) {
    let site = Table::create()
        .table("site")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("name").string_len(40).not_null().unique_key())
        .to_owned();
    let host = Table::create()
        .table("host")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("site_id").big_integer())
        .col(ColumnDef::new("name").string_len(40).not_null())
        .col(ColumnDef::new("ram").integer().not_null())
        .col(ColumnDef::new("zone").string_len(10))
        .foreign_key(ForeignKey::create().name("host_site").from("host", "site_id").to("site", "id"))
        .to_owned();
    let server = Table::create()
        .table("server")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("host_id").big_integer())
        .col(ColumnDef::new("name").string_len(40).not_null())
        .col(ColumnDef::new("ram").integer().not_null())
        .foreign_key(ForeignKey::create().name("server_host").from("server", "host_id").to("host", "id"))
        .to_owned();
    for table in [site, host, server] {
        db.execute(table).await.unwrap();
    }
    let sites = [(1, "berlin"), (2, "lyon"), (3, "oslo")];
    let mut insert = Query::insert().into_table("site").columns(["id", "name"]).to_owned();
    for (id, name) in sites {
        insert.values_panic([id.into(), name.into()]);
    }
    assert_eq!(db.execute(insert).await.unwrap(), 3);
    let hosts = [
        (1, Some(1), "b1", 64, Some("a")),
        (2, Some(1), "b2", 32, Some("b")),
        (3, Some(2), "l1", 32, Some("a")),
        (4, Some(2), "l2", 64, None),
        (5, None, "x1", 16, None),
    ];
    let mut insert = Query::insert().into_table("host").columns(["id", "site_id", "name", "ram", "zone"]).to_owned();
    for (id, site, name, ram, zone) in hosts {
        insert.values_panic([id.into(), site.into(), name.into(), ram.into(), zone.into()]);
    }
    assert_eq!(db.execute(insert).await.unwrap(), 5);
    let servers = [(1, Some(1), "web", 8), (2, Some(1), "db", 16), (3, Some(2), "cache", 4), (4, None, "idle", 2)];
    let mut insert = Query::insert().into_table("server").columns(["id", "host_id", "name", "ram"]).to_owned();
    for (id, host, name, ram) in servers {
        insert.values_panic([id.into(), host.into(), name.into(), ram.into()]);
    }
    assert_eq!(db.execute(insert).await.unwrap(), 4);
}

/// The SQLSTATE with which something failed.
#[track_caller]
pub(crate) fn state_of<T>(result: Result<T>) -> SqlState {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.state(),
    }
}
