//! Whether a server answers. That a connection is accepted proves little: in front of a container, the engine's proxy accepts all of them.

use super::source::Kind;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The longest that an answer may take before the question is put again.
const PATIENCE: Duration = Duration::from_secs(1);
/// PostgreSQL's protocol 3.0.
const PROTOCOL: i32 = 3 << 16;

/// Whether a server speaks at an address. An answer that it is still loading counts: what tests begin with then, users do too.
pub fn answers(kind: Kind, address: &str) -> bool {
    first_byte(kind, address).is_ok_and(|byte| kind != Kind::Postgres || byte == b'R')
}

fn first_byte(kind: Kind, address: &str) -> std::io::Result<u8> {
    let address = address.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&question(kind))?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// What makes a server speak.
fn question(kind: Kind) -> Vec<u8> {
    match kind {
        Kind::Redis => b"PING\r\n".to_vec(),
        Kind::Etcd => b"GET /health HTTP/1.0\r\n\r\n".to_vec(),
        // It speaks first.
        Kind::MariaDb => vec![],
        // A session. The answer begins with R where it is granted, with E while the server starts.
        Kind::Postgres => {
            let options = b"user\0rome\0database\0rome\0\0";
            let length = i32::try_from(options.len() + 8).expect("a constant");
            [&length.to_be_bytes(), &PROTOCOL.to_be_bytes(), &options[..]].concat()
        }
    }
}
