//! What follows a decision, whoever made it.

use super::{Awaited, Decision, Reply, Request, RequestKind, Step};

/// Finalises a decided transaction everywhere but at participant 0, where the decision did that already, then forgets its record if that is
/// wanted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Ending {
    Finalising { awaited: Awaited, forgets: bool },
    Forgetting,
    Finished,
}

impl Ending {
    /// Finalises at all participants.
    pub(super) fn at_all(participants: usize, decision: Decision, forgets: bool) -> (Self, Vec<Step>) {
        if participants < 2 {
            let mut ending = Self::Finished;
            let steps = ending.last(forgets);
            return (ending, steps);
        }
        let others = (1..participants).map(|to| finalise(to, decision)).collect();
        (Self::Finalising { awaited: Awaited::all_of(1..participants), forgets }, others)
    }

    /// Takes the reply to a finalise or to forgetting; others mean nothing here.
    pub(super) fn on(&mut self, from: usize, kind: RequestKind, reply: Reply) -> Vec<Step> {
        match (&mut *self, kind, reply) {
            (Self::Finalising { awaited, forgets }, RequestKind::Finalise(_), Reply::Done) => {
                let forgets = *forgets;
                match awaited.completes(from) {
                    true => self.last(forgets),
                    false => vec![],
                }
            }
            (Self::Forgetting, RequestKind::Forget, Reply::Done) => self.finish(),
            _ => vec![],
        }
    }

    fn last(&mut self, forgets: bool) -> Vec<Step> {
        if !forgets {
            return self.finish();
        }
        *self = Self::Forgetting;
        vec![Step::Send(Request { to: 0, kind: RequestKind::Forget })]
    }

    fn finish(&mut self) -> Vec<Step> {
        *self = Self::Finished;
        vec![Step::Finish]
    }

    pub(super) fn is_finished(&self) -> bool {
        *self == Self::Finished
    }
}

fn finalise(to: usize, decision: Decision) -> Step {
    Step::Send(Request { to, kind: RequestKind::Finalise(decision) })
}
