//! TLS and credentials, against a real server: who gets in, and what those are told who do not.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use futures::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rome_core::store::{Change, Commit, CommitOutcome, HomeId, Store, StoreError, Write};
use rome_redis::RedisStore;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{Server, free_port, new_directory};

/// A certificate authority of a test, and the directory with what it signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        fs::write(directory.join(format!("{name}.crt")), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), directory: directory.to_owned() }
    }

    /// Signs a certificate for these host names and addresses and writes it and its key.
    fn sign(&self, file: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.directory.join(format!("{file}.crt")), certificate.pem()).unwrap();
        fs::write(self.directory.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

/// A server with TLS, and beside its own certificate those of clients: `client`, which it trusts, and `stranger`, which it does not.
struct Secure {
    server: Server,
    directory: PathBuf,
    port: u16,
}

impl Secure {
    async fn start(names: &[&str], arguments: &[&str]) -> Self {
        Self::start_in(new_directory(), names, arguments).await
    }

    async fn start_in(directory: PathBuf, names: &[&str], arguments: &[&str]) -> Self {
        let authority = Authority::new(&directory, "ca");
        authority.sign("server", names);
        authority.sign("client", &["client"]);
        Authority::new(&directory, "other-ca").sign("stranger", &["client"]);
        let port = free_port();
        let tls_port = port.to_string();
        let path = |file: &str| directory.join(file).to_str().unwrap().to_owned();
        let (certificate, key, ca) = (path("server.crt"), path("server.key"), path("ca.crt"));
        let mut all = vec!["--tls-port", &tls_port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        all.extend(["--tls-ca-cert-file", &ca]);
        all.extend(arguments);
        let server = Server::start_in(directory.clone(), free_port(), &all).await;
        Self { server, directory, port }
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// A URL with credentials (as in `user:password@`), a host and parameters.
    fn url(&self, credentials: &str, host: &str, parameters: &[(&str, &str)]) -> String {
        let mut url = format!("rediss://{credentials}{host}:{}?namespace=tls", self.port);
        for (name, file) in parameters {
            url.push_str(&format!("&{name}={}", self.file(file)));
        }
        url
    }
}

const CA: (&str, &str) = ("ssl_ca_certs", "ca.crt");
const CLIENT: [(&str, &str); 3] = [CA, ("ssl_certfile", "client.crt"), ("ssl_keyfile", "client.key")];

async fn works(url: &str) {
    let store = RedisStore::connect(url).await.unwrap();
    let home = HomeId::new("h");
    let mut watch = store.watch(&home, Bytes::from_static(b"s"), None).await.unwrap();
    let key = Bytes::from_static(b"\0\0\0\x01k");
    let changes = vec![Change { stream: Bytes::from_static(b"s"), payload: Bytes::from_static(b"p") }];
    let commit = Commit { writes: vec![Write::Put(key, Bytes::from(vec![7; 100_000]))], changes, ..Commit::default() };
    assert!(matches!(store.commit(&home, commit).await.unwrap(), CommitOutcome::Committed { .. }));
    assert_eq!(watch.next().await.unwrap().unwrap().payload, "p");
}

/// Refused at once, for good, with these words.
async fn denied(url: &str, words: &str) {
    let began = Instant::now();
    let error = RedisStore::connect(url).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(words), "{text}");
    assert!(!text.contains("secret") && !text.contains("PRIVATE"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(4), "it was tried again and again");
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named() {
    let secure = Secure::start(&["localhost", "127.0.0.1"], &["--tls-auth-clients", "no"]).await;
    for host in ["localhost", "127.0.0.1"] {
        works(&secure.url("", host, &[CA])).await;
    }
    denied(&secure.url("", "localhost", &[]), "ssl_ca_certs").await;
    denied(&secure.url("", "localhost", &[("ssl_ca_certs", "other-ca.crt")]), "ssl_ca_certs").await;
}

#[tokio::test]
async fn another_hosts_certificate_is_refused() {
    let secure = Secure::start(&["example.org"], &["--tls-auth-clients", "no"]).await;
    denied(&secure.url("", "localhost", &[CA]), "another name").await;
}

#[tokio::test]
async fn clients_show_certificates_where_the_server_wants_them() {
    let secure = Secure::start(&["localhost"], &["--tls-auth-clients", "yes"]).await;
    works(&secure.url("", "localhost", &CLIENT)).await;
    denied(&secure.url("", "localhost", &[CA]), "ssl_certfile").await;
    let stranger = [CA, ("ssl_certfile", "stranger.crt"), ("ssl_keyfile", "stranger.key")];
    denied(&secure.url("", "localhost", &stranger), "does not trust").await;
}

#[tokio::test]
async fn users_and_passwords_are_checked_over_tls() {
    // All that a user needs: the commands of this crate, on its namespace's keys only.
    let users = "user default on >mainsecret ~* &* +@all\n\
        user app on >secret ~{tls/* resetchannels +@read +@write +@scripting +@connection +info\n";
    let directory = new_directory();
    fs::write(directory.join("users.acl"), users).unwrap();
    let file = directory.join("users.acl");
    let arguments = ["--tls-auth-clients", "no", "--aclfile", file.to_str().unwrap()];
    let secure = Secure::start_in(directory, &["localhost"], &arguments).await;
    works(&secure.url("app:secret@", "localhost", &[CA])).await;
    works(&secure.url(":mainsecret@", "localhost", &[CA])).await;
    works(&secure.url("default:mainsecret@", "localhost", &[CA])).await;
    for credentials in ["app:wrongsecret@", "nobody:secret@", ":wrongsecret@", "default:secret@"] {
        denied(&secure.url(credentials, "localhost", &[CA]), "WRONGPASS").await;
    }
    denied(&secure.url("", "localhost", &[CA]), "NOAUTH").await;
    let store = RedisStore::connect(&secure.url("app:secret@", "localhost", &[CA])).await.unwrap();
    assert!(!format!("{store:?}").contains("secret"));
    let elsewhere = secure.url("app:secret@", "localhost", &[CA]).replace("namespace=tls", "namespace=other");
    let store = RedisStore::connect(&elsewhere).await.unwrap();
    let key = Bytes::from_static(b"\0\0\0\x01k");
    let commit = Commit { writes: vec![Write::Delete(key)], ..Commit::default() };
    let error = store.commit(&HomeId::new("h"), commit).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
}

#[tokio::test]
async fn damaged_files_are_errors_of_the_url() {
    let secure = Secure::start(&["localhost"], &["--tls-auth-clients", "no"]).await;
    fs::write(secure.file("empty.crt"), "").unwrap();
    let damaged = "-----BEGIN CERTIFICATE-----\nsecret!\n-----END CERTIFICATE-----\n";
    fs::write(secure.file("damaged.crt"), damaged).unwrap();
    for parameters in [
        &[("ssl_ca_certs", "absent.crt")][..],
        &[("ssl_ca_certs", "empty.crt")],
        &[("ssl_ca_certs", "damaged.crt")],
        &[CA, ("ssl_certfile", "client.crt")],
        &[CA, ("ssl_certfile", "client.crt"), ("ssl_keyfile", "client.crt")],
    ] {
        let error = RedisStore::connect(&secure.url("", "localhost", parameters)).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)), "{parameters:?}: {error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let plain = secure.url("", "localhost", &[CA]).replace("rediss:", "redis:");
    let error = RedisStore::connect(&plain).await.unwrap_err();
    assert!(matches!(&error, StoreError::Invalid(text) if text.contains("rediss://")), "{error:?}");
}
