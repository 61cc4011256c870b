/// Below the loudest parts by so much, speech counts as over.
const EDGE_DB: f64 = 35.0;
/// Length of the windows that the level is taken in.
const WINDOW_S: f64 = 0.001;
/// Length of the ramps at both ends, without which a cut would click.
const FADE_S: f64 = 0.002;
/// The share of windows that are quieter than what counts as loud.
const LOUD: f64 = 0.95;

/// Cuts what lies before and after the speech: from the first to the last millisecond whose level
/// is within 35 dB of the 95th percentile of all. What is left begins and ends with speech, so
/// that its place in a call is the place of its edges. Empty if there is no sound.
pub fn trim(samples: &[f32], rate: u32) -> Vec<f32> {
    let window = ((f64::from(rate) * WINDOW_S) as usize).max(1);
    let level = |part: &[f32]| {
        let power: f64 = part.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        (power / part.len() as f64).sqrt()
    };
    let levels: Vec<f64> = samples.chunks(window).map(level).collect();
    let mut sorted = levels.clone();
    sorted.sort_by(f64::total_cmp);
    let Some(loud) = sorted.get((sorted.len() as f64 * LOUD) as usize).copied() else {
        return Vec::new();
    };
    let floor = loud * 10_f64.powf(-EDGE_DB / 20.0);
    let heard = |level: &f64| *level > floor;
    let (Some(first), Some(last)) = (levels.iter().position(heard), levels.iter().rposition(heard))
    else {
        return Vec::new();
    };
    let end = ((last + 1) * window).min(samples.len());
    let mut cut = samples.get(first * window..end).unwrap_or_default().to_vec();
    fade(&mut cut, rate);
    cut
}

/// Ramps both ends.
fn fade(samples: &mut [f32], rate: u32) {
    let ramp = ((f64::from(rate) * FADE_S) as usize).min(samples.len() / 2);
    let gain = |n: usize| (n as f32 + 0.5) / ramp as f32;
    for (n, sample) in samples.iter_mut().take(ramp).enumerate() {
        *sample *= gain(n);
    }
    fade_out(samples, ramp);
}

/// Ramps the last `ramp` samples down.
pub fn fade_out(samples: &mut [f32], ramp: usize) {
    for (n, sample) in samples.iter_mut().rev().take(ramp).enumerate() {
        *sample *= (n as f32 + 0.5) / ramp as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_before_and_after_is_cut_to_the_millisecond() {
        let tone = (0..800).map(|n| (n as f32 * 0.7).sin());
        let samples: Vec<f32> = std::iter::repeat_n(0.0, 400)
            .chain(tone)
            .chain(std::iter::repeat_n(0.0, 240))
            .collect();
        let cut = trim(&samples, 8_000);
        assert_eq!(cut.len(), 800);
        assert!(cut.iter().take(2).all(|sample| sample.abs() < 0.1), "{:?}", cut.get(..4));
    }

    #[test]
    fn what_has_no_sound_leaves_nothing() {
        assert!(trim(&[], 8_000).is_empty());
        assert!(trim(&[0.0; 100], 8_000).is_empty());
    }
}
