//! How many files and sockets this process may have open.

/// Files that a process opens beside its connections, rounded up generously.
const OTHERS: u64 = 256;

/// Asks the system for room for so many connections: the limit that a shell sets is often
/// far below what the system would allow. Says so in the log where there is less room.
pub fn make_room(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    if let Some(room) = raise(wanted).filter(|room| *room < wanted) {
        tracing::warn!(
            files = room,
            wanted,
            "this process may open fewer files than it may hold connections; those beyond wait \
             (raise the limit: ulimit -n)"
        );
    }
}

/// Raises the limit to `wanted` if the system allows it, else as far as it does; gives the
/// limit that holds then, `None` if there is none.
#[cfg(unix)]
fn raise(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let current = limit.current?;
    if current >= wanted {
        return Some(current);
    }
    let current_wanted = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = Rlimit { current: Some(current_wanted), maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Some(current_wanted),
        Err(_) => Some(current),
    }
}

#[cfg(not(unix))]
fn raise(_wanted: u64) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_limit_rises_to_what_is_wanted_and_never_falls() {
        let before = raise(0).expect("a limit");
        assert_eq!(raise(before), Some(before));
        let most = raise(u64::MAX).expect("a limit");
        assert!(most >= before);
        assert_eq!(raise(1), Some(most));
    }
}
