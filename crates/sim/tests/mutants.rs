//! Planted bugs, each of which must be caught by what it breaks.

use dialtone_contract::OutcomeWeights;
use dialtone_sim::{Config, Mutant, Policy, run};

/// Seeds that have to notice a planted bug; the search ends with the last of them.
const ENOUGH: usize = 3;

/// Seeds in which a planted bug may hide.
const SEEDS: u64 = 3000;

fn is_caught(mutant: Mutant, seed: u64) -> bool {
    let weights = OutcomeWeights { completed: 8, failed: 6, stuck: 3, dropped: 3 };
    let mut config = Config { mutant: Some(mutant), ..Config::swarm(seed, weights) };
    if seed.is_multiple_of(2) {
        // Options hide bugs: a call that does not begin cannot go wrong.
        config.policy = Policy::default();
    }
    let is_it = |text: &String| mutant.caught_by().iter().any(|wanted| text.contains(wanted));
    run(config).violations.iter().any(is_it)
}

fn is_caught_by_what_it_breaks(mutant: Mutant) {
    let caught = (0..SEEDS).filter(|seed| is_caught(mutant, *seed)).take(ENOUGH).count();
    assert_eq!(caught, ENOUGH, "{mutant:?} was noticed in {caught} of {SEEDS} seeds");
}

macro_rules! planted {
    ($($name:ident: $mutant:ident,)*) => {
        $(
            #[test]
            fn $name() {
                is_caught_by_what_it_breaks(Mutant::$mutant);
            }
        )*

        #[test]
        fn none_is_forgotten() {
            assert_eq!(Mutant::ALL, [$(Mutant::$mutant),*]);
        }
    };
}

planted! {
    no_attempt_fence: NoAttemptFence,
    no_state_guard: NoStateGuard,
    no_deadline_guard: NoDeadlineGuard,
    report_twice: ReportTwice,
    no_dial_claim: NoDialClaim,
    wall_clock_deadlines: WallClockDeadlines,
    outbox_forgets: OutboxForgets,
    no_cancel_at_dial: NoCancelAtDial,
    pause_ignored: PauseIgnored,
    no_worker_deadline: NoWorkerDeadline,
    no_suppression: NoSuppression,
    no_number_hold: NoNumberHold,
    no_window: NoWindow,
    no_pace: NoPace,
    no_waves: NoWaves,
    no_breaker: NoBreaker,
    no_backoff: NoBackoff,
    no_concurrency_limit: NoConcurrencyLimit,
    lease_not_renewed: LeaseNotRenewed,
    key_ignored: KeyIgnored,
    epoch_ignored: EpochIgnored,
    dispatch_first: DispatchFirst,
    counters_incremented: CountersIncremented,
}
