//! A proxy that loses, delays and refuses what passes through it.

use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Forward,
    /// Forwards requests; the next reply closes the connection instead of being forwarded, and then [`Mode::Refuse`] begins.
    LoseReply,
    /// The next request waits until the mode changes again, and no longer has a client then.
    HoldRequest,
    /// Closes connections.
    Refuse,
    /// Accepts connections and requests and answers nothing.
    Hang,
}

pub struct Proxy {
    port: u16,
    mode: Arc<watch::Sender<Mode>>,
    /// Requests that were held and came to be answered by the server.
    delayed: watch::Receiver<u64>,
}

impl Proxy {
    /// A proxy before the server at `port`.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(watch::Sender::new(Mode::Forward));
        let (count, delayed) = watch::channel(0);
        let (modes, count) = (mode.clone(), Arc::new(count));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, target, modes.clone(), count.clone()));
            }
        });
        Self { port, mode, delayed }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub async fn reached(&self, mode: Mode) {
        self.mode.subscribe().wait_for(|now| *now == mode).await.unwrap();
    }

    /// Waits until so many held requests were answered by the server.
    pub async fn delayed(&self, requests: u64) {
        self.delayed.clone().wait_for(|count| *count >= requests).await.unwrap();
    }
}

async fn connection(
    mut client: TcpStream,
    target: u16,
    modes: Arc<watch::Sender<Mode>>,
    delayed: Arc<watch::Sender<u64>>,
) -> Option<()> {
    let mut changes = modes.subscribe();
    if *changes.borrow() == Mode::Refuse {
        return None;
    }
    let mut server = TcpStream::connect(("127.0.0.1", target)).await.ok()?;
    let (mut request, mut reply) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let mode = *changes.borrow_and_update();
        tokio::select! {
            _ = changes.changed() => match (mode, *changes.borrow()) {
                (_, Mode::Refuse) => return None,
                _ => continue,
            },
            size = client.read(&mut request) => {
                let request = request.get(..size.ok().filter(|size| *size > 0)?)?;
                match mode {
                    Mode::Hang => {}
                    Mode::HoldRequest => {
                        drop(client);
                        modes.send_replace(Mode::Forward);
                        // Until a copy of the request has gone the other way.
                        changes.wait_for(|mode| *mode == Mode::Hang).await.ok()?;
                        server.write_all(request).await.ok()?;
                        server.read(&mut reply).await.ok().filter(|size| *size > 0)?;
                        delayed.send_modify(|count| *count += 1);
                        return None;
                    }
                    _ => server.write_all(request).await.ok()?,
                }
            }
            size = server.read(&mut reply) => {
                let reply = reply.get(..size.ok().filter(|size| *size > 0)?)?;
                if mode == Mode::LoseReply {
                    modes.send_replace(Mode::Refuse);
                    return None;
                }
                client.write_all(reply).await.ok()?;
            }
        }
    }
}
