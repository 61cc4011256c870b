//! What a worker's heartbeats must be.

use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;
use dialtone_contract::wire::{Heartbeat, WorkerHealth};

use crate::failure::Failure;
use crate::hive::Arrival;

/// Lines of evidence: the newest beats.
const SHOWN: usize = 5;

/// Seconds by which a beat's time may differ from ours: both are of one machine.
const NEAR: i64 = 60;

/// What our worker's beats say of it.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its id.
    pub worker_id: String,
    /// What it was started with.
    pub nonce: String,
    /// Its process id.
    pub pid: u32,
    /// Its port.
    pub port: u16,
    /// Its model.
    pub model_id: String,
    /// What computes.
    pub backend: &'static str,
    /// Its slots.
    pub slots: usize,
    /// How often it beats.
    pub interval: Duration,
}

/// What was seen of beats that are as they must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// How many.
    pub count: usize,
    /// The 99th percentile of the time between two regular ones.
    pub gap_p99: Duration,
    /// What the last one says of its memory.
    pub rss_bytes: Option<u64>,
}

/// Between two beats at most: the interval with its jitter, and what a busy machine adds.
fn gap_max(interval: Duration) -> Duration {
    interval * 3 / 2 + Duration::from_millis(500)
}

/// Holds everything that came until `now`, from the worker's start on, to what must come.
///
/// # Errors
/// `no_heartbeat`, with what is missing or wrong.
pub fn judge(arrivals: &[Arrival], expected: &Expected, now: Instant) -> Result<Seen, Failure> {
    let beats = of_ours(arrivals, expected)?;
    let fail = |why: String| Err(failure(why, arrivals));
    if let Some(why) = in_sequence(&beats, 0) {
        return fail(why);
    }
    if let Some(why) = order(&beats) {
        return fail(why);
    }
    if let Some(why) = beats.iter().find_map(|(at, beat)| payload(*at, beat, expected)) {
        return fail(why);
    }
    let regular: Vec<Instant> = beats
        .iter()
        .filter(|(_, beat)| beat.health_status == WorkerHealth::Healthy)
        .map(|(at, _)| *at)
        .collect();
    let (Some(first), Some(last)) = (regular.first(), regular.last()) else {
        return fail("no beat says that the worker is healthy".to_owned());
    };
    let (since, silent) = (now.duration_since(*first), now.duration_since(*last));
    let most = gap_max(expected.interval);
    if silent > most {
        return fail(format!("the last beat is {} ms old", silent.as_millis()));
    }
    let gaps = gaps(&regular);
    let gap_p99 = quantile(&gaps, 99);
    if gap_p99 > most {
        return fail(format!(
            "{} ms passed between two beats, {} at most at this interval",
            gap_p99.as_millis(),
            most.as_millis()
        ));
    }
    let (least, bound) = counts(since, expected.interval);
    if regular.len() < least || regular.len() > bound {
        return fail(format!(
            "{} beats in {} ms at an interval of {} ms; {least} to {bound} are right",
            regular.len(),
            since.as_millis(),
            expected.interval.as_millis()
        ));
    }
    let rss_bytes = beats.last().and_then(|(_, beat)| beat.rss_bytes);
    Ok(Seen { count: beats.len(), gap_p99, rss_bytes })
}

/// Holds the beats that came after the hive was back to those before: the same worker, its count
/// gone on, and no flood of what could not be sent.
///
/// # Errors
/// `no_heartbeat`, with what is wrong.
pub fn resumed(
    before: &[Arrival],
    after: &[Arrival],
    expected: &Expected,
    since: Duration,
) -> Result<(), Failure> {
    let fail = |why: String| Err(failure(why, after));
    let last = of_ours(before, expected)?.last().map_or(0, |(_, beat)| beat.seq);
    let beats = of_ours(after, expected)?;
    let Some((_, first)) = beats.first() else {
        return fail("no beat came".to_owned());
    };
    if first.seq <= last {
        return fail(format!("seq went back from {last} to {}", first.seq));
    }
    // At least one was sent to the hive that was away, and every try has a number of its own.
    if first.seq == last + 1 {
        return fail(format!("seq {} came after {last}: what was lost was sent again", first.seq));
    }
    if let Some(why) = in_sequence(&beats, first.seq) {
        return fail(why);
    }
    if let Some(why) = beats.iter().find_map(|(at, beat)| payload(*at, beat, expected)) {
        return fail(why);
    }
    let (_, most) = counts(since, expected.interval);
    if beats.len() > most {
        let n = beats.len();
        return fail(format!(
            "{n} beats in {} ms: those that were lost came too",
            since.as_millis()
        ));
    }
    Ok(())
}

/// Whether the last word is `stopped`.
///
/// # Errors
/// `no_heartbeat`, with what came instead.
pub fn last_words(arrivals: &[Arrival]) -> Result<(), Failure> {
    match arrivals.last().map(|arrival| &arrival.beat) {
        Some(Ok(beat)) if beat.health_status == WorkerHealth::Stopped => Ok(()),
        Some(Ok(beat)) => {
            let said = beat.health_status.as_str();
            Err(failure(format!("the last beat says `{said}`, not `stopped`"), arrivals))
        }
        _ => Err(failure("there is no last beat that can be read".to_owned(), arrivals)),
    }
}

type Beats<'a> = Vec<(Instant, &'a Heartbeat)>;

