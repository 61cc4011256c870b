//! From a seed that goes wrong to the shortest way to see it.

use std::time::{Duration, Instant};

use crate::faults::{Fault, FaultClass};
use crate::sweep::Case;

/// Wall time that may be spent on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Simulates a seed that goes wrong with fewer and fewer entries and faults, and gives the last
/// case that still goes wrong.
pub fn shrink<'a>(case: &Case<'a>, seed: u64) -> Case<'a> {
    let began = Instant::now();
    let fails = |case: &Case<'_>| {
        began.elapsed() < PATIENCE && case.wrong(&case.run(seed, false)).is_some()
    };
    let mut least = case.clone();
    for class in FaultClass::ALL {
        let of_class: Vec<_> = Fault::all().filter(|fault| fault.class() == class).collect();
        keep_if(&mut least, fails, |case| case.faults = case.faults.without(&of_class));
    }
    let left: Vec<Fault> = least.faults.iter().collect();
    for fault in left {
        keep_if(&mut least, fails, |case| case.faults = case.faults.without(&[fault]));
    }
    // Another number of entries is another history, so that the fewest that fail are not found
    // by halves.
    for entries in (1..=8).chain((4..).map(|n| 1 << n)).take_while(|n| *n < case.entries) {
        if keep_if(&mut least, fails, |case| case.entries = entries) {
            break;
        }
    }
    least
}

/// Takes the step if it still goes wrong after it.
fn keep_if<'a>(
    least: &mut Case<'a>,
    fails: impl Fn(&Case<'_>) -> bool,
    step: impl FnOnce(&mut Case<'a>),
) -> bool {
    let mut less = least.clone();
    step(&mut less);
    let changed = less.faults != least.faults || less.entries != least.entries;
    let kept = changed && fails(&less);
    if kept {
        *least = less;
    }
    kept
}

/// The part of a trace that tells what went wrong: what happened to the call or entry that the
/// violation names, else its end.
pub fn telling(trace: &[String], violation: &str, lines: usize) -> Vec<String> {
    let call = violation.split(' ').find(|word| word.starts_with("call_"));
    let entry = call.and_then(|call| call.rsplit_once('_')).map(|(entry, _)| format!("{entry}_"));
    let about = |line: &&String| match &entry {
        Some(entry) => line.contains(entry.as_str()) || !line.contains("call_"),
        None => true,
    };
    // What came after is the same world, in which it had gone wrong already.
    let wrong = |line: &&String| line.contains("WRONG:") && line.contains(violation);
    let until = trace.iter().position(|line| wrong(&line)).map_or(trace.len(), |at| at + 1);
    let found: Vec<_> = trace[..until].iter().filter(about).cloned().collect();
    let from = found.len().saturating_sub(lines);
    found[from..].to_vec()
}
