//! Servers in containers, by testcontainers.
//!
//! An image that `scripts/images` has built is taken where the engine has it, else the official one of the same version, which the engine
//! pulls. Data lies in the container, so that it outlives a kill and goes with the value.
//!
//! A process that is killed leaves its containers: `docker rm -fv $(docker ps -aq --filter name=rome-test-)` removes them.
//!
//! All calls run on a runtime of their own, because the client keeps connections that end with the runtime they were made on, and each test
//! has another. So they block, and may be called from anywhere, also where a value is dropped.

use super::source::Kind;
use futures::StreamExt;
use std::future::Future;
use std::sync::LazyLock;
use std::sync::mpsc;
use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptions, LogsOptions, RemoveContainerOptions, StartContainerOptions,
};
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{ContainerPort, ImageExt};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// What `scripts/images` calls the image of a kind, and the official one.
fn images(kind: Kind) -> [(&'static str, &'static str); 2] {
    match kind {
        Kind::Redis => [("rome-test/redis", "7"), ("redis", "7")],
        Kind::Etcd => [("rome-test/etcd", "3.4"), ("quay.io/coreos/etcd", "v3.4.28")],
        Kind::MariaDb => [("rome-test/mariadb", "10.11"), ("mariadb", "10.11")],
        Kind::Postgres => [("rome-test/postgres", "15"), ("postgres", "15")],
    }
}

/// What official images want to hear; the built ones do the same unasked.
fn environment(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Redis | Kind::Etcd => &[],
        Kind::MariaDb => &[("MARIADB_ALLOW_EMPTY_ROOT_PASSWORD", "1"), ("MARIADB_DATABASE", "rome")],
        Kind::Postgres => &[("POSTGRES_USER", "rome"), ("POSTGRES_DB", "rome"), ("POSTGRES_HOST_AUTH_METHOD", "trust")],
    }
}

/// A container.
#[derive(Debug)]
pub struct Container {
    id: String,
    image: String,
    host: String,
    /// Until it is removed.
    container: Option<Box<ContainerAsync<GenericImage>>>,
}

impl Container {
    /// Why no engine answers, where none does.
    ///
    /// # Errors
    /// That.
    pub fn engine() -> Result<(), String> {
        blocking(async {
            let engine = client().await?;
            engine.ping().await.map(drop).map_err(|error| error.to_string())
        })
    }

    /// Starts one. `port` is its server's, and the same on this machine.
    ///
    /// # Errors
    /// The engine's.
    pub fn start(kind: Kind, arguments: Vec<String>, inside: u16, outside: u16) -> Result<Self, String> {
        blocking(async move {
            let engine = client().await?;
            let [built, official] = images(kind);
            let is_built = engine.inspect_image(&format!("{}:{}", built.0, built.1)).await.is_ok();
            let (name, tag) = if is_built { built } else { official };
            let mut image = GenericImage::new(name, tag);
            if let Kind::Redis | Kind::Etcd = kind {
                image = image.with_entrypoint(kind.program());
            }
            let known_as = format!("rome-test-{}", Uuid::new_v4().simple());
            let mut request = image.with_container_name(&known_as);
            request = request.with_mapped_port(outside, ContainerPort::Tcp(inside)).with_cmd(arguments);
            for (key, value) in environment(kind) {
                request = request.with_env_var(*key, *value);
            }
            let container = match request.start().await {
                Ok(container) => container,
                Err(error) => {
                    // One that was made but could not be started: nobody else knows of it.
                    let options = RemoveContainerOptions { force: true, v: true, ..RemoveContainerOptions::default() };
                    let _ = engine.remove_container(&known_as, Some(options)).await;
                    let hint = if is_built { "" } else { "; where no registry is reachable, run `scripts/images`" };
                    return Err(format!("{name}:{tag}: {error}{hint}"));
                }
            };
            let host = match container.get_host().await.map_err(|error| error.to_string())?.to_string() {
                // The name stands for ::1 too, where nobody listens.
                host if host == "localhost" => "127.0.0.1".to_owned(),
                host => host,
            };
            Ok(Self {
                id: container.id().to_owned(),
                image: format!("{name}:{tag}"),
                host,
                container: Some(Box::new(container)),
            })
        })
    }

    /// The address of the engine's machine.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Kills all of it as a crash would: SIGKILL. What was written stays.
    ///
    /// # Errors
    /// The engine's.
    pub fn kill(&self) -> Result<(), String> {
        let id = self.id.clone();
        blocking(async move {
            let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
            client().await?.kill_container(&id, Some(options)).await.map_err(|error| error.to_string())
        })
    }

    /// Starts it again, on the same port.
    ///
    /// # Errors
    /// The engine's.
    pub fn restart(&self) -> Result<(), String> {
        let id = self.id.clone();
        blocking(async move {
            client().await?.start_container(&id, None::<StartContainerOptions>).await.map_err(|error| error.to_string())
        })
    }

    /// How it ended and its last words, where it has ended.
    pub fn end(&self) -> Option<String> {
        let (id, image) = (self.id.clone(), self.image.clone());
        blocking(async move {
            let engine = client().await.ok()?;
            let state = engine.inspect_container(&id, None::<InspectContainerOptions>).await.ok()?.state?;
            if state.running == Some(true) {
                return None;
            }
            let options = LogsOptions { stdout: true, stderr: true, tail: "20".to_owned(), ..LogsOptions::default() };
            let words: Vec<_> = engine.logs(&id, Some(options)).collect().await;
            let words: String = words.into_iter().flatten().map(|word| word.to_string()).collect();
            Some(format!("{image} ended with {}: {words}", state.exit_code.unwrap_or_default()))
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(container) = self.container.take()
            && let Err(error) = blocking(container.rm())
        {
            eprintln!("the container {} of {} is left: {error}", self.id, self.image);
        }
    }
}

/// testcontainers' client, which speaks to the engine that `DOCKER_HOST` names, or to the one of this machine.
async fn client() -> Result<Docker, String> {
    docker_client_instance().await.map_err(|error| error.to_string())
}

/// Runs on the runtime of all containers.
fn blocking<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().thread_name("containers").build().expect("threads can be started")
    });
    let (sender, result) = mpsc::channel();
    RUNTIME.spawn(async move { sender.send(work.await) });
    result.recv().expect("work in containers does not panic")
}
