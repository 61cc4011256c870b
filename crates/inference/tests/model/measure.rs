//! How far rows of logits are apart.

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// The root of the mean squared difference of two rows, each less its mean: a constant that is
/// added to all logits changes no probability.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    let (a_mean, b_mean) = (mean(a), mean(b));
    let squares = a.iter().zip(b).map(|(a, b)| (a - a_mean - b + b_mean).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}

/// The spread of a row: the root of its mean squared distance from its mean.
pub fn spread(a: &[f64]) -> f64 {
    distance(a, &vec![0.0; a.len()])
}

/// Pearson's.
pub fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (a_mean, b_mean) = (mean(a), mean(b));
    let both: f64 = a.iter().zip(b).map(|(a, b)| (a - a_mean) * (b - b_mean)).sum();
    both / a.len() as f64 / (spread(a) * spread(b))
}

/// As f64, for sums.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}
