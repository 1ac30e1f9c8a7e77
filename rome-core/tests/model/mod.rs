//! Homes, a network that loses, delays and repeats, and clients around the protocol's own code.

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rome_core::txn::protocol::{Coordinator, Decision, Found, Promise, Recovery, Reply, Request, RequestKind, Step};
use stateright::Property;
use std::collections::{BTreeMap, BTreeSet};

/// The number of a transaction.
type Txn = usize;

/// Something that was read, when nothing had been written yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Item {
    Key(usize),
    /// From, to before.
    Range(usize, usize),
}

impl Item {
    fn covers(self, key: usize) -> bool {
        match self {
            Self::Key(own) => own == key,
            Self::Range(from, to) => (from..to).contains(&key),
        }
    }

    fn keys(self) -> std::ops::Range<usize> {
        match self {
            Self::Key(key) => key..key + 1,
            Self::Range(from, to) => from..to,
        }
    }
}

/// What a transaction does at one home.
#[derive(Clone, Debug)]
pub struct Part {
    pub home: usize,
    pub reads: Vec<Item>,
    pub writes: Vec<usize>,
}

/// A transaction: its participants by number.
#[derive(Clone, Debug)]
pub struct Spec(pub Vec<Part>);

/// A transaction at one home, in one commit.
#[derive(Clone, Debug)]
pub struct Local {
    pub home: usize,
    pub reads: Vec<Item>,
    pub writes: Vec<usize>,
}

/// A mistake that the checks must notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// What was read is validated, and not held until the decision.
    NoReadMarks,
    /// Keys that were read are held, ranges are not.
    NoRangeMarks,
    /// A recovery takes a missing promise for a refused one.
    NoPoison,
    /// The client finalises together with its acknowledgement.
    FinalisesEarly,
    /// A home that has forgotten a transaction prepares it again.
    ForgetsLanes,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub homes: usize,
    pub transactions: Vec<Spec>,
    pub locals: Vec<Local>,
    /// The first so many transactions are recovered by others, by one at a time; the number of states grows with the power of this.
    pub recovered: usize,
    pub flaw: Option<Flaw>,
}

const KEYS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
struct Cell {
    version: u8,
    mark: Option<Txn>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Home {
    cells: [Cell; KEYS],
    read_marks: BTreeSet<(Txn, Item)>,
    promises: BTreeSet<Txn>,
    /// What each transaction's prepare came to here.
    lanes: BTreeMap<Txn, Promise>,
    records: BTreeMap<Txn, Option<Decision>>,
    /// How often a transaction took effect here, and how often it was rolled back: no home knows this.
    ends: BTreeMap<Txn, (u8, u8)>,
}

impl Home {
    /// Whether all of it is as it was at the beginning, and nobody else means to change it.
    fn is_untouched(&self, reads: &[Item]) -> bool {
        let mut keys = reads.iter().flat_map(|item| item.keys());
        keys.all(|key| self.cells[key] == Cell::default())
    }

    /// Whether these keys may be written now.
    fn is_free(&self, txn: Option<Txn>, writes: &[usize]) -> bool {
        writes.iter().all(|key| {
            let read = self.read_marks.iter().any(|(by, item)| Some(*by) != txn && item.covers(*key));
            self.cells[*key].mark.is_none() && !read
        })
    }

    /// Whether whoever looks finds something of a transaction.
    fn shows(&self, txn: Txn) -> bool {
        self.is_marked(txn) || self.records.contains_key(&txn)
    }

    fn is_marked(&self, txn: Txn) -> bool {
        self.promises.contains(&txn)
            || self.cells.iter().any(|cell| cell.mark == Some(txn))
            || self.read_marks.iter().any(|(by, _)| *by == txn)
    }
}

/// Who sent something and waits for its reply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Sender {
    Client,
    Recovery,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Message {
    txn: Txn,
    sender: Sender,
    request: Request,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    homes: Vec<Home>,
    /// Everything that was ever sent may arrive at any time, any number of times, or never.
    sent: BTreeSet<Message>,
    clients: Vec<Coordinator>,
    recoveries: Vec<Option<Recovery>>,
    acknowledged: Vec<Option<Decision>>,
    /// Whether each local transaction committed.
    locals: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A message arrives, and its reply does too, or is lost.
    Deliver(Message, bool),
    /// Somebody meets a transaction's mark, or its record, at one of its participants.
    Recover(Txn),
    Local(usize),
}

impl Model {
    pub fn of(homes: usize, transactions: Vec<Spec>) -> Self {
        Self { homes, transactions, locals: vec![], recovered: 2, flaw: None }
    }

