//! TLS, client certificates and passwords, with real servers that demand them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use etcd_client::{Certificate, Client, ConnectOptions, Identity, Permission, PermissionType, TlsOptions};
use futures::StreamExt;
use rome_core::store::{Change, Commit, CommitOutcome, Store, StoreError};
use rome_etcd::{EtcdConfig, EtcdStore};
use std::time::Duration;
use support::certificates::{Authority, Issued};
use support::*;

const PASSWORD: &str = "s3cret";

fn server_of(issued: &Issued, options: &[&str]) -> Server {
    Server::start_tls(&[&["--cert-file", &issued.cert, "--key-file", &issued.key], options].concat())
}

/// A server that demands a client certificate.
fn strict_server(authority: &Authority) -> Server {
    server_of(&authority.server(), &["--client-cert-auth", "--trusted-ca-file", &authority.ca()])
}

/// The URL's options for a client with this certificate.
fn as_client(authority: &Authority, client: &Issued) -> String {
    format!("cacert={}&cert={}&key={}", authority.ca(), client.cert, client.key)
}

/// Makes a user that may use the namespace `rome` and nothing else, and `root`, and demands authentication from now on.
async fn enable_auth(server: &Server, authority: &Authority, client: &Issued) {
    let read = |file: &str| std::fs::read(file).unwrap();
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(read(&authority.ca())))
        .identity(Identity::from_pem(read(&client.cert), read(&client.key)));
    let options = ConnectOptions::new().with_tls(tls);
    let mut admin = Client::connect([server.endpoint()], Some(options)).await.unwrap();
    while admin.status().await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    admin.role_add("rome").await.unwrap();
    let permission = Permission::new(PermissionType::Readwrite, "rome\0").with_prefix();
    admin.role_grant_permission("rome", permission).await.unwrap();
    for (user, role) in [("root", "root"), ("app", "rome")] {
        admin.user_add(user, PASSWORD, None).await.unwrap();
        admin.user_grant_role(user, role).await.unwrap();
    }
    admin.auth_enable().await.unwrap();
}

async fn refused(url: &str) -> StoreError {
    let error = EtcdStore::connect(url).await.expect_err("it must not connect");
    let text = format!("{error} {error:?}");
    assert!(!text.contains(PASSWORD) && !text.contains("wr0ng") && !text.contains("PRIVATE"), "{text}");
    error
}

fn assert_denied(error: &StoreError, word: &str) {
    assert!(matches!(error, StoreError::Denied(reason) if reason.contains(word)), "{error:?}");
}

fn assert_unsuitable(error: &StoreError, word: &str) {
    assert!(matches!(error, StoreError::Unsuitable(reason) if reason.contains(word)), "{error:?}");
}

async fn append(store: &EtcdStore, payload: &'static str) {
    let changes = vec![Change { stream: Bytes::from_static(b"s"), payload: Bytes::from_static(payload.as_bytes()) }];
    store.commit(&home(), Commit { changes, ..Commit::default() }).await.unwrap();
}

#[tokio::test]
async fn a_store_works_over_tls_with_a_client_certificate_and_a_password() {
    let authority = Authority::new();
    let client = authority.client("somebody");
    let server = strict_server(&authority);
    enable_auth(&server, &authority, &client).await;
    let files = as_client(&authority, &client);
    let url = |user: &str| format!("etcds://{user}{}?{files}", server.endpoint());

    let store = EtcdStore::connect(&url("app:s3cret@")).await.unwrap();
    committed(&store, vec![], vec![put("a", "1")]).await;
    assert_eq!(value(&store, "a").await.unwrap(), "1");
    let mut watch = store.watch(&home(), Bytes::from_static(b"s"), None).await.unwrap();
    append(&store, "first").await;
    assert_eq!(watch.next().await.unwrap().unwrap().payload, "first");
    assert!(!format!("{store:?}").contains(PASSWORD));

    assert_denied(&refused(&url("app:wr0ng@")).await, "authentication failed");
    assert_denied(&refused(&url("nobody:wr0ng@")).await, "authentication failed");
    // etcd takes the common name of the certificate for the user where there is no token.
    assert_denied(&refused(&url("")).await, "");
    assert_denied(&refused(&format!("{}&namespace=other", url("app:s3cret@"))).await, "permission denied");

    // A restarted server has forgotten all tokens. A watch that lives by the old one gets a new one by itself...
    server.kill();
    server.restart();
    let another = EtcdStore::connect(&url("app:s3cret@")).await.unwrap();
    append(&another, "second").await;
    assert_eq!(watch.next().await.unwrap().unwrap().payload, "second");
    // ...and so does a commit.
    server.kill();
    server.restart();
    let outcome = in_lane(&store, ticket(1, 1), vec![], vec![put("a", "2")]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }));
    assert_eq!(value(&store, "a").await.unwrap(), "2");
}

