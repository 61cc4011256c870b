use std::ops::Range;

use super::ear::Heard;
use super::level::{FRAME_S, frames};

/// Speech begins where the gate is this sure, of 255 ..
const ON: u8 = 128;
/// .. and lasts until it is less sure than this.
const OFF: u8 = 89;
/// What is shorter is no speech, in seconds.
const SHORTEST_S: f64 = 0.06;
/// Regions with a shorter pause between them are one, in seconds.
const PAUSE_S: f64 = 0.1;

/// Where the gate hears speech, in frames of the levels. `echo` says which of these to leave out.
pub fn regions(heard: &Heard, echo: &[bool]) -> Vec<Range<usize>> {
    let length = heard.levels.len();
    let per_answer = heard.answer_s / FRAME_S;
    let frame = |answer: usize| ((answer as f64 * per_answer).round() as usize).min(length);
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut since = None;
    for (answer, speech) in heard.speech.iter().enumerate() {
        let of = frame(answer)..frame(answer + 1);
        let leak = echo.get(of.clone()).is_some_and(|echo| {
            !echo.is_empty() && 2 * echo.iter().filter(|frame| **frame).count() > echo.len()
        });
        let speech = if leak { 0 } else { *speech };
        match since {
            None if speech >= ON => since = Some(of.start),
            Some(start) if speech < OFF => {
                since = None;
                close(&mut found, start..of.start);
            }
            _ => {}
        }
    }
    if let Some(start) = since {
        close(&mut found, start..length);
    }
    found.retain(|region| region.len() >= frames(SHORTEST_S));
    found
}

fn close(found: &mut Vec<Range<usize>>, region: Range<usize>) {
    match found.last_mut() {
        Some(last) if region.start < last.end + frames(PAUSE_S) => last.end = region.end,
        _ => found.push(region),
    }
}
