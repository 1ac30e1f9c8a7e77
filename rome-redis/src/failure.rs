//! What an error of the client library or the server means for the call that met it.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use rome_core::store::StoreError;

/// A failed attempt at a call.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server did not run the command; trying again may succeed.
    NotRun(String),
    /// The server lacks the script and ran nothing.
    NoScript,
    /// The connection failed; the server may have run the command.
    Lost(String),
    /// The server answered with an error and wrote nothing.
    Refused(StoreError),
}

/// The code that the scripts give to errors of their own.
const CORRUPT: &str = "ROMECORRUPT";

impl Failure {
    /// Classifies an error at the server at `address`.
    pub fn of(error: &RedisError, address: &str) -> Self {
        let text = text_of(error);
        let kind = error.kind();
        match error.code() {
            Some("NOSCRIPT") => return Self::NoScript,
            Some("OOM" | "MISCONF") => return Self::Refused(StoreError::Full(text)),
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => return Self::Refused(StoreError::Denied(text)),
            Some("WRONGTYPE" | CORRUPT) => return Self::Refused(StoreError::Corrupt(text)),
            Some("LOADING" | "BUSY" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" | "READONLY" | "NOREPLICAS") => {
                return Self::NotRun(text);
            }
            Some("MOVED" | "ASK") => {
                return Self::Refused(StoreError::Unsuitable(format!(
                    "{address} belongs to a cluster; use a single server"
                )));
            }
            _ => {}
        }
        match kind {
            ErrorKind::AuthenticationFailed => Self::Refused(StoreError::Denied(text)),
            ErrorKind::RESP3NotSupported => Self::Refused(StoreError::Unsuitable(format!(
                "{address} does not speak version 3 of the protocol; use Redis 7 or newer"
            ))),
            ErrorKind::InvalidClientConfig => Self::Refused(unavailable(address, text)),
            ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::Extension => {
                // Whatever else a server objects to, it does so before it runs anything.
                Self::Refused(unavailable(address, format!("it refused a command: {text}")))
            }
            _ => Self::Lost(text),
        }
    }
}

/// The error's words, without the library's decoration where the server sent them.
fn text_of(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// The server can't be reached.
pub(crate) fn unavailable(address: &str, reason: String) -> StoreError {
    StoreError::Unavailable { address: address.to_owned(), reason }
}