#[tokio::test]
async fn the_common_name_of_a_client_certificate_is_a_user() {
    let authority = Authority::new();
    let client = authority.client("app");
    let server = strict_server(&authority);
    enable_auth(&server, &authority, &client).await;
    let url = format!("etcds://{}?{}", server.endpoint(), as_client(&authority, &client));
    let store = EtcdStore::connect(&url).await.unwrap();
    committed(&store, vec![], vec![put("a", "1")]).await;
    assert_denied(&refused(&format!("{url}&namespace=other")).await, "permission denied");
}

#[tokio::test]
async fn a_client_without_a_certificate_that_the_server_trusts_is_denied() {
    let authority = Authority::new();
    let server = strict_server(&authority);
    let url = format!("etcds://app:s3cret@{}?cacert={}", server.endpoint(), authority.ca());
    assert_denied(&refused(&url).await, "cert=FILE");
    let other = Authority::new();
    let stranger = other.client("app");
    let url = format!("{url}&cert={}&key={}", stranger.cert, stranger.key);
    assert_denied(&refused(&url).await, "cert=FILE");
}

#[tokio::test]
async fn a_server_certificate_that_is_not_to_be_trusted_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = server_of(&authority.server(), &[]);
    let url = |server: &Server, ca: &str| format!("etcds://app:s3cret@{}?cacert={ca}", server.endpoint());
    assert_unsuitable(&refused(&url(&good, &other.ca())).await, "not trusted here");
    assert_unsuitable(&refused(&format!("etcds://{}", good.endpoint())).await, "not trusted here");
    let named = server_of(&authority.server_named("etcd.example.org"), &[]);
    assert_unsuitable(&refused(&url(&named, &authority.ca())).await, "etcd.example.org");
    let expired = server_of(&authority.expired_server(), &[]);
    assert_unsuitable(&refused(&url(&expired, &authority.ca())).await, "expired");

    // Among several members the others are tried.
    let members = format!("{},{},{}", named.endpoint(), good.endpoint(), expired.endpoint());
    let store = EtcdStore::connect(&format!("etcds://{members}?cacert={}", authority.ca())).await.unwrap();
    for n in 0..20 {
        committed(&store, vec![], vec![put("a", &n.to_string())]).await;
    }
    let config = EtcdConfig::parse(&format!("etcds://{members}?cacert={}", other.ca())).unwrap();
    // Each has a fault of its own; one of them is reported.
    assert_unsuitable(&EtcdStore::open(config).await.unwrap_err(), "trusted");
}

#[tokio::test]
async fn a_missing_or_needless_s_in_the_scheme_is_hinted_at() {
    let authority = Authority::new();
    let encrypted = server_of(&authority.server(), &[]);
    let plain = Server::start(&[]);
    for (url, hint) in [
        (format!("etcd://{}", encrypted.endpoint()), "etcds://"),
        (format!("etcds://{}?cacert={}", plain.endpoint(), authority.ca()), "etcd://"),
    ] {
        let mut config = EtcdConfig::parse(&url).unwrap();
        config.call_timeout = Duration::from_secs(2);
        let error = EtcdStore::open(config).await.unwrap_err();
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[tokio::test]
async fn unfit_files_are_named() {
    let authority = Authority::new();
    let client = authority.client("app");
    let ca = authority.ca();
    for (query, named) in [
        ("cacert=/does/not/exist.pem".to_owned(), "/does/not/exist.pem"),
        (format!("cacert={}", client.key), &client.key[..]),
        (format!("cacert={ca}&cert={}&key={}", client.key, client.key), &client.key[..]),
        (format!("cacert={ca}&cert={}&key={}", client.cert, client.cert), &client.cert[..]),
        (format!("cacert={ca}&cert={}&key={}", client.cert, authority.client("x").key), ""),
    ] {
        let error = refused(&format!("etcds://127.0.0.1:1?{query}")).await;
        assert!(matches!(&error, StoreError::Invalid(reason) if reason.contains(named)), "{query}: {error:?}");
    }
}
