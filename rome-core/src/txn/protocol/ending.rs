//! What follows a decision, whoever made it.

use super::{Awaited, Decision, Reply, Request, RequestKind, Step};

/// Finalises a decided transaction: participant 0, which keeps the record, comes last.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Ending {
    decision: Decision,
    stage: Stage,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Stage {
    Others(Awaited),
    Last(usize),
    Finished,
}

impl Ending {
    /// Finalises at all participants.
    pub(super) fn at_all(participants: usize, decision: Decision) -> (Self, Vec<Step>) {
        if participants < 2 {
            return Self::at_one(0, decision);
        }
        let others = (1..participants).map(|to| finalise(to, decision)).collect();
        (Self { decision, stage: Stage::Others(Awaited::all_of(1..participants)) }, others)
    }

    /// Finalises at one participant: without a record the others are unknown.
    pub(super) fn at_one(participant: usize, decision: Decision) -> (Self, Vec<Step>) {
        (Self { decision, stage: Stage::Last(participant) }, vec![finalise(participant, decision)])
    }

    /// Takes the reply to a finalise; others mean nothing here.
    pub(super) fn on(&mut self, from: usize, kind: RequestKind, reply: Reply) -> Vec<Step> {
        match (&mut self.stage, kind, reply) {
            (Stage::Others(awaited), RequestKind::Finalise(_), Reply::Done) => match awaited.completes(from) {
                true => {
                    self.stage = Stage::Last(0);
                    vec![finalise(0, self.decision)]
                }
                false => vec![],
            },
            (Stage::Last(participant), RequestKind::Finalise(_), Reply::Done) if *participant == from => {
                self.stage = Stage::Finished;
                vec![Step::Finish]
            }
            _ => vec![],
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }
}

fn finalise(to: usize, decision: Decision) -> Step {
    Step::Send(Request { to, kind: RequestKind::Finalise(decision) })
}
