//! What a failed RPC means.
//!
//! The question that matters for a commit is whether the server may have carried it out. [`Failure`] answers it; the
//! rest of the crate never looks at a status code. A call that was never sent, or that the server refused by its own
//! word, changed nothing. Everything else (a broken connection, a time-out here or there, a leader lost in the middle)
//! is *lost*: it may have happened.

use crate::tls::{causes, explain};
use rome_core::store::StoreError;
use tonic::{Code, Status};

/// Why an RPC has no answer.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// It never reached a server.
    NotSent(String),
    /// A server declined it for now; nothing was done.
    Busy(String),
    /// It may have been carried out.
    Lost(String),
    /// Its answer is larger than is accepted.
    AnswerTooLarge(String),
    /// It asked for a revision that is compacted.
    Compacted,
    /// It asked for a revision that does not exist yet; nothing was done.
    FutureRevision,
    /// The database is full. The write that filled it is reported so although it was carried out.
    NoSpace,
    /// The member and the client do not trust each other; nothing was sent. Another member may do better.
    Distrusted(StoreError),
    /// A definite refusal; nothing was done.
    Refused(StoreError),
}

impl Failure {
    /// The error of a call that writes nothing.
    pub(crate) fn into_read_error(self, address: &str) -> StoreError {
        match self {
            Self::NotSent(reason) | Self::Busy(reason) | Self::Lost(reason) | Self::AnswerTooLarge(reason) => {
                StoreError::Unavailable { address: address.to_owned(), reason }
            }
            Self::Compacted => StoreError::Compacted,
            Self::FutureRevision => StoreError::Invalid("the version asked for lies in the future".to_owned()),
            Self::NoSpace => no_space(),
            Self::Distrusted(error) | Self::Refused(error) => error,
        }
    }

    /// The error of a commit.
    pub(crate) fn into_commit_error(self, address: &str) -> StoreError {
        match self {
            Self::Lost(reason) | Self::AnswerTooLarge(reason) => {
                StoreError::Undetermined { address: address.to_owned(), reason }
            }
            Self::NoSpace => StoreError::Undetermined {
                address: address.to_owned(),
                reason: "the database is full, and the commit had no ticket to find out with".to_owned(),
            },
            other => other.into_read_error(address),
        }
    }
}

/// The error of a full database, where it is certain that nothing was written.
pub(crate) fn no_space() -> StoreError {
    StoreError::Full(
        "etcd's space quota is used up: compact, defragment, then disarm the NOSPACE alarm (etcdctl alarm disarm)"
            .to_owned(),
    )
}

/// What became of an RPC that the client library reports as failed.
pub(crate) fn classify(error: etcd_client::Error) -> Failure {
    match error {
        etcd_client::Error::GRpcStatus(status) => classify_status(&status),
        etcd_client::Error::InvalidArgs(reason) => Failure::Refused(StoreError::Invalid(reason)),
        // Only setting up an endpoint gives this; what a call meets comes as a status.
        etcd_client::Error::TransportError(error) => Failure::Refused(StoreError::Invalid(format!(
            "the connection to etcd can't be set up: {}",
            described(&error)
        ))),
        other => Failure::Lost(other.to_string()),
    }
}

fn classify_status(status: &Status) -> Failure {
    let message = status.message();
    let refused = |error: fn(String) -> StoreError| Failure::Refused(error(message.to_owned()));
    if let Some(error) = explain(status) {
        return Failure::Distrusted(error);
    }
    if causes(status).any(|cause| cause.is::<tonic::ConnectError>()) {
        return Failure::NotSent(described(status));
    }
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted if message.contains("decoded message length too large") => {
            Failure::AnswerTooLarge(message.to_owned())
        }
        Code::OutOfRange if message.contains("compacted") => Failure::Compacted,
        Code::OutOfRange if message.contains("future revision") => Failure::FutureRevision,
        Code::ResourceExhausted if message.contains("database space exceeded") => Failure::NoSpace,
        Code::ResourceExhausted if message.contains("too many requests") => Failure::Busy(message.to_owned()),
        Code::InvalidArgument if message.contains("too many operations") => Failure::Refused(StoreError::Unsuitable(
            "etcd refuses 128 operations in one transaction; start it with --max-txn-ops=128 (its default) or more"
                .to_owned(),
        )),
        Code::InvalidArgument | Code::ResourceExhausted
            if message.contains("too large") || message.contains("larger than max") =>
        {
            Failure::Refused(StoreError::Unsuitable(format!(
                "etcd refuses a request within its default size; start it with --max-request-bytes=1572864 (its default) or more ({message})"
            )))
        }
        Code::InvalidArgument if message.contains("revision of auth store is old") => Failure::Busy(message.to_owned()),
        Code::InvalidArgument
            if message.contains("authentication failed") || message.contains("user name is empty") =>
        {
            refused(StoreError::Denied)
        }
        // The password was accepted, or there would be no token. A member that has restarted, or is behind, does not know
        // the token yet.
        Code::Unauthenticated if message.contains("invalid auth token") => Failure::Busy(message.to_owned()),
        Code::Unauthenticated | Code::PermissionDenied => refused(StoreError::Denied),
        Code::FailedPrecondition if message.contains("authentication is not enabled") => {
            Failure::Refused(StoreError::Unsuitable(
                "the URL has credentials but etcd has authentication disabled; leave them out or enable it".to_owned(),
            ))
        }
        Code::InvalidArgument | Code::FailedPrecondition => refused(StoreError::Invalid),
        Code::Unimplemented => {
            Failure::Refused(StoreError::Unsuitable(format!("the server does not speak etcd's v3 API: {message}")))
        }
        Code::DataLoss => refused(StoreError::Corrupt),
        // The interceptor that demands a leader answers this before anything is proposed.
        Code::Unavailable if message == "etcdserver: no leader" => Failure::Busy(message.to_owned()),
        _ => Failure::Lost(described(status)),
    }
}

/// An error with its causes, each said once.
fn described(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let cause = match cause.downcast_ref::<Status>() {
            Some(status) => status.message().to_owned(),
            None => cause.to_string(),
        };
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_have_happened_is_undetermined() {
        let undetermined = |code, message: &str| {
            let failure = classify_status(&Status::new(code, message));
            matches!(failure.into_commit_error("a:1"), StoreError::Undetermined { .. })
        };
        assert!(undetermined(Code::Unavailable, "etcdserver: request timed out"));
        assert!(undetermined(Code::Unavailable, "etcdserver: leader changed"));
        assert!(undetermined(Code::Unknown, "transport error"));
        assert!(undetermined(Code::Cancelled, "operation was canceled"));
        assert!(!undetermined(Code::Unavailable, "etcdserver: no leader"));
        assert!(!undetermined(Code::ResourceExhausted, "etcdserver: too many requests"));
        assert!(!undetermined(Code::PermissionDenied, "etcdserver: permission denied"));
        assert!(!undetermined(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"));
    }

    #[test]
    fn refused_credentials_are_denied() {
        for (code, message) in [
            (Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password"),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
            (Code::PermissionDenied, "etcdserver: permission denied"),
        ] {
            match classify_status(&Status::new(code, message)).into_read_error("a:1") {
                StoreError::Denied(reason) => assert_eq!(reason, message),
                other => panic!("{other}"),
            }
        }
    }
}
