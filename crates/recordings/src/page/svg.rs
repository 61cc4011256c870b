//! Numbers in drawings.

/// A coordinate: a tenth is as fine as anybody sees.
pub fn at(value: f64) -> String {
    let tenths = (value * 10.0).round() / 10.0;
    if tenths.fract() == 0.0 { format!("{tenths:.0}") } else { format!("{tenths:.1}") }
}

/// A step for a scale: 1, 2 or 5 times a power of ten, with at most so many steps up to `end`.
pub fn step(end: f64, most: f64) -> f64 {
    let rough = (end / most).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|n| n * power)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_few() {
        for (end, most, expected) in [(4_000.0, 8.0, 500.0), (85.0, 10.0, 10.0), (0.9, 5.0, 0.2)] {
            assert!((step(end, most) - expected).abs() < 1e-9, "{end} {}", step(end, most));
        }
        assert_eq!((at(3.0).as_str(), at(3.12).as_str()), ("3", "3.1"));
    }
}
