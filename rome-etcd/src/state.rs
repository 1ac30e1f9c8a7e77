//! Any number of range reads from one state of the store.
//!
//! Up to 128 travel in one read-only transaction, which etcd answers from one revision without writing its log. More
//! take several RPCs: the first is answered from the newest state, whose revision is in the answer, and the rest ask
//! for that revision.
//!
//! An answer above [`LARGEST_ANSWER_BYTES`](crate::connection::LARGEST_ANSWER_BYTES) is refused on arrival, before it
//! fills the memory. Then its reads are asked for in two halves, and a read that is too large alone with a smaller
//! limit, so that the caller sees a page that ends earlier.

use crate::connection::{Connection, Resend};
use crate::errors::Failure;
use crate::limits::TXN_OPERATIONS;
use etcd_client::{GetOptions, GetResponse, ResponseHeader, Txn, TxnOp, TxnOpResponse};
use rome_core::store::StoreError;
use std::collections::VecDeque;

/// By how much the limit of a read shrinks whose answer is too large.
const SHRINK: i64 = 8;

/// One range read as etcd has it.
#[derive(Clone, Debug)]
pub(crate) struct Get {
    pub(crate) key: Vec<u8>,
    pub(crate) options: GetOptions,
    /// At most so many entries; 0 is no limit.
    pub(crate) limit: i64,
}

impl Get {
    /// The options to send: at `revision`, where 0 is etcd's word for the newest.
    fn options(&self, revision: i64) -> GetOptions {
        self.options.clone().with_limit(self.limit).with_revision(revision)
    }
}

/// Answers from one state.
pub(crate) struct State {
    /// The revision of the state.
    pub(crate) revision: i64,
    /// One for each read, in order.
    pub(crate) answers: Vec<GetResponse>,
}

/// Answers `gets` from one state: that of revision `at`, or the newest.
pub(crate) async fn read_state(connection: &Connection, gets: Vec<Get>, at: Option<i64>) -> Result<State, Failure> {
    let mut state = State { revision: at.unwrap_or(0), answers: Vec::with_capacity(gets.len()) };
    let mut chunks: VecDeque<_> = gets.chunks(TXN_OPERATIONS).map(<[Get]>::to_vec).collect();
    while let Some(mut chunk) = chunks.pop_front() {
        match ask(connection, &chunk, state.revision).await {
            Ok((header, answers)) => {
                if state.revision == 0 {
                    state.revision = header.revision();
                }
                state.answers.extend(answers);
            }
            Err(Failure::AnswerTooLarge(reason)) => {
                if let [get] = &mut chunk[..] {
                    if get.limit <= 1 {
                        return Err(Failure::AnswerTooLarge(reason));
                    }
                    get.limit = (get.limit / SHRINK).max(1);
                } else {
                    chunks.push_front(chunk.split_off(chunk.len() / 2));
                }
                chunks.push_front(chunk);
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(state)
}

async fn ask(
    connection: &Connection,
    gets: &[Get],
    revision: i64,
) -> Result<(ResponseHeader, Vec<GetResponse>), Failure> {
    let (header, answers) = if let [get] = gets {
        let mut answer = connection.get(get.key.clone(), get.options(revision)).await?;
        (answer.take_header(), vec![answer])
    } else {
        let ops: Vec<_> = gets.iter().map(|get| TxnOp::get(get.key.clone(), Some(get.options(revision)))).collect();
        let mut response = connection.txn(Txn::new().and_then(ops), Resend::Safe).await?;
        let answers = response.op_responses().into_iter().filter_map(|response| match response {
            TxnOpResponse::Get(answer) => Some(answer),
            _ => None,
        });
        (response.take_header(), answers.collect())
    };
    match header {
        Some(header) if answers.len() == gets.len() => Ok((header, answers)),
        Some(_) => Err(malformed("a result is missing")),
        None => Err(malformed("the header is missing")),
    }
}

/// The failure of an answer that etcd never gives.
pub(crate) fn malformed(what: &str) -> Failure {
    Failure::Refused(StoreError::Corrupt(format!("etcd's answer is malformed: {what}")))
}