    fn part(&self, txn: Txn, participant: usize) -> &Part {
        &self.transactions[txn].0[participant]
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// What a home does with a request, and its reply.
    fn execute(&self, home: &mut Home, txn: Txn, request: Request) -> Reply {
        match request.kind {
            RequestKind::Prepare => Reply::Promise(self.prepare(home, txn, request.to)),
            RequestKind::Inquire => Reply::Found(match home.records.get(&txn) {
                Some(None) => Found::Staging,
                Some(Some(decision)) => Found::Decided(*decision),
                None if home.lanes.get(&txn) == Some(&Promise::Given) => Found::Forgotten,
                None => {
                    self.poison(home, txn);
                    Found::Nothing
                }
            }),
            RequestKind::Poison => {
                self.poison(home, txn);
                Reply::Promise(if home.promises.contains(&txn) { Promise::Given } else { Promise::Refused })
            }
            RequestKind::Decide(decision) => Reply::Decided(match home.records.get_mut(&txn) {
                Some(record) => {
                    let decision = *record.get_or_insert(decision);
                    finalise(home, txn, decision);
                    Some(decision)
                }
                None => {
                    if decision == Decision::Aborted {
                        self.poison(home, txn);
                    }
                    None
                }
            }),
            RequestKind::Finalise(decision) => {
                if decision == Decision::Aborted {
                    self.poison(home, txn);
                }
                finalise(home, txn, decision);
                Reply::Done
            }
            RequestKind::Forget => {
                home.records.remove(&txn);
                Reply::Done
            }
        }
    }

    fn poison(&self, home: &mut Home, txn: Txn) {
        if !self.has(Flaw::NoPoison) {
            home.lanes.entry(txn).or_insert(Promise::Refused);
        }
    }

    fn prepare(&self, home: &mut Home, txn: Txn, participant: usize) -> Promise {
        let forgotten = self.has(Flaw::ForgetsLanes) && !home.is_marked(txn) && !home.records.contains_key(&txn);
        if let Some(outcome) = home.lanes.get(&txn).filter(|_| !forgotten) {
            return *outcome;
        }
        let part = self.part(txn, participant);
        if !home.is_untouched(&part.reads) || !home.is_free(Some(txn), &part.writes) {
            home.lanes.insert(txn, Promise::Refused);
            return Promise::Refused;
        }
        for item in &part.reads {
            let marked = match item {
                Item::Key(_) => !self.has(Flaw::NoReadMarks),
                Item::Range(..) => !self.has(Flaw::NoRangeMarks),
            };
            if marked {
                home.read_marks.insert((txn, *item));
            }
        }
        for key in &part.writes {
            home.cells[*key] = Cell { version: home.cells[*key].version + 1, mark: Some(txn) };
        }
        home.promises.insert(txn);
        home.lanes.insert(txn, Promise::Given);
        if participant == 0 {
            home.records.insert(txn, None);
        }
        Promise::Given
    }

    fn take(&self, state: &mut State, txn: Txn, sender: Sender, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Send(request) => {
                    state.sent.insert(Message { txn, sender, request });
                }
                Step::Acknowledge(decision) => {
                    state.acknowledged[txn] = Some(decision);
                    if self.has(Flaw::FinalisesEarly) && decision == Decision::Committed {
                        for to in 0..self.transactions[txn].0.len() {
                            let request = Request { to, kind: RequestKind::Finalise(decision) };
                            state.sent.insert(Message { txn, sender, request });
                        }
                    }
                }
                Step::Finish => {}
            }
        }
    }

