//! One proxy before one server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Bytes that one direction of a connection may have under way. A sender that is further ahead waits.
const IN_FLIGHT_BYTES: usize = 64 << 20;
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// No reply is that long: none is to be lost.
const NONE: usize = usize::MAX;

/// What a link keeps from passing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Everything, without a word.
    Silent,
    /// What clients say, without a word.
    There,
    /// What the server says, without a word.
    Back,
    /// Everything: connections are reset and new ones refused.
    Refuse,
}

/// A direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    There,
    Back,
}

impl Direction {
    fn opposite(self) -> Self {
        match self {
            Self::There => Self::Back,
            Self::Back => Self::There,
        }
    }
}

/// How things stand on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Condition {
    round_trip: Duration,
    cut: Option<Cut>,
}

impl Condition {
    fn passes(&self, direction: Direction) -> bool {
        match self.cut {
            None => true,
            Some(Cut::There) => direction == Direction::Back,
            Some(Cut::Back) => direction == Direction::There,
            Some(Cut::Silent | Cut::Refuse) => false,
        }
    }

    fn refuses(&self) -> bool {
        self.cut == Some(Cut::Refuse)
    }
}

/// What a link's connections share.
struct Shared {
    target: String,
    condition: watch::Sender<Condition>,
    /// The next reply longer than this is lost.
    lose_longer_than: AtomicUsize,
    lost: AtomicUsize,
}

impl Shared {
    /// Returns when bytes may pass in this direction.
    async fn passable(&self, direction: Direction) {
        // It fails where the sender is gone, and we hold it.
        let _ = self.condition.subscribe().wait_for(|condition| condition.passes(direction)).await;
    }

    /// Returns when connections are refused.
    async fn refusing(&self) {
        let _ = self.condition.subscribe().wait_for(Condition::refuses).await;
    }

    fn round_trip(&self) -> Duration {
        self.condition.borrow().round_trip
    }

    /// Whether a reply of so many bytes is to be lost; the next one is not.
    fn is_lost(&self, bytes: usize) -> bool {
        let lost = self
            .lose_longer_than
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |limit| (bytes > limit).then_some(NONE))
            .is_ok();
        self.lost.fetch_add(usize::from(lost), Ordering::SeqCst);
        lost
    }
}

/// A proxy before one server. Ends, with all its connections, when it is dropped.
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    /// Keeps the port while nobody listens there.
    _reservation: TcpSocket,
}

impl Link {
    /// A link to the server at `target` (host:port), open and without delay, on a free port of the loopback interface.
    ///
    /// # Errors
    /// The system's, where it has no free port.
    pub async fn start(target: &str) -> io::Result<Self> {
        let reservation = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = reservation.local_addr()?;
        let listener = bind(address)?.listen(BACKLOG)?;
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            condition: watch::Sender::new(Condition::default()),
            lose_longer_than: AtomicUsize::new(NONE),
            lost: AtomicUsize::new(0),
        });
        let task = tokio::spawn(serve(address, listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task, _reservation: reservation })
    }

    /// Where clients find the link: host:port.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// The port where clients find the link, on the loopback interface.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Delays everything from now on, by half of `round_trip` each way.
    pub fn set_round_trip(&self, round_trip: Duration) {
        self.shared.condition.send_modify(|condition| condition.round_trip = round_trip);
    }

    /// Cuts the link, in place of any cut before.
    pub fn cut(&self, cut: Cut) {
        self.shared.condition.send_modify(|condition| condition.cut = Some(cut));
    }

    /// What is cut.
    #[must_use]
    pub fn current_cut(&self) -> Option<Cut> {
        self.shared.condition.borrow().cut
    }

    /// Ends the cut.
    pub fn heal(&self) {
        self.shared.condition.send_modify(|condition| condition.cut = None);
    }

    /// Resets the connection instead of delivering the next that a server says in more than `bytes` at a time. With a
    /// suitable number this tells an answer from the protocol's own small talk.
    pub fn lose_next_reply(&self, bytes: usize) {
        self.shared.lose_longer_than.store(bytes, Ordering::SeqCst);
    }

    /// How many replies were lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A socket on an address where others of this process may be bound, too.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn serve(address: SocketAddr, listener: TcpListener, shared: Arc<Shared>) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    let mut changes = shared.condition.subscribe();
    loop {
        // Without a listener the system itself refuses.
        if changes.borrow_and_update().refuses() {
            listener = None;
        } else if listener.is_none() {
            listener = bind(address).and_then(|socket| socket.listen(BACKLOG)).ok();
        }
        tokio::select! {
            Some(_) = connections.join_next() => {}
            changed = changes.changed() => if changed.is_err() { return },
            client = accept(listener.as_ref()) => if let Ok(client) = client {
                connections.spawn(connection(client, Arc::clone(&shared)));
            },
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    // Connecting takes a round trip, and only then does the client's first byte leave.
    let connected = Instant::now() + shared.round_trip();
    let _ = client.set_nodelay(true);
    let open = async {
        shared.passable(Direction::There).await;
        shared.passable(Direction::Back).await;
        let server = TcpStream::connect(&shared.target).await;
        if server.is_err() {
            shared.passable(Direction::Back).await;
        }
        server
    };
    let server = tokio::select! {
        server = open => server,
        () = shared.refusing() => Err(io::ErrorKind::ConnectionRefused.into()),
    };
    let Ok(mut server) = server else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = server.set_nodelay(true);
    let in_order = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pump(from_client, to_server, Direction::There, &shared, connected);
        let back = pump(from_server, to_client, Direction::Back, &shared, connected);
        tokio::select! {
            result = async { tokio::try_join!(there, back) } => result.is_ok(),
            () = shared.refusing() => false,
        }
    };
    if !in_order {
        // Closing them sends a reset instead of an orderly end.
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// What is under way in one direction.
enum Parcel {
    /// Bytes, and their part of what may be under way.
    Bytes(Vec<u8>, OwnedSemaphorePermit),
    /// The sender has nothing more to say.
    End,
    /// The sender has reset the connection.
    Reset,
}

/// Carries one direction to its end. An error is the end of both.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    shared: &Shared,
    connected: Instant,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(IN_FLIGHT_BYTES));
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let reading = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = from.read(&mut buffer).await;
            let due = Instant::now().max(connected) + shared.round_trip() / 2;
            let bytes = match read {
                Ok(0) => Err(Parcel::End),
                Ok(count) => Ok(buffer.get(..count).unwrap_or_default().to_vec()),
                Err(_) => Err(Parcel::Reset),
            };
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(last) => {
                    let _ = sender.send((due, last));
                    return Ok(());
                }
            };
            if direction == Direction::Back && shared.is_lost(bytes.len()) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let permits = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let Ok(permit) = Arc::clone(&room).acquire_many_owned(permits).await else { return Ok(()) };
            if sender.send((due, Parcel::Bytes(bytes, permit))).is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due, parcel)) = receiver.recv().await {
            // A timer that is due already still waits for the next millisecond.
            if due > Instant::now() {
                sleep_until(due).await;
            }
            shared.passable(direction).await;
            let written = match parcel {
                Parcel::Bytes(bytes, permit) => {
                    let written = to.write_all(&bytes).await;
                    drop(permit);
                    written
                }
                Parcel::End => return to.shutdown().await,
                Parcel::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
            };
            if written.is_err() {
                // The receiver is gone. The sender learns of it when something can reach it.
                shared.passable(direction.opposite()).await;
                return written;
            }
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(drop)
}
