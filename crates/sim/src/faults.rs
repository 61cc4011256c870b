use std::collections::{BTreeMap, BTreeSet};

use dialtone_clock::rng_for;
use rand::Rng as _;

/// Something that goes wrong, or that users do at the worst moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A dispatch that LiveKit took reaches no worker.
    DispatchLost,
    /// A dispatch that LiveKit took reaches two workers.
    DispatchDoubled,
    /// A dispatch does not reach LiveKit.
    DispatchNotSent,
    /// LiveKit refuses a dispatch.
    DispatchRefused,
    /// LiveKit takes a dispatch and its answer is lost.
    DispatchUnknown,
    /// LiveKit does not close a room, or does and its answer is lost.
    RoomNotClosed,
    /// A request of an agent is lost on the way.
    RequestLost,
    /// A heartbeat is lost on the way: nobody sends it again.
    BeatLost,
    /// A request of an agent arrives twice.
    RequestDoubled,
    /// The answer to a request is lost.
    AnswerLost,
    /// A message takes seconds instead of milliseconds.
    Slow,
    /// An agent dies between two of its steps.
    AgentDies,
    /// An agent's host loses its network while the callee still hears it.
    AgentCutOff,
    /// A server dies between two of its steps.
    Crash,
    /// A server is told to stop, and stops in order, with leases at hand.
    Drain,
    /// A step of a server takes seconds: a slow disk, a paused process.
    Stall,
    /// For a minute or two the store is so busy that calls wait for seconds.
    Brownout,
    /// The store does not take a call.
    Unavailable,
    /// A commit happens and is reported as failed.
    CommitUnknown,
    /// The servers' wall clocks jump by an hour.
    ClockJump,
    /// An agent does nothing for a while, and then goes on as if nothing had been.
    AgentHangs,
    /// An agent takes seconds for one of its steps.
    AgentSlow,
    /// What came of a dispatch is recorded a second time, seconds later.
    RecordRepeated,
    /// Agents do wrong what their plan says: callbacks that are late, lost or doubled, calls
    /// that crash or ring for ever.
    AgentScript,
    /// Several servers are at work at once.
    MoreServers,
    /// The batch is paused in the middle, and resumed.
    Pause,
    /// The batch is cancelled.
    Cancel,
    /// The batch is cancelled twice.
    CancelAgain,
    /// The batch may make fewer calls at once from now on.
    Limit,
    /// A request of an agent is overtaken by a later one. Follows from others.
    Reordered,
    /// A lease runs out, as its dispatcher did not send in time. Follows from others.
    LeaseExpired,
}

/// What faults have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultClass {
    /// Between the agents and the API.
    Callbacks,
    /// Between the dispatchers and LiveKit.
    Dispatch,
    /// The agents.
    Workers,
    /// The servers.
    Servers,
    /// The store.
    Store,
    /// Users.
    Orders,
    /// Clocks.
    Clocks,
}

impl FaultClass {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Callbacks,
        Self::Dispatch,
        Self::Workers,
        Self::Servers,
        Self::Store,
        Self::Orders,
        Self::Clocks,
    ];

    /// Its name on command lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Callbacks => "callbacks",
            Self::Dispatch => "dispatch",
            Self::Workers => "workers",
            Self::Servers => "servers",
            Self::Store => "store",
            Self::Orders => "orders",
            Self::Clocks => "clocks",
        }
    }
}

/// Faults whose chance the seed draws, and how many they are.
const DRAWN: usize = 23;
/// Of those, the ones that are drawn before the number of servers.
const BEFORE_SERVERS: usize = 20;

