//! The part of anyone who meets a mark that its client does not take away.

use super::ending::Ending;
use super::{Awaited, Decision, Found, Promise, Reply, Request, RequestKind, Step, to_all};

/// Brings one transaction to its end.
///
/// Safe at any time, also while the client is still at work: when to begin is a question of patience, not of correctness. Afterwards whoever met
/// the mark reads again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Recovery {
    /// The participant at which a mark was met.
    here: usize,
    stage: Stage,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Stage {
    Inquiring,
    Poisoning {
        participants: usize,
        awaited: Awaited,
    },
    Deciding {
        participants: usize,
    },
    Ending(Ending),
    /// Somebody else has done the rest.
    Finished,
}

impl Recovery {
    /// A recovery of the transaction whose mark was met at this participant, and what to send.
    pub fn begin(here: usize) -> (Self, Vec<Step>) {
        let inquire = Step::Send(Request { to: 0, kind: RequestKind::Inquire });
        (Self { here, stage: Stage::Inquiring }, vec![inquire])
    }

    /// Takes a participant's reply to a request of this kind. Replies that come again change nothing.
    pub fn on(&mut self, from: usize, kind: RequestKind, reply: Reply) -> Vec<Step> {
        match (&mut self.stage, kind, reply) {
            (Stage::Inquiring, RequestKind::Inquire, Reply::Found(found)) => self.found(found),
            (Stage::Poisoning { participants, awaited }, RequestKind::Poison, Reply::Promise(promise)) => {
                let participants = *participants;
                match promise {
                    Promise::Given => match awaited.completes(from) {
                        true => self.decide(participants, Decision::Committed),
                        false => vec![],
                    },
                    Promise::Refused => self.decide(participants, Decision::Aborted),
                }
            }
            (Stage::Deciding { participants }, RequestKind::Decide(_), Reply::Decided(Some(decision))) => {
                let participants = *participants;
                self.end(Ending::at_all(participants, decision))
            }
            (Stage::Deciding { .. }, RequestKind::Decide(_), Reply::Decided(None)) => {
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
            Found::Staging { participants } => {
                self.stage = Stage::Poisoning { participants, awaited: Awaited::all_of(0..participants) };
                to_all(participants, RequestKind::Poison).collect()
            }
            Found::Decided { decision, participants } => self.end(Ending::at_all(participants, decision)),
            Found::Nothing => self.end(Ending::at_one(self.here, Decision::Aborted)),
        }
    }

    fn decide(&mut self, participants: usize, decision: Decision) -> Vec<Step> {
        self.stage = Stage::Deciding { participants };
        vec![Step::Send(Request { to: 0, kind: RequestKind::Decide(decision) })]
    }

    fn end(&mut self, (ending, steps): (Ending, Vec<Step>)) -> Vec<Step> {
        self.stage = Stage::Ending(ending);
        steps
    }
}
