//! The client's part.

use super::ending::Ending;
use super::{Awaited, Decision, Promise, Reply, Request, RequestKind, Step, to_all};

/// Commits one transaction.
///
/// Where replies stay away, its driver drops it and lets a [`Recovery`](super::Recovery) find out: until then the outcome is unknown, unless it was
/// acknowledged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Coordinator {
    participants: usize,
    stage: Stage,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Stage {
    Preparing(Awaited),
    Deciding(Decision),
    Ending(Ending),
    /// A recovery has done the rest.
    Finished,
}

impl Coordinator {
    /// A coordinator, and the prepares to send.
    pub fn begin(participants: usize) -> (Self, Vec<Step>) {
        let stage = Stage::Preparing(Awaited::all_of(0..participants));
        (Self { participants, stage }, to_all(participants, RequestKind::Prepare).collect())
    }

    /// Takes a participant's reply to a request of this kind. Replies that come again change nothing.
    pub fn on(&mut self, from: usize, kind: RequestKind, reply: Reply) -> Vec<Step> {
        match (&mut self.stage, kind, reply) {
            (Stage::Preparing(awaited), RequestKind::Prepare, Reply::Promise(promise)) => match promise {
                Promise::Given => match awaited.completes(from) {
                    true => self.decide(Decision::Committed),
                    false => vec![],
                },
                // A promise that was refused is never given: nobody can commit this any more.
                Promise::Refused => self.decide(Decision::Aborted),
            },
            (Stage::Deciding(_), RequestKind::Decide(_), Reply::Decided(Some(decision))) => self.end(decision),
            // Participant 0 refused, or heard of this before it was asked to prepare, which it will refuse now.
            (Stage::Deciding(Decision::Aborted), RequestKind::Decide(_), Reply::Decided(None)) => {
                self.end(Decision::Aborted)
            }
            (Stage::Deciding(Decision::Committed), RequestKind::Decide(_), Reply::Decided(None)) => {
                self.stage = Stage::Finished;
                vec![Step::Finish]
            }
            (Stage::Ending(ending), ..) => ending.on(from, kind, reply),
            _ => vec![],
        }
    }

    fn decide(&mut self, decision: Decision) -> Vec<Step> {
        self.stage = Stage::Deciding(decision);
        let decide = Step::Send(Request { to: 0, kind: RequestKind::Decide(decision) });
        vec![Step::Acknowledge(decision), decide]
    }

    fn end(&mut self, decision: Decision) -> Vec<Step> {
        let (ending, steps) = Ending::at_all(self.participants, decision, true);
        self.stage = Stage::Ending(ending);
        steps
    }
}