    fn deliver(&self, state: &mut State, message: Message, heard: bool) {
        let Message { txn, sender, request } = message;
        let home = self.part(txn, request.to).home;
        let reply = self.execute(&mut state.homes[home], txn, request);
        if !heard {
            return;
        }
        let steps = match sender {
            Sender::Client => state.clients[txn].on(request.to, request.kind, reply),
            Sender::Recovery => {
                state.recoveries[txn].as_mut().map(|it| it.on(request.to, request.kind, reply)).unwrap_or_default()
            }
        };
        self.take(state, txn, sender, steps);
        if state.recoveries[txn].as_ref().is_some_and(Recovery::is_finished) {
            // It is gone; another may begin.
            state.recoveries[txn] = None;
        }
    }

    fn recover(&self, state: &mut State, txn: Txn) {
        let (recovery, steps) = Recovery::begin(self.transactions[txn].0.len(), true);
        state.recoveries[txn] = Some(recovery);
        self.take(state, txn, Sender::Recovery, steps);
    }

    fn commit_locally(&self, state: &mut State, number: usize) {
        let local = &self.locals[number];
        let home = &mut state.homes[local.home];
        if home.is_untouched(&local.reads) && home.is_free(None, &local.writes) {
            local.writes.iter().for_each(|key| home.cells[*key].version += 1);
            state.locals[number] = true;
        }
    }

    /// Whether no record is left, and each transaction took effect at all of its homes or at none.
    fn has_ended(&self, state: &State) -> bool {
        let same = |(txn, spec): (Txn, &Spec)| {
            let commits: BTreeSet<u8> = spec.0.iter().map(|part| ends(&state.homes[part.home], txn).0).collect();
            commits.len() == 1 && !(self.committed(state, txn) && self.aborted(state, txn))
        };
        state.homes.iter().all(|home| home.records.is_empty()) && self.transactions.iter().enumerate().all(same)
    }

    fn committed(&self, state: &State, txn: Txn) -> bool {
        state.acknowledged[txn] == Some(Decision::Committed) || state.homes.iter().any(|home| ends(home, txn).0 > 0)
    }

    fn aborted(&self, state: &State, txn: Txn) -> bool {
        let rolled_back =
            |home: &Home| ends(home, txn).1 > 0 || home.records.get(&txn) == Some(&Some(Decision::Aborted));
        state.acknowledged[txn] == Some(Decision::Aborted) || state.homes.iter().any(rolled_back)
    }

    /// Everybody read the beginning: whoever read what another wrote must come before it, and that must be possible for all.
    fn is_serializable(&self, state: &State) -> bool {
        let part = |part: &Part| (part.home, part.reads.clone(), part.writes.clone());
        let several = (0..self.transactions.len()).filter(|txn| self.committed(state, *txn));
        let mut all: Vec<Vec<_>> = several.map(|txn| self.transactions[txn].0.iter().map(part).collect()).collect();
        let locals = self.locals.iter().zip(&state.locals).filter(|(_, committed)| **committed);
        all.extend(locals.map(|(local, _)| vec![(local.home, local.reads.clone(), local.writes.clone())]));
        let before = |a: usize, b: usize| {
            a != b
                && all[a].iter().any(|(home, reads, _)| {
                    all[b].iter().any(|(other, _, writes)| {
                        home == other && reads.iter().any(|item| writes.iter().any(|key| item.covers(*key)))
                    })
                })
        };
        // Take away, again and again, one that nobody must precede.
        let mut left: Vec<usize> = (0..all.len()).collect();
        while !left.is_empty() {
            let Some(first) = left.iter().position(|b| left.iter().all(|a| !before(*a, *b))) else { return false };
            left.remove(first);
        }
        true
    }
}

fn ends(home: &Home, txn: Txn) -> (u8, u8) {
    home.ends.get(&txn).copied().unwrap_or_default()
}

