use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Work that the rate is taken from.
const WINDOW: Duration = Duration::from_secs(4);
/// Steps are summed up to this much work.
const SPAN: Duration = Duration::from_millis(200);
/// After so long without work the rate is 0.
const IDLE: Duration = Duration::from_secs(10);

/// Tokens per second over the last seconds of work. Time without work does not count, so that a
/// worker with little to do does not look slow.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Oldest first.
    spans: VecDeque<Span>,
}

#[derive(Debug)]
struct Span {
    end: Instant,
    work: Duration,
    tokens: u64,
}

impl Pace {
    /// A step that ended at `end` took `work` and made `tokens`.
    pub fn step(&mut self, end: Instant, work: Duration, tokens: u64) {
        match self.spans.back_mut() {
            Some(span) if span.work < SPAN && end - span.end < SPAN => {
                span.end = end;
                span.work += work;
                span.tokens += tokens;
            }
            _ => self.spans.push_back(Span { end, work, tokens }),
        }
        let mut whole: Duration = self.spans.iter().map(|span| span.work).sum();
        while let Some(oldest) = self.spans.front()
            && self.spans.len() > 1
            && (whole - oldest.work >= WINDOW || end - oldest.end > IDLE)
        {
            whole -= oldest.work;
            self.spans.pop_front();
        }
    }

    /// Tokens per second, looked at now.
    pub fn rate(&self, now: Instant) -> f64 {
        let recent = |span: &&Span| now.saturating_duration_since(span.end) <= IDLE;
        let (work, tokens) =
            self.spans.iter().filter(recent).fold((Duration::ZERO, 0), |(work, tokens), span| {
                (work + span.work, tokens + span.tokens)
            });
        if work.is_zero() { 0.0 } else { tokens as f64 / work.as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_recent_work_counts() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        assert_eq!(pace.rate(now), 0.0);
        for _ in 0..100 {
            now += 100 * MS;
            pace.step(now, 100 * MS, 1);
        }
        for _ in 0..500 {
            now += 10 * MS;
            pace.step(now, 10 * MS, 1);
        }
        // Idle time between the steps is no work.
        for _ in 0..10 {
            now += 500 * MS;
            pace.step(now, 10 * MS, 1);
        }
        assert!((pace.rate(now) - 100.0).abs() < 1.0, "{}", pace.rate(now));
        assert!(pace.spans.len() < 100);
        assert_eq!(pace.rate(now + 11_000 * MS), 0.0);
    }
}
