use std::time::{Duration, Instant};

use super::Options;
use super::sequence::Sequence;

/// How long what runs is likely to take, from what was seen so far.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    /// Seconds of a usual step; 0 before the first.
    step: f64,
    /// Tokens of a usual answer; 0 before the first.
    answer: f64,
}

impl Estimate {
    pub fn stepped(&mut self, took: Duration) {
        self.step = towards(self.step, took.as_secs_f64());
    }

    pub fn answered(&mut self, tokens: usize) {
        self.answer = towards(self.answer, tokens as f64);
    }

    /// When the first of `running` is likely to end. An answer is taken to be as long as they
    /// usually are, and one that is longer already to use all of its room; every step runs one
    /// token of each answer, or a chunk of a prompt. One that pauses for its reader counts as
    /// ending when that has taken too long: nothing tells when it will be read again.
    pub fn next_end<'a>(
        &self,
        running: impl Iterator<Item = &'a Sequence>,
        options: &Options,
        now: Instant,
    ) -> Option<Instant> {
        let chunk = options.chunk_rows.max(1);
        let ends = running.filter_map(|sequence| {
            if sequence.is_paused() {
                return sequence.paused_until(options.stuck_after);
            }
            let generated = sequence.generated();
            let most = sequence.room.saturating_sub(sequence.tokens().len());
            let usual = (self.answer as usize).checked_sub(generated).filter(|left| *left > 0);
            let steps = sequence.pending().div_ceil(chunk) + usual.unwrap_or(most).min(most);
            now.checked_add(Duration::try_from_secs_f64(steps as f64 * self.step).ok()?)
        });
        ends.min()
    }
}

/// The mean, the later values counting for more.
fn towards(mean: f64, value: f64) -> f64 {
    if mean == 0.0 { value } else { mean + (value - mean) / 8.0 }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::desk::Waiting;
    use super::super::outlet::Outlet;
    use super::*;
    use crate::sampling::Sampling;

    fn sequence(prompt: usize, max_tokens: usize) -> Sequence {
        let request = Request {
            id: String::new(),
            prompt: vec![1; prompt],
            max_tokens,
            sampling: Sampling::default(),
            stop: Vec::new(),
            session: None,
            ignore_end: false,
        };
        let (outlet, _) = Outlet::new(1);
        Sequence::new(Waiting::new(request, outlet), 10_000, 0)
    }

    #[test]
    fn the_first_to_end_counts() {
        let now = Instant::now();
        let options = Options { chunk_rows: 10, ..Options::default() };
        let mut estimate = Estimate::default();
        let running = [sequence(100, 500), sequence(10, 800)];
        let seconds = |estimate: &Estimate, running: &[Sequence]| {
            let end = estimate.next_end(running.iter(), &options, now).expect("some run");
            (end - now).as_secs_f64()
        };
        assert_eq!(seconds(&estimate, &running), 0.0);
        assert_eq!(estimate.next_end([].iter(), &options, now), None);
        estimate.stepped(Duration::from_millis(10));
        // Ten steps to read and 500 to speak, unless answers are usually shorter.
        assert!((seconds(&estimate, &running) - 5.1).abs() < 1e-6);
        estimate.answered(40);
        assert!((seconds(&estimate, &running) - 0.41).abs() < 1e-6);
        assert!((seconds(&estimate, &running[..1]) - 0.5).abs() < 1e-6);
    }
}
