//! The part of anyone who meets a mark that its client does not take away.

use super::ending::Ending;
use super::{Awaited, Decision, Found, Promise, Reply, Request, RequestKind, Step, to_all};

/// Brings one transaction to its end.
///
/// Safe at any time, also while the client is still at work: when to begin is a question of patience, not of correctness. Afterwards whoever met
/// the mark reads again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Recovery {
    participants: usize,
    /// Whether the record goes in the end.
    forgets: bool,
    stage: Stage,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Stage {
    Inquiring,
    Poisoning(Awaited),
    Deciding,
    Ending(Ending),
    /// Somebody else has done the rest.
    Finished,
}

impl Recovery {
    /// A recovery of a transaction of so many participants, and what to send. The record stays for the transaction's client to find, unless the
    /// caller `forgets` it: that is for the client itself, and for a collector when the client must have given up.
    pub fn begin(participants: usize, forgets: bool) -> (Self, Vec<Step>) {
        let inquire = Step::Send(Request { to: 0, kind: RequestKind::Inquire });
        (Self { participants, forgets, stage: Stage::Inquiring }, vec![inquire])
    }

    /// Takes a participant's reply to a request of this kind. Replies that come again change nothing.
    pub fn on(&mut self, from: usize, kind: RequestKind, reply: Reply) -> Vec<Step> {
        match (&mut self.stage, kind, reply) {
            (Stage::Inquiring, RequestKind::Inquire, Reply::Found(found)) => self.found(found),
            (Stage::Poisoning(awaited), RequestKind::Poison, Reply::Promise(promise)) => match promise {
                Promise::Given => match awaited.completes(from) {
                    true => self.decide(Decision::Committed),
                    false => vec![],
                },
                Promise::Refused => self.decide(Decision::Aborted),
            },
            (Stage::Deciding, RequestKind::Decide(_), Reply::Decided(Some(decision))) => {
                self.end(Ending::at_all(self.participants, decision, self.forgets))
            }
            (Stage::Deciding, RequestKind::Decide(_), Reply::Decided(None)) => {
                self.stage = Stage::Finished;
                vec![Step::Finish]
            }
            (Stage::Ending(ending), ..) => ending.on(from, kind, reply),
            _ => vec![],
        }
    }

    /// Whether nothing is left to do.
    pub fn is_finished(&self) -> bool {
        match &self.stage {
            Stage::Ending(ending) => ending.is_finished(),
            stage => *stage == Stage::Finished,
        }
    }

    fn found(&mut self, found: Found) -> Vec<Step> {
        match found {
            Found::Staging => {
                self.stage = Stage::Poisoning(Awaited::all_of(0..self.participants));
                to_all(self.participants, RequestKind::Poison).collect()
            }
            Found::Decided(decision) => self.end(Ending::at_all(self.participants, decision, self.forgets)),
            // Where there was a record everything is finalised, and this changes nothing.
            Found::Nothing | Found::Forgotten => self.end(Ending::at_all(self.participants, Decision::Aborted, false)),
        }
    }

    fn decide(&mut self, decision: Decision) -> Vec<Step> {
        self.stage = Stage::Deciding;
        vec![Step::Send(Request { to: 0, kind: RequestKind::Decide(decision) })]
    }

    fn end(&mut self, (ending, steps): (Ending, Vec<Step>)) -> Vec<Step> {
        self.stage = Stage::Ending(ending);
        steps
    }
}
