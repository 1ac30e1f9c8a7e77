//! The client's part.

use super::{Decision, Promise, Replied, Reply, Request, RequestKind, Step, to_all};

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
    Preparing(Replied),
    Deciding(Decision),
    Finalising(Replied),
    Collecting,
    Finished,
}

impl Coordinator {
    /// A coordinator, and the prepares to send.
    pub fn begin(participants: usize) -> (Self, Vec<Step>) {
        let stage = Stage::Preparing(Replied::none_of(participants));
        (Self { participants, stage }, to_all(participants, RequestKind::Prepare).collect())
    }

    /// Takes a participant's reply to a request of this kind. Replies that come again change nothing.
    pub fn on(&mut self, from: usize, kind: RequestKind, reply: Reply) -> Vec<Step> {
        match (&mut self.stage, kind, reply) {
            (Stage::Preparing(replied), RequestKind::Prepare, Reply::Promise(promise)) => match promise {
                Promise::Given => match replied.completes(from) {
                    true => self.decide(Decision::Committed),
                    false => vec![],
                },
                // A promise that was refused is never given: nobody can commit this any more.
                Promise::Refused => self.decide(Decision::Aborted),
            },
            (Stage::Deciding(_), RequestKind::Decide(_), Reply::Decided(Some(decision))) => self.finalise(decision),
            // Participant 0 refused, or heard of this before it was asked to prepare, which it will refuse now.
            (Stage::Deciding(Decision::Aborted), RequestKind::Decide(_), Reply::Decided(None)) => {
                self.finalise(Decision::Aborted)
            }
            (Stage::Deciding(Decision::Committed), RequestKind::Decide(_), Reply::Decided(None)) => self.finish(),
            (Stage::Finalising(replied), RequestKind::Finalise(_), Reply::Done) => match replied.completes(from) {
                true => {
                    self.stage = Stage::Collecting;
                    vec![Step::Send(Request { to: 0, kind: RequestKind::Collect })]
                }
                false => vec![],
            },
            (Stage::Collecting, RequestKind::Collect, Reply::Done) => self.finish(),
            _ => vec![],
        }
    }

    fn decide(&mut self, decision: Decision) -> Vec<Step> {
        self.stage = Stage::Deciding(decision);
        let decide = Step::Send(Request { to: 0, kind: RequestKind::Decide(decision) });
        vec![Step::Acknowledge(decision), decide]
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