fn finalise(home: &mut Home, txn: Txn, decision: Decision) {
    if !home.is_marked(txn) {
        return;
    }
    for cell in home.cells.iter_mut().filter(|cell| cell.mark == Some(txn)) {
        *cell = Cell { version: cell.version + 1, mark: None };
    }
    home.read_marks.retain(|(by, _)| *by != txn);
    home.promises.remove(&txn);
    let (commits, aborts) = home.ends.entry(txn).or_default();
    match decision {
        Decision::Committed => *commits += 1,
        Decision::Aborted => *aborts += 1,
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            homes: vec![Home::default(); self.homes],
            sent: BTreeSet::new(),
            clients: vec![],
            recoveries: vec![None; self.transactions.len()],
            acknowledged: vec![None; self.transactions.len()],
            locals: vec![false; self.locals.len()],
        };
        for (txn, spec) in self.transactions.iter().enumerate() {
            let (client, steps) = Coordinator::begin(spec.0.len());
            state.clients.push(client);
            self.take(&mut state, txn, Sender::Client, steps);
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for message in &state.sent {
            actions.extend([Action::Deliver(*message, true), Action::Deliver(*message, false)]);
        }
        for (txn, spec) in self.transactions.iter().enumerate() {
            let shown = spec.0.iter().any(|part| state.homes[part.home].shows(txn));
            if txn < self.recovered && state.recoveries[txn].is_none() && shown {
                actions.push(Action::Recover(txn));
            }
        }
        actions.extend((0..self.locals.len()).filter(|local| !state.locals[*local]).map(Action::Local));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Deliver(message, heard) => self.deliver(&mut next, message, heard),
            Action::Recover(txn) => self.recover(&mut next, txn),
            Action::Local(local) => self.commit_locally(&mut next, local),
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("atomic", |model: &Self, state: &State| {
                model.transactions.iter().enumerate().all(|(txn, spec)| {
                    let bound = |part: &Part| {
                        let home = &state.homes[part.home];
                        ends(home, txn) == (1, 0) || home.promises.contains(&txn)
                    };
                    !model.committed(state, txn) || spec.0.iter().all(bound)
                })
            }),
            Property::always("acknowledged", |model: &Self, state: &State| {
                (0..model.transactions.len()).all(|txn| !(model.committed(state, txn) && model.aborted(state, txn)))
            }),
            Property::always("once", |_: &Self, state: &State| {
                state.homes.iter().all(|home| home.ends.values().all(|(commits, aborts)| commits + aborts <= 1))
            }),
            Property::always("serializable", |model: &Self, state: &State| model.is_serializable(state)),
            Property::sometimes("a commit", |model: &Self, state: &State| model.committed(state, 0)),
            Property::sometimes("an abort", |model: &Self, state: &State| model.aborted(state, 0)),
            Property::sometimes("a commit that its client never heard of", |model: &Self, state: &State| {
                state.acknowledged[0].is_none() && model.committed(state, 0)
            }),
        ]
    }
}

/// Follows a random history for a while, then lets every message arrive and everyone recover: nothing may be left over, and every
/// transaction has ended the same way everywhere. In every other history the clients hear nothing any more: they have crashed.
pub fn end_of_a_random_history(model: &Model, seed: u64) -> Result<(), String> {
    use stateright::Model as _;
    let mut random = StdRng::seed_from_u64(seed);
    let crashed = seed % 2 == 1;
    let mut state = model.init_states().remove(0);
    for _ in 0..random.random_range(0..40) {
        let mut actions = vec![];
        model.actions(&state, &mut actions);
        let Some(action) = actions.into_iter().choose(&mut random) else { break };
        state = model.next_state(&state, action).unwrap_or(state);
    }
    for _ in 0..100 {
        for message in state.sent.clone() {
            model.deliver(&mut state, message, !(crashed && message.sender == Sender::Client));
        }
        let shown = |txn: &Txn| state.homes.iter().any(|home| home.shows(*txn));
        let stuck: Vec<Txn> = (0..model.transactions.len()).filter(shown).collect();
        if stuck.is_empty() {
            return model.has_ended(&state).then_some(()).ok_or_else(|| format!("no clean end: {state:?}"));
        }
        for txn in stuck {
            if state.recoveries[txn].is_none() {
                model.recover(&mut state, txn);
            }
        }
    }
    Err(format!("marks are left: {state:?}"))
}
