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
    /// Claims do not compare the calls at once: what was read before may have grown.
    NoConcurrencyLimit,
    /// A heartbeat does not prolong its call.
    LeaseNotRenewed,
    /// A trigger that is sent again makes another batch.
    KeyIgnored,
    /// What came of a dispatch is recorded by whoever sent it, whosever lease it is now.
    EpochIgnored,
    /// The dispatcher sends first and leases then.
    DispatchFirst,
    /// Counters are counted up by whoever reports, whether or not his change is made.
    CountersIncremented,
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
        Self::NoConcurrencyLimit,
        Self::LeaseNotRenewed,
        Self::KeyIgnored,
        Self::EpochIgnored,
        Self::DispatchFirst,
        Self::CountersIncremented,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAttemptFence => "no_attempt_fence",
            Self::NoStateGuard => "no_state_guard",
            Self::NoDeadlineGuard => "no_deadline_guard",
            Self::ReportTwice => "report_twice",
            Self::NoDialClaim => "no_dial_claim",
            Self::WallClockDeadlines => "wall_clock_deadlines",
            Self::OutboxForgets => "outbox_forgets",
            Self::NoCancelAtDial => "cancel_not_checked_at_dial",
            Self::PauseIgnored => "pause_ignored",
            Self::NoWorkerDeadline => "no_worker_deadline",
            Self::NoSuppression => "no_suppression",
            Self::NoNumberHold => "no_number_hold",
            Self::NoWindow => "no_window",
            Self::NoPace => "no_pace",
            Self::NoWaves => "no_waves",
            Self::NoBreaker => "no_breaker",
            Self::NoBackoff => "retry_without_backoff",
            Self::NoConcurrencyLimit => "no_concurrency_limit",
            Self::LeaseNotRenewed => "lease_never_renewed",
            Self::KeyIgnored => "idempotency_key_ignored",
            Self::EpochIgnored => "lease_epoch_ignored",
            Self::DispatchFirst => "dispatch_before_commit",
            Self::CountersIncremented => "counters_incremented",
        }
    }

    /// The invariant that it breaks.
    pub const fn invariant(self) -> &'static str {
        match self {
            Self::NoAttemptFence => "dials_equal_claims",
            Self::NoStateGuard => "nothing_after_terminal",
            Self::NoDeadlineGuard | Self::WallClockDeadlines => "no_guard_before_its_time",
            Self::ReportTwice => "one_report",
            Self::NoDialClaim => "one_dial_per_attempt",
            Self::OutboxForgets => "rooms_of_ended_attempts_are_closed",
            Self::NoCancelAtDial => "no_dial_after_cancel",
            Self::PauseIgnored => "no_lease_while_paused",
            Self::NoWorkerDeadline | Self::NoNumberHold => "one_live_call_per_number",
            Self::NoSuppression => "no_call_to_suppressed_numbers",
            Self::NoWindow => "no_call_outside_windows",
            Self::NoPace => "calls_keep_the_pace",
            Self::NoWaves => "one_wave_at_a_time",
            Self::NoBreaker => "the_breaker_trips",
            Self::NoBackoff => "retries_wait",
            Self::NoConcurrencyLimit => "calls_at_once_within_limits",
            Self::LeaseNotRenewed => "live_calls_are_not_given_up",
            Self::KeyIgnored => "one_batch_per_key",
            Self::EpochIgnored => "leases_are_their_holders",
            Self::DispatchFirst => "no_send_before_commit",
            Self::CountersIncremented => "counters_equal_rows",
        }
    }

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
            Self::NoConcurrencyLimit => &["were in flight at once"],
            Self::LeaseNotRenewed => &["was given up at"],
            Self::KeyIgnored => &["beside the batch"],
            Self::EpochIgnored => &["which was another's"],
            Self::DispatchFirst => &["was sent, and is not leased"],
            Self::CountersIncremented => &["counters_equal_rows"],
        }
    }
}
