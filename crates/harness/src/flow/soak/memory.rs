//! What a process holds while its clients come and go.

use std::sync::{Mutex, PoisonError};

use dialtone_contract::ErrorCode;

use super::Found;
use crate::failure::Failure;
use crate::run::Run;

/// Looks during a run.
const LOOKS: u32 = 100;
/// By how much the memory of the second half may be more than that of the first, in bytes and as
/// a share: what an allocator gains and gives back by chance. A thousand clients of which each
/// leaves 16 KiB behind are 8 MiB in the second half.
const SLACK_BYTES: u64 = 4 << 20;
const SLACK_SHARE: u64 = 20;

/// The memory of a process, looked at from outside.
pub struct Memory {
    pid: u32,
    /// The place in the run, from 0 to [`LOOKS`], and the bytes.
    looks: Mutex<Vec<(u32, u64)>>,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        Self { pid, looks: Mutex::default() }
    }

    /// Looks, if it is time, when the client `number` of `clients` has gone.
    pub fn look(&self, number: u32, clients: u32) {
        let every = (clients / LOOKS).max(1);
        if !number.is_multiple_of(every) {
            return;
        }
        if let Some(bytes) = self.resident() {
            let place = u64::from(number) * u64::from(LOOKS) / u64::from(clients.max(1));
            let place = u32::try_from(place).unwrap_or(LOOKS);
            self.looks.lock().unwrap_or_else(PoisonError::into_inner).push((place, bytes));
        }
    }

    /// Whether the second half needed no more than the first.
    pub fn judge(&self, run: &Run) -> Result<Found, Failure> {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The first quarter warms up; the last of each half is where it has settled.
        let most = |from: u32, to: u32| {
            let those = looks.iter().filter(|(place, _)| (from..to).contains(place));
            those.map(|(_, bytes)| *bytes).max()
        };
        let (Some(first), Some(second)) = (most(25, 50), most(75, LOOKS + 1)) else {
            return Ok(Found::Unknown(
                "too few looks: too few clients, or the system does not tell",
            ));
        };
        run.metric("rss_first_half_bytes", first as f64);
        run.metric("rss_second_half_bytes", second as f64);
        judge(first, second).map(Found::Holds)
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> Option<usize> {
        Some(std::fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?.count())
    }

    fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }
}

fn judge(first: u64, second: u64) -> Result<String, Failure> {
    let most = first + SLACK_BYTES.max(first / SLACK_SHARE);
    let said = format!(
        "{:.1} MiB in the second half, {:.1} in the first, {:.1} at most",
        mib(second),
        mib(first),
        mib(most)
    );
    if second > most {
        return Err(Failure::new(ErrorCode::Leaked, format!("the memory grows: {said}")));
    }
    Ok(said)
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_little_more_is_chance_and_much_more_is_not() {
        assert!(judge(20 * MIB, 24 * MIB).is_ok());
        assert!(judge(20 * MIB, 19 * MIB).is_ok());
        assert!(judge(20 * MIB, 25 * MIB).is_err());
        assert!(judge(200 * MIB, 209 * MIB).is_ok());
        assert!(judge(200 * MIB, 211 * MIB).is_err());
    }

    #[test]
    fn the_halves_are_looked_at_apart() {
        let memory = Memory::of(std::process::id());
        (0..1000).for_each(|number| memory.look(number, 1000));
        let looks = memory.looks.lock().expect("no panic").len();
        assert_eq!(looks, if cfg!(target_os = "linux") { 100 } else { 0 });
    }
}
