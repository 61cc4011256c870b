//! How much the clean-up promise is worth on this system.

/// What this system can promise about processes left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Every descendant ends with the parent, however the parent ends.
    Full,
    /// Some descendants can escape; the notice is meant to be printed once per run.
    Weaker {
        /// One sentence for the user.
        notice: &'static str,
    },
}

/// Says what this system can promise.
pub const fn strength() -> Strength {
    if cfg!(target_os = "linux") {
        Strength::Full
    } else if cfg!(unix) {
        Strength::Weaker {
            notice: "this system has no subreaper and no parent-death signal: a grandchild that \
                     leaves its process group can outlive the run, and leftovers cannot be counted",
        }
    } else {
        Strength::Weaker { notice: "child processes are not supported on this system yet" }
    }
}
