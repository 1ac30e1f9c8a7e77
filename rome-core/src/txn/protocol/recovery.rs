//! The part of anyone who meets a mark that its client does not take away.

use super::{Decision, Found, Promise, Replied, Reply, Request, RequestKind, Step, to_all};

/// Brings one transaction to its end.
///
/// Safe at any time, also while the client is still at work: when to begin is a question of patience, not of correctness. Afterwards whoever met
/// the mark reads again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Recovery {
    /// The participant at which a mark was met.
    here: usize,
    participants: usize,
    stage: Stage,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Stage {
    Inquiring,
    Poisoning(Replied),
    Deciding,
    Finalising(Replied),
    /// Only the marks that were met: without a record the other participants are unknown.
    FinalisingHere,
    Collecting,
    Finished,
}

impl Recovery {
    /// A recovery of the transaction whose mark was met at this participant, and what to send.
    pub fn begin(here: usize) -> (Self, Vec<Step>) {
        let inquire = Step::Send(Request { to: 0, kind: RequestKind::Inquire });
        (Self { here, participants: 0, stage: Stage::Inquiring }, vec![inquire])
    }

    /// Takes a participant's reply to a request of this kind. Replies that come again change nothing.
    pub fn on(&mut self, from: usize, kind: RequestKind, reply: Reply) -> Vec<Step> {
        match (&mut self.stage, kind, reply) {
            (Stage::Inquiring, RequestKind::Inquire, Reply::Found(found)) => self.found(found),
            (Stage::Poisoning(replied), RequestKind::Poison, Reply::Promise(promise)) => match promise {
                Promise::Given => match replied.completes(from) {
                    true => self.decide(Decision::Committed),
                    false => vec![],
                },
                Promise::Refused => self.decide(Decision::Aborted),
            },
            (Stage::Deciding, RequestKind::Decide(_), Reply::Decided(Some(decision))) => self.finalise(decision),
            (Stage::Deciding, RequestKind::Decide(_), Reply::Decided(None)) => self.finish(),
            (Stage::Finalising(replied), RequestKind::Finalise(_), Reply::Done) => match replied.completes(from) {
                true => {
                    self.stage = Stage::Collecting;
                    vec![Step::Send(Request { to: 0, kind: RequestKind::Collect })]
                }
                false => vec![],
            },
            (Stage::FinalisingHere, RequestKind::Finalise(_), Reply::Done)
            | (Stage::Collecting, RequestKind::Collect, Reply::Done) => self.finish(),
            _ => vec![],
        }
    }

    /// Whether nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    fn found(&mut self, found: Found) -> Vec<Step> {
        match found {
            Found::Staging { participants } => {
                self.participants = participants;
                self.stage = Stage::Poisoning(Replied::none_of(participants));
                to_all(participants, RequestKind::Poison).collect()
            }
            Found::Decided { decision, participants } => {
                self.participants = participants;
                self.finalise(decision)
            }
            Found::Nothing => {
                self.stage = Stage::FinalisingHere;
                let kind = RequestKind::Finalise(Decision::Aborted);
                vec![Step::Send(Request { to: self.here, kind })]
            }
        }
    }

    fn decide(&mut self, decision: Decision) -> Vec<Step> {
        self.stage = Stage::Deciding;
        vec![Step::Send(Request { to: 0, kind: RequestKind::Decide(decision) })]
    }

    fn finalise(&mut self, decision: Decision) -> Vec<Step> {
        self.stage = Stage::Finalising(Replied::none_of(self.participants));
        to_all(self.participants, RequestKind::Finalise(decision)).collect()
    }

    fn finish(&mut self) -> Vec<Step> {
        self.stage = Stage::Finished;
        vec![Step::Finish]
    }
}
