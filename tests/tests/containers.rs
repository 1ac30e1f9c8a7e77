//! The third way to a server, by itself: containers. Needs a Docker engine, and images from a registry or `scripts/images`:
//!
//! `cargo test -p rome-tests --test containers -- --ignored`

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use rome_core::database::Queryable;
use rome_sql::SqlDatabase;
use rome_tests::place::Place;
use rome_tests::server::answer::answers;
use rome_tests::server::shared::Shared;
use rome_tests::server::source::{Kind, Source};
use rome_tests::server::{Program, Server};

async fn data_outlives_a_kill(program: Program) {
    let mut server = Server::start_from(program, &Source::Container).await;
    let place = Place::on_server(&server.url());
    let db = place.database().await;
    db.execute("CREATE TABLE note (id bigint PRIMARY KEY, body text)").await.unwrap();
    db.execute("INSERT INTO note VALUES (1, 'kept')").await.unwrap();
    drop(db);

    server.kill();
    // 128 and the number of SIGKILL: nothing was asked to shut down.
    let end = server.end().expect("it has ended");
    assert!(end.contains("ended with 137"), "{end}");
    assert!(!answers(program.kind(), &server.address()));
    server.restart().await;

    let (body,): (String,) = place.database().await.query_one("SELECT body FROM note WHERE id = 1").await.unwrap();
    assert_eq!(body, "kept");
    let address = server.address();
    drop(server);
    assert!(!answers(program.kind(), &address), "it goes with the value");
}

async fn sql_server_answers(kind: Kind) {
    let server = Shared::in_container(kind);
    let db = SqlDatabase::connect(&server.url).await.unwrap();
    db.execute("CREATE TABLE note (id bigint PRIMARY KEY)").await.unwrap();
    assert_eq!(db.execute("INSERT INTO note VALUES (1), (2)").await.unwrap(), 2);
    db.close().await;
}

#[tokio::test]
#[ignore = "needs a Docker engine"]
async fn redis() {
    data_outlives_a_kill(Program::Redis).await;
}

#[tokio::test]
#[ignore = "needs a Docker engine"]
async fn etcd() {
    data_outlives_a_kill(Program::Etcd).await;
}

#[tokio::test]
#[ignore = "needs a Docker engine"]
async fn mariadb() {
    sql_server_answers(Kind::MariaDb).await;
}

#[tokio::test]
#[ignore = "needs a Docker engine"]
async fn postgres() {
    sql_server_answers(Kind::Postgres).await;
}
