use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dialtone_recordings::truth::{Bank, Call, Condition, Score};
use dialtone_recordings::vad::GateKind;
use dialtone_recordings::{Options, analyze};

use super::bounds::Pools;

/// Calls that are made and analysed.
pub struct Trial<'a> {
    pub bank: Bank,
    pub gates: &'a [GateKind],
    pub conditions: &'a [Condition],
    pub seeds: &'a [u64],
}

/// What came of one gate.
#[derive(Debug)]
pub struct Outcome {
    pub gate: GateKind,
    /// By condition, the ordinary ones first.
    pub scores: BTreeMap<Condition, Score>,
    /// Seconds of sound that were analysed, and of processor time that it took.
    pub audio_s: f64,
    pub cpu_s: Option<f64>,
}

impl Outcome {
    /// The scores added up.
    pub fn pools(&self) -> Pools {
        let mut pools = Pools::default();
        for (condition, score) in &self.scores {
            pools.all.add(score);
            if condition.telephone_normal() {
                pools.telephone.add(score);
            }
        }
        pools
    }

    /// How many seconds of stereo sound one processor analyses in a second.
    pub fn times_real_time(&self) -> Option<f64> {
        self.cpu_s.filter(|cpu_s| *cpu_s > 0.0).map(|cpu_s| self.audio_s / cpu_s)
    }
}

/// One call, analysed with one gate.
struct Part {
    /// Which call, in the order in which they are made.
    call: usize,
    gate: usize,
    condition: Condition,
    score: Score,
    audio_s: f64,
    cpu_s: Option<f64>,
}

impl Trial<'_> {
    /// Makes every call once and analyses it with every gate, on all processors.
    pub fn run(&self) -> Vec<Outcome> {
        let calls: Vec<(Condition, u64)> = self
            .conditions
            .iter()
            .flat_map(|condition| self.seeds.iter().map(|seed| (*condition, *seed)))
            .collect();
        let (next, parts) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let threads = thread::available_parallelism().map_or(1, usize::from).min(calls.len());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let Some(call) = calls.get(n) else { break };
                        let done = self.call(n, *call);
                        parts.lock().unwrap_or_else(|broken| broken.into_inner()).extend(done);
                    }
                });
            }
        });
        let parts = parts.into_inner().unwrap_or_else(|broken| broken.into_inner());
        self.collect(parts)
    }

    fn call(&self, n: usize, (condition, seed): (Condition, u64)) -> Vec<Part> {
        let call = Call::make(seed, condition, &self.bank);
        let analysed = |(gate, kind): (usize, &GateKind)| {
            let options = Options { gate: *kind, ..Options::default() };
            let before = cpu_s();
            let findings = analyze(&call.audio, &options);
            let cpu_s = before.zip(cpu_s()).map(|(before, after)| after - before);
            let score = Score::of(&findings.turns, &call.turns);
            Part { call: n, gate, condition, score, audio_s: call.audio.duration_s(), cpu_s }
        };
        self.gates.iter().enumerate().map(analysed).collect()
    }

    fn collect(&self, mut parts: Vec<Part>) -> Vec<Outcome> {
        // Sums of floating-point numbers depend on their order; that of threads is chance.
        parts.sort_by_key(|part| part.call);
        let of = |(n, gate): (usize, &GateKind)| {
            let mut outcome =
                Outcome { gate: *gate, scores: BTreeMap::new(), audio_s: 0.0, cpu_s: Some(0.0) };
            for part in parts.iter().filter(|part| part.gate == n) {
                outcome.scores.entry(part.condition).or_default().add(&part.score);
                outcome.audio_s += part.audio_s;
                outcome.cpu_s = outcome.cpu_s.zip(part.cpu_s).map(|(sum, part)| sum + part);
            }
            outcome
        };
        self.gates.iter().enumerate().map(of).collect()
    }
}

/// Processor time of this thread so far, in seconds, where the system tells it.
fn cpu_s() -> Option<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