/// The beats, all of them readable and all of them ours.
fn of_ours<'a>(arrivals: &'a [Arrival], expected: &Expected) -> Result<Beats<'a>, Failure> {
    let mut beats = Vec::with_capacity(arrivals.len());
    for arrival in arrivals {
        match &arrival.beat {
            Ok(beat) => beats.push((arrival.at, beat)),
            Err(why) => {
                return Err(failure(format!("a heartbeat cannot be read: {why}"), arrivals));
            }
        }
    }
    let stranger = beats.iter().find(|(_, beat)| {
        beat.worker_id != expected.worker_id || beat.nonce.as_ref() != Some(&expected.nonce)
    });
    match stranger {
        None if beats.is_empty() => Err(failure("no heartbeat came".to_owned(), arrivals)),
        None => Ok(beats),
        Some((_, beat)) if beat.worker_id != expected.worker_id => {
            let (theirs, ours) = (&beat.worker_id, &expected.worker_id);
            let why = format!("a beat is of the worker `{theirs}`, not of ours, `{ours}`");
            Err(failure(why, arrivals))
        }
        Some((_, beat)) => {
            let shown = if beat.nonce.is_some() { "another nonce" } else { "no nonce" };
            let why = format!("a beat under the id of our worker shows {shown}: a stranger's");
            Err(failure(why, arrivals))
        }
    }
}

fn in_sequence(beats: &Beats<'_>, from: u64) -> Option<String> {
    let wrong = (from..).zip(beats).find(|(seq, (_, beat))| beat.seq != *seq);
    wrong.map(|(seq, (_, beat))| format!("a beat has seq {} where {seq} must come", beat.seq))
}

/// `starting` first, then `healthy` for good.
fn order(beats: &Beats<'_>) -> Option<String> {
    let words: Vec<_> = beats.iter().map(|(_, beat)| beat.health_status).collect();
    let first = *words.first()?;
    if first != WorkerHealth::Starting {
        return Some(format!("the first beat says `{}`, not `starting`", first.as_str()));
    }
    let loaded = words.iter().position(|word| *word != WorkerHealth::Starting)?;
    let odd = words[loaded..].iter().find(|word| **word != WorkerHealth::Healthy)?;
    Some(format!("a beat says `{}` of a worker that takes work", odd.as_str()))
}

/// What is wrong with what a beat says of its worker.
fn payload(at: Instant, beat: &Heartbeat, expected: &Expected) -> Option<String> {
    let worker = &beat.worker;
    let same = |what: &str, said: &dyn std::fmt::Display, wanted: &dyn std::fmt::Display| {
        let (said, wanted) = (said.to_string(), wanted.to_string());
        (said != wanted).then(|| format!("a beat's {what} is `{said}`, not `{wanted}`"))
    };
    let says = |what: &str, holds: bool| (!holds).then(|| format!("a beat's {what}"));
    let loaded = beat.health_status != WorkerHealth::Starting;
    let has_memory = beat.rss_bytes.is_some_and(|rss| rss > 0) || !cfg!(target_os = "linux");
    let time = beat.timestamp.parse::<jiff::Timestamp>();
    let came = jiff::Timestamp::now() - at.elapsed();
    let near = time.is_ok_and(|time| (came.as_second() - time.as_second()).abs() < NEAR);
    same("worker.id", &worker.id, &expected.worker_id)
        .or_else(|| same("worker.pid", &worker.pid, &expected.pid))
        .or_else(|| same("worker.port", &worker.port, &expected.port))
        .or_else(|| same("worker.model_id", &worker.model_id, &expected.model_id))
        .or_else(|| same("worker.backend", &worker.backend, &expected.backend))
        // Before the model is there, nobody knows how many fit.
        .or_else(|| loaded.then(|| same("slots_total", &beat.slots_total, &expected.slots))?)
        .or_else(|| {
            says(
                "slots_busy is more than slots_total",
                !loaded || beat.slots_busy <= beat.slots_total,
            )
        })
        .or_else(|| {
            says(
                "tokens_per_sec is no speed",
                beat.tokens_per_sec >= 0.0 && beat.tokens_per_sec.is_finite(),
            )
        })
        .or_else(|| says("rss_bytes is missing", has_memory))
        .or_else(|| says("timestamp is not the time of now in RFC 3339", near))
        .or_else(|| {
            says(
                "implementation or version is empty",
                !worker.implementation.is_empty() && !worker.version.is_empty(),
            )
        })
}

/// The least and the most regular beats of so long a time.
fn counts(since: Duration, interval: Duration) -> (usize, usize) {
    let of = |interval: Duration| since.as_millis() / interval.as_millis().max(1);
    let least = of(gap_max(interval));
    // A third more often than asked is no jitter any more; a change of state may add one, and
    // one may have been held up.
    let most = of(interval * 3 / 4) + 3;
    (usize::try_from(least).unwrap_or(usize::MAX), usize::try_from(most).unwrap_or(usize::MAX))
}

fn gaps(times: &[Instant]) -> Vec<Duration> {
    let mut gaps: Vec<_> = times.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
    gaps.sort_unstable();
    gaps
}

/// A percentile of sorted durations, rounded up; zero of none.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn failure(why: String, arrivals: &[Arrival]) -> Failure {
    let shown = &arrivals[arrivals.len().saturating_sub(SHOWN)..];
    let lines = shown.iter().map(|arrival| match &arrival.beat {
        Ok(beat) => {
            let Heartbeat { seq, worker_id, slots_busy, slots_total, .. } = beat;
            let said = beat.health_status.as_str();
            format!("seq {seq} of {worker_id}: {said}, {slots_busy}/{slots_total} slots busy")
        }
        Err(why) => format!("unreadable: {why}"),
    });
    Failure::new(ErrorCode::NoHeartbeat, why).evidence(lines)
}

#[cfg(test)]
#[path = "beats_tests.rs"]
mod tests;