impl Fault {
    /// All of them, with the most ten-thousandths of its occasions that each strikes in; none
    /// for those that do not strike by chance.
    const ALL: [(Self, u32); 31] = [
        (Self::DispatchLost, 600),
        (Self::DispatchDoubled, 2400),
        (Self::DispatchNotSent, 600),
        (Self::DispatchRefused, 600),
        (Self::DispatchUnknown, 600),
        (Self::RoomNotClosed, 3000),
        (Self::RequestLost, 600),
        (Self::BeatLost, 6000),
        (Self::RequestDoubled, 2400),
        (Self::AnswerLost, 600),
        (Self::Slow, 1000),
        (Self::AgentDies, 300),
        (Self::AgentCutOff, 300),
        // Between any two of the steps of a store call, of which there are thousands.
        (Self::Crash, 10),
        (Self::Drain, 400),
        (Self::Stall, 40),
        (Self::Brownout, 10_000),
        (Self::Unavailable, 60),
        (Self::CommitUnknown, 100),
        (Self::ClockJump, 10_000),
        (Self::AgentHangs, 400),
        (Self::AgentSlow, 2000),
        (Self::RecordRepeated, 2400),
        (Self::AgentScript, 0),
        (Self::MoreServers, 0),
        (Self::Pause, 0),
        (Self::Cancel, 0),
        (Self::CancelAgain, 0),
        (Self::Limit, 0),
        (Self::Reordered, 0),
        (Self::LeaseExpired, 0),
    ];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().map(|(fault, _)| fault)
    }

    /// Where it belongs.
    pub const fn class(self) -> FaultClass {
        match self {
            Self::RequestLost
            | Self::BeatLost
            | Self::RequestDoubled
            | Self::AnswerLost
            | Self::Slow
            | Self::Reordered => FaultClass::Callbacks,
            Self::DispatchLost
            | Self::DispatchDoubled
            | Self::DispatchNotSent
            | Self::DispatchRefused
            | Self::DispatchUnknown
            | Self::RoomNotClosed => FaultClass::Dispatch,
            Self::AgentDies
            | Self::AgentCutOff
            | Self::AgentHangs
            | Self::AgentSlow
            | Self::AgentScript => FaultClass::Workers,
            Self::Crash | Self::Drain | Self::Stall | Self::MoreServers | Self::LeaseExpired => {
                FaultClass::Servers
            }
            Self::Brownout | Self::Unavailable | Self::CommitUnknown | Self::RecordRepeated => {
                FaultClass::Store
            }
            Self::Pause | Self::Cancel | Self::CancelAgain | Self::Limit => FaultClass::Orders,
            Self::ClockJump => FaultClass::Clocks,
        }
    }

    /// Whether it strikes by itself: others follow from what else goes wrong.
    pub const fn strikes_alone(self) -> bool {
        !matches!(self, Self::Reordered | Self::LeaseExpired)
    }

    /// Its name on command lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DispatchLost => "dispatch-lost",
            Self::DispatchDoubled => "dispatch-doubled",
            Self::DispatchNotSent => "dispatch-not-sent",
            Self::DispatchRefused => "dispatch-refused",
            Self::DispatchUnknown => "dispatch-reply-lost",
            Self::RoomNotClosed => "room-not-closed",
            Self::RequestLost => "lost",
            Self::BeatLost => "beat-lost",
            Self::RequestDoubled => "doubled",
            Self::AnswerLost => "answer-lost",
            Self::Slow => "late",
            Self::Reordered => "reordered",
            Self::AgentDies => "dies",
            Self::AgentCutOff => "cut-off",
            Self::AgentHangs => "hangs",
            Self::AgentSlow => "slow",
            Self::AgentScript => "script",
            Self::Crash => "crash",
            Self::Drain => "drain",
            Self::Stall => "stall",
            Self::MoreServers => "several",
            Self::LeaseExpired => "lease-expired",
            Self::Brownout => "brownout",
            Self::Unavailable => "unavailable",
            Self::CommitUnknown => "commit-unknown",
            Self::RecordRepeated => "record-repeated",
            Self::Pause => "pause",
            Self::Cancel => "cancel",
            Self::CancelAgain => "cancel-again",
            Self::Limit => "limit",
            Self::ClockJump => "clock-jump",
        }
    }
}

/// Which faults may strike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(BTreeSet<Fault>);

impl Selection {
    /// All.
    pub fn all() -> Self {
        Self(Fault::all().collect())
    }

