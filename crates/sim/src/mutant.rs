/// A bug planted on purpose: a check of the pipeline taken away. The simulation has to
/// notice each of them, by the violation that the check prevents, or its oracle is too
/// weak to notice anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The store no longer compares the attempt.
    NoAttemptFence,
    /// The store no longer compares the state.
    NoStateGuard,
    /// The store no longer compares the deadline that a decision was made on.
    NoDeadlineGuard,
    /// The store writes a report whether or not there is one.
    ReportTwice,
    /// The platform grants the dial claim to whoever asks.
    NoDialClaim,
    /// Dispatchers read the wall clock, which jumps, instead of the store's time.
    WallClockDeadlines,
    /// Rooms of ended attempts are not closed again after a failure.
    OutboxForgets,
    /// The store does not look at the batch when a dial is claimed.
    NoCancelAtDial,
    /// Claims look at no state of the batch.
    PauseIgnored,
    /// Agents go on talking whether or not the platform hears from them.
    NoWorkerDeadline,
    /// Claims do not look whether a number is suppressed.
    NoSuppression,
    /// Claims do not look whether a number is being called.
    NoNumberHold,
    /// The dispatcher does not know of call windows.
    NoWindow,
    /// The dispatcher does not know of the pace.
    NoPace,
    /// The dispatcher does not know of waves.
    NoWaves,
    /// The dispatcher does not know of the batch's breaker.
    NoBreaker,
    /// Retries are due at once.
    NoBackoff,
}

impl Mutant {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::NoAttemptFence,
        Self::NoStateGuard,
        Self::NoDeadlineGuard,
        Self::ReportTwice,
        Self::NoDialClaim,
        Self::WallClockDeadlines,
        Self::OutboxForgets,
        Self::NoCancelAtDial,
        Self::PauseIgnored,
        Self::NoWorkerDeadline,
        Self::NoSuppression,
        Self::NoNumberHold,
        Self::NoWindow,
        Self::NoPace,
        Self::NoWaves,
        Self::NoBreaker,
        Self::NoBackoff,
    ];

    /// Violations, one of which this bug has to be caught by.
    pub const fn caught_by(self) -> &'static [&'static str] {
        match self {
            Self::NoAttemptFence => &["without the dial claim", "was dialled, and no row says so"],
            Self::NoStateGuard => &["nothing_after_terminal"],
            Self::NoDeadlineGuard => &["came early"],
            Self::ReportTwice => &["one_report"],
            Self::NoDialClaim => &["was dialled twice"],
            Self::WallClockDeadlines => &["came early", "leased early"],
            Self::OutboxForgets => &["was never closed"],
            Self::NoCancelAtDial => &["dialled after the cancel"],
            Self::PauseIgnored => &["leased while"],
            Self::NoWorkerDeadline | Self::NoNumberHold => &["were live at one number"],
            Self::NoSuppression => &["its number is suppressed"],
            Self::NoWindow => &["outside its window"],
            Self::NoPace => &["the pace allows"],
            Self::NoWaves => &["a wave of"],
            Self::NoBreaker => &["the breaker had to trip"],
            Self::NoBackoff => &["is tried again too soon"],
        }
    }
}
