//! What an error of the client library or the server means for the call that met it.

use crate::address::Host;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use rome_core::store::StoreError;
use rustls::{AlertDescription, CertificateError};
use std::error::Error;
use std::sync::Arc;

/// A failed attempt at a call.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server did not run the command; trying again may succeed.
    NotRun(String),
    /// The server did not run the command, and is not the one to ask any more: find out who is.
    Replaced(String),
    /// The server did not run the command: the home's slot is served elsewhere.
    Moved(Host),
    /// The server did not run the command: the home is on its way, and this once to be asked for elsewhere.
    Ask(Host),
    /// The script did not run: the home was last used in another history than the connection's.
    TakenOver,
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
    /// What happened, in words.
    pub fn reason(self) -> String {
        match self {
            Self::NotRun(reason) | Self::Lost(reason) | Self::Replaced(reason) => reason,
            Self::Refused(error) => error.to_string(),
            Self::Moved(host) | Self::Ask(host) => format!("the home is on its way to {host}"),
            Self::TakenOver => "the home is being taken over again and again".to_owned(),
            Self::NoScript => "its scripts are gone again and again".to_owned(),
        }
    }

    /// Classifies an error at the server at `address`.
    pub fn of(error: &RedisError, address: &str) -> Self {
        let text = text_of(error);
        let kind = error.kind();
        match error.code() {
            Some("NOSCRIPT") => return Self::NoScript,
            Some("ROMETAKENOVER") => return Self::TakenOver,
            Some("ROMEEPOCH") => return Self::Refused(StoreError::EpochChanged),
            Some("OOM" | "MISCONF") => return Self::Refused(StoreError::Full(text)),
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => return Self::Refused(StoreError::Denied(text)),
            Some("WRONGTYPE" | CORRUPT) => return Self::Refused(StoreError::Corrupt(text)),
            Some("LOADING" | "BUSY" | "TRYAGAIN" | "NOREPLICAS") => return Self::NotRun(text),
            Some("READONLY" | "MASTERDOWN" | "CLUSTERDOWN") => return Self::Replaced(text),
            Some(code @ ("MOVED" | "ASK")) => {
                return match redirect(error, address) {
                    Some(host) if code == "MOVED" => Self::Moved(host),
                    Some(host) => Self::Ask(host),
                    None => Self::NotRun(text),
                };
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

/// Where the server at `address` sends the caller.
fn redirect(error: &RedisError, address: &str) -> Option<Host> {
    let (node, _) = error.redirect_node()?;
    let (name, port) = node.rsplit_once(':')?;
    // A node that does not know its own name leaves it out: it is where it was reached.
    let name = if name.is_empty() { address.rsplit_once(':')?.0 } else { name };
    Some(Host { name: name.to_owned(), port: port.parse().ok()? })
}

/// The failure to open a connection to the server at `address`: nothing was sent that writes.
pub(crate) fn connecting(error: &RedisError, address: &str) -> Failure {
    if let Some(reason) = tls_refusal(error) {
        return Failure::Refused(StoreError::Denied(format!("the Redis server at {address}: {reason}")));
    }
    match Failure::of(error, address) {
        Failure::Lost(reason) => Failure::NotRun(reason),
        failure => failure,
    }
}

/// Why one side does not trust the other, where that is what happened: trying again would not help.
fn tls_refusal(error: &RedisError) -> Option<String> {
    // The library keeps the cause behind an `Arc`, and an I/O error does not count what it wraps as its source.
    let cause = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    let cause: &(dyn Error + 'static) = &**cause;
    let cause = match cause.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref().map(|inner| -> &(dyn Error + 'static) { inner })?,
        None => cause,
    };
    match cause.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "nobody trusted has signed its certificate; name the authority that did by the URL's `ssl_ca_certs`"
                .to_owned(),
        ),
        error @ rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some(format!("its certificate is for another name; connect by a name that it gives ({error})")),
        error @ rustls::Error::InvalidCertificate(_) => Some(format!("its certificate can't be trusted ({error})")),
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure),
        ) => Some(format!(
            "it wants a certificate; name one and its key by the URL's `ssl_certfile` and `ssl_keyfile` ({alert:?})"
        )),
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => Some(format!("it does not trust the certificate of `ssl_certfile` ({alert:?})")),
        _ => None,
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