    /// None.
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Whether this one may.
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// The same without these.
    #[must_use]
    pub fn without(&self, faults: &[Fault]) -> Self {
        Self(self.0.iter().filter(|fault| !faults.contains(fault)).copied().collect())
    }

    /// Those that may.
    pub fn iter(&self) -> impl Iterator<Item = Fault> {
        self.0.iter().copied()
    }
}

impl std::fmt::Display for Selection {
    /// As it is written on a command line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::all() {
            return f.write_str("all");
        }
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut words = Vec::new();
        for class in FaultClass::ALL {
            let of_class = || Fault::all().filter(|fault| fault.class() == class);
            if of_class().all(|fault| self.has(fault)) {
                words.push(class.as_str());
            } else {
                words.extend(of_class().filter(|fault| self.has(*fault)).map(Fault::as_str));
            }
        }
        f.write_str(&words.join(","))
    }
}

impl std::str::FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut selected = Self::none();
        for word in text.split(',') {
            match word {
                "all" => selected = Self::all(),
                "none" => {}
                _ => selected.0.extend(named(word)?),
            }
        }
        Ok(selected)
    }
}

/// The faults of a class, or the one of this name.
fn named(word: &str) -> Result<Vec<Fault>, String> {
    let is_it = |fault: &Fault| fault.as_str() == word || fault.class().as_str() == word;
    let found: Vec<_> = Fault::all().filter(is_it).collect();
    if found.is_empty() {
        let classes = FaultClass::ALL.map(FaultClass::as_str).join(", ");
        let faults: Vec<_> = Fault::all().map(Fault::as_str).collect();
        let faults = faults.join(", ");
        return Err(format!("expected all, none, a class ({classes}) or a fault ({faults})"));
    }
    Ok(found)
}

/// How often each thing goes wrong, in ten-thousandths of its occasions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    chances: [u32; DRAWN],
    /// Servers at work at once, beyond the first.
    pub more_servers: u32,
}

impl Faults {
    /// A swarm: each kind of fault is active in about half of the seeds, each with a
    /// strength of its own. Faults that always come together hide each other.
    pub fn swarm(seed: u64) -> Self {
        let mut rng = rng_for(seed, &[b"swarm"]);
        let mut pick = |most: u32| {
            let active = rng.next_u32().is_multiple_of(2);
            if active { 1 + rng.next_u32() % most } else { 0 }
        };
        let mut faults = Self::default();
        for (place, (_, most)) in Fault::ALL.into_iter().take(DRAWN).enumerate() {
            if place == BEFORE_SERVERS {
                faults.more_servers = pick(2);
            }
            faults.chances[place] = pick(most);
        }
        faults
    }

    /// The same with those alone that are selected.
    #[must_use]
    pub fn only(mut self, selection: &Selection) -> Self {
        for (chance, fault) in self.chances.iter_mut().zip(Fault::all()) {
            *chance = if selection.has(fault) { *chance } else { 0 };
        }
        if !selection.has(Fault::MoreServers) {
            self.more_servers = 0;
        }
        self
    }

    pub(crate) fn chance(&self, fault: Fault) -> u32 {
        self.chances.get(fault as usize).copied().unwrap_or(0)
    }
}

/// Faults that struck, by kind.
pub type Struck = BTreeMap<Fault, u64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_place() {
        for (place, (fault, most)) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place, "{fault:?}");
            assert_eq!(most > 0, place < DRAWN, "{fault:?}");
        }
    }

    #[test]
    fn a_selection_is_read_as_it_is_written() {
        let read = |text: &str| text.parse::<Selection>().expect(text);
        for text in ["all", "none", "callbacks,crash", "clocks", "lost,dispatch,pause"] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("crash,drain,stall,several,lease-expired").to_string(), "servers");
        assert!("rain".parse::<Selection>().expect_err("no fault").contains("clock-jump"));
        let names: BTreeSet<_> = Fault::all().map(Fault::as_str).collect();
        let classes = FaultClass::ALL.map(FaultClass::as_str);
        assert_eq!(names.len(), Fault::ALL.len());
        assert!(classes.iter().all(|class| !names.contains(class)));
    }
}
