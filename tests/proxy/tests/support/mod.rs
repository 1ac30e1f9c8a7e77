//! Servers and clients at the ends of links.

#![allow(dead_code, clippy::unwrap_used)]

use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The longest that anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a test listens to hear that nothing comes.
const LISTEN: Duration = Duration::from_millis(400);

/// Whether nothing comes for a while.
pub async fn nothing<T>(future: impl Future<Output = T>) -> bool {
    tokio::time::timeout(LISTEN, future).await.is_err()
}

/// What must come.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

pub async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    (listener, endpoint)
}

/// A server that repeats what it hears.
pub async fn echo_server() -> String {
    let (listener, endpoint) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = client.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    endpoint
}

/// Says something and waits until it is repeated.
pub async fn say(client: &mut TcpStream, text: &str) -> io::Result<()> {
    client.write_all(text.as_bytes()).await?;
    let mut answer = vec![0; text.len()];
    client.read_exact(&mut answer).await?;
    assert_eq!(answer, text.as_bytes());
    Ok(())
}
