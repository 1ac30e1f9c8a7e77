//! Sentinels: finding the primary, and what is left after a failover under load.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use rome_core::store::{Durability, HomeId, Store, StoreError};
use rome_redis::RedisStore;
use support::load::{Load, counter, read};
use support::sentinel::Watched;
use support::{Server, hasty};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_loses_no_acknowledged_commit() {
    let mut watched = Watched::start(2).await;
    let store = RedisStore::connect_with(&watched.url("durability=replicated(1)"), hasty()).await.unwrap();
    assert_eq!(store.capabilities().durability, Durability::Replicated(1));
    let load = Load::default();
    let homes = [HomeId::new("a"), HomeId::new("b")];
    let fault = async {
        load.progress(500).await;
        watched.servers[0].kill();
        load.progress(500).await;
        load.stop();
    };
    tokio::join!(load.run(&store, &homes, 8), fault);
    // Whoever comes anew finds the promoted replica too.
    let other = RedisStore::connect(&watched.url("durability=async")).await.unwrap();
    assert!(read(&other, &homes[0], counter()).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_primary_is_left_and_its_return_changes_nothing() {
    let watched = Watched::start(2).await;
    let store = RedisStore::connect_with(&watched.url("durability=replicated(1)"), hasty()).await.unwrap();
    let load = Load::default();
    let fault = async {
        load.progress(200).await;
        watched.servers[0].freeze(true);
        load.progress(200).await;
        // It finds what it had been sent, and its clients gone.
        watched.servers[0].freeze(false);
        watched.servers[0].until("role:slave").await;
        load.progress(200).await;
        load.stop();
    };
    let homes = [HomeId::new("a")];
    tokio::join!(load.run(&store, &homes, 8), fault);
}

#[tokio::test]
async fn one_sentinel_of_the_list_is_enough() {
    let mut watched = Watched::start(1).await;
    let url = watched.url("");
    watched.sentinels[0].kill();
    watched.sentinels[1].freeze(true);
    let store = RedisStore::connect(&url).await.unwrap();
    assert_eq!(read(&store, &HomeId::new("a"), counter()).await, 0);
    watched.sentinels[2].kill();
    let error = RedisStore::connect_with(&url, hasty()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn sentinels_and_servers_have_their_own_credentials() {
    let server = Server::start(&["--requirepass", "serversecret"]).await;
    let sentinel = Server::start_sentinel(&server, &["--requirepass", "sentinelsecret"]).await;
    let url = |credentials: &str, password: &str| {
        format!("redis-sentinel://{credentials}127.0.0.1:{}?master=shop{password}", sentinel.port())
    };
    let store = RedisStore::connect(&url(":serversecret@", "&sentinel_password=sentinelsecret")).await.unwrap();
    assert_eq!(read(&store, &HomeId::new("a"), counter()).await, 0);
    for (credentials, password) in [
        (":serversecret@", ""),
        (":serversecret@", "&sentinel_password=serversecret"),
        ("", "&sentinel_password=sentinelsecret"),
        (":sentinelsecret@", "&sentinel_password=sentinelsecret"),
    ] {
        let error = RedisStore::connect_with(&url(credentials, password), hasty()).await.unwrap_err();
        assert!(matches!(error, StoreError::Denied(_)), "{credentials} {password}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn mistakes_are_named() {
    let watched = Watched::start(1).await;
    let sentinel = watched.sentinels[0].port();
    for (url, words) in [
        (format!("redis-sentinel://127.0.0.1:{sentinel}?master=other"), "no server by this name"),
        (format!("redis-sentinel://127.0.0.1:{}?master=shop", watched.servers[0].port()), "no Sentinel"),
        (format!("redis://127.0.0.1:{sentinel}"), "redis-sentinel://"),
        (format!("redis-cluster://127.0.0.1:{}", watched.servers[0].port()), "redis://"),
        (format!("redis://127.0.0.1:{}", watched.servers[1].port()), "is a replica"),
    ] {
        let error = RedisStore::connect_with(&url, hasty()).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unsuitable(text) if text.contains(words)), "{url}: {error:?}");
    }
}
