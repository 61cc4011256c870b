/// A bug planted on purpose: a check of the pipeline taken away. The simulation has to
/// notice each of them, or its oracle is too weak to notice anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The store no longer compares the attempt.
    NoAttemptFence,
    /// The store no longer compares the state.
    NoStateGuard,
    /// The store writes a report whether or not there is one.
    ReportTwice,
    /// Agents ring whether or not they won the dial claim.
    NoDialClaim,
    /// Dispatchers read the wall clock, which jumps, instead of the store's time.
    WallClockDeadlines,
}

impl Mutant {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::NoAttemptFence,
        Self::NoStateGuard,
        Self::ReportTwice,
        Self::NoDialClaim,
        Self::WallClockDeadlines,
    ];
}
