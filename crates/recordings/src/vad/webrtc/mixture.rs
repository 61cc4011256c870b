use super::BANDS;
use super::minimum::Minimum;

/// Gaussians of a mixture.
const PARTS: usize = 2;
/// A value of each Gaussian of each band.
type Table = [[i16; BANDS]; PARTS];

/// How much each band counts.
const WEIGHTS: [i32; BANDS] = [6, 8, 10, 12, 14, 16];
/// From this likelihood ratio on it is speech, in one band alone and in all together.
const LOCAL: i32 = 94;
const GLOBAL: i32 = 1_100;
/// Weights of the Gaussians in Q7, of noise and of speech.
const NOISE_WEIGHTS: Table = [[34, 62, 72, 66, 53, 25], [94, 66, 56, 62, 75, 103]];
const SPEECH_WEIGHTS: Table = [[48, 82, 45, 87, 50, 47], [80, 46, 83, 41, 78, 81]];
/// Means and deviations to begin with, in Q7.
const NOISE_MEANS: Table =
    [[6738, 4892, 7065, 6715, 6771, 3369], [7646, 3863, 7820, 7266, 5020, 4362]];
const SPEECH_MEANS: Table =
    [[8306, 10085, 10078, 11823, 11843, 6309], [9473, 9571, 10879, 7581, 8180, 7483]];
const NOISE_DEVIATIONS: Table = [[378, 1064, 493, 582, 688, 593], [474, 697, 475, 688, 421, 455]];
const SPEECH_DEVIATIONS: Table =
    [[555, 505, 567, 524, 585, 1231], [509, 828, 492, 1540, 1079, 850]];
/// How fast noise, speech and the long-term correction are followed, in Q15, Q15 and Q8.
const NOISE_UPDATE: i32 = 655;
const SPEECH_UPDATE: i32 = 6_554;
const BACK: i32 = 154;
/// Limits of the means in Q7, and the least distance between speech and noise in Q5.
const APART: [i16; BANDS] = [544, 544, 576, 576, 576, 576];
const SPEECH_MOST: [i16; BANDS] = [11_392, 11_392, 11_520, 11_520, 11_520, 11_520];
const SPEECH_LEAST: [i16; PARTS] = [640, 768];
const NOISE_MOST: [i16; BANDS] = [9_216, 9_088, 8_960, 8_832, 8_704, 8_576];
/// The least deviation.
const NARROWEST: i16 = 384;

/// What speech and noise sound like, so far.
pub struct Model {
    noise_means: Table,
    speech_means: Table,
    noise_deviations: Table,
    speech_deviations: Table,
    minima: [Minimum; BANDS],
    frames: u64,
}

/// How well the Gaussians of one band fit a frame.
#[derive(Clone, Copy, Default)]
struct Fit {
    /// Distance from each mean, in Q11.
    noise_delta: [i16; PARTS],
    speech_delta: [i16; PARTS],
    /// What part each Gaussian has in the whole, in Q14.
    noise_share: [i16; PARTS],
    speech_share: [i16; PARTS],
}

impl Model {
    pub const fn new() -> Self {
        Self {
            noise_means: NOISE_MEANS,
            speech_means: SPEECH_MEANS,
            noise_deviations: NOISE_DEVIATIONS,
            speech_deviations: SPEECH_DEVIATIONS,
            minima: [Minimum::new(); BANDS],
            frames: 0,
        }
    }

    /// Whether a frame with these energies is speech; the model follows it either way.
    pub fn decide(&mut self, features: &[i16; BANDS]) -> bool {
        let mut fits = [Fit::default(); BANDS];
        let mut speech = false;
        let mut ratios = 0;
        for (band, fit) in fits.iter_mut().enumerate() {
            let ratio = self.fit(band, features[band], fit);
            ratios += ratio * WEIGHTS[band];
            speech |= ratio * 4 > LOCAL;
        }
        speech |= ratios >= GLOBAL;
        // The limit of a band's speech is that of the band before it.
        let mut most = 12_800;
        for (band, fit) in fits.iter().enumerate() {
            self.follow(band, features[band], fit, speech, most);
            self.keep_apart(band);
            most = SPEECH_MOST[band];
        }
        self.frames += 1;
        speech
    }

    /// Fits one band; the binary logarithm of how much likelier speech is.
    fn fit(&self, band: usize, feature: i16, fit: &mut Fit) -> i32 {
        let mut noise = [0_i32; PARTS];
        let mut speech = [0_i32; PARTS];
        for part in 0..PARTS {
            let (mean, deviation) =
                (self.noise_means[part][band], self.noise_deviations[part][band]);
            let (likely, delta) = gaussian(feature, mean, deviation);
            noise[part] = i32::from(NOISE_WEIGHTS[part][band]) * likely;
            fit.noise_delta[part] = delta;
            let (mean, deviation) =
                (self.speech_means[part][band], self.speech_deviations[part][band]);
            let (likely, delta) = gaussian(feature, mean, deviation);
            speech[part] = i32::from(SPEECH_WEIGHTS[part][band]) * likely;
            fit.speech_delta[part] = delta;
        }
        let (noise_sum, speech_sum) = (noise[0] + noise[1], speech[0] + speech[1]);
        fit.noise_share = shares(noise[0], noise_sum).unwrap_or([16_384, 0]);
        fit.speech_share = shares(speech[0], speech_sum).unwrap_or([0, 0]);
        let shifts = |sum: i32| if sum == 0 { 31 } else { sum.leading_zeros() as i32 - 1 };
        shifts(noise_sum) - shifts(speech_sum)
    }

    /// Moves the Gaussians of one band towards the frame: those of speech or those of noise.
    fn follow(&mut self, band: usize, feature: i16, fit: &Fit, speech: bool, most: i16) {
        let minimum = self.minima[band].follow(feature, self.frames);
        let noise_mean = (weighted(&self.noise_means, &NOISE_WEIGHTS, band) >> 6) as i16;
        let correction = (minimum << 4).wrapping_sub(noise_mean);
        for (part, lowest) in SPEECH_LEAST.into_iter().enumerate() {
            let old_noise = self.noise_means[part][band];
            let old_speech = self.speech_means[part][band];
            let mut noise = old_noise;
            if !speech {
                let delta = scaled(fit.noise_share[part], fit.noise_delta[part]);
                noise = noise.wrapping_add(((i32::from(delta) * NOISE_UPDATE) >> 22) as i16);
            }
            noise = noise.wrapping_add(((i32::from(correction) * BACK) >> 9) as i16);
            let least = (part as i16 + 5) << 7;
            let highest = (72 + part as i16 - band as i16) << 7;
            self.noise_means[part][band] = noise.max(least).min(highest);
            if speech {
                let delta = scaled(fit.speech_share[part], fit.speech_delta[part]);
                let step = ((i32::from(delta) * SPEECH_UPDATE) >> 21) as i16;
                let mean = old_speech.wrapping_add(((i32::from(step) + 1) >> 1) as i16);
                let mean = mean.max(lowest).min(most + 640);
                self.speech_means[part][band] = mean;
                let away = feature.wrapping_sub((old_speech + 4) >> 3);
                let deviation = &mut self.speech_deviations[part][band];
                let wider = ((i32::from(fit.speech_delta[part]) * i32::from(away)) >> 3) - 4096;
                let wider = (i32::from(fit.speech_share[part] >> 2)).wrapping_mul(wider) >> 4;
                let step = divided(wider, deviation.wrapping_mul(10));
                *deviation = (*deviation + (step.wrapping_add(128) >> 8)).max(NARROWEST);
            } else {
                let away = feature.wrapping_sub(old_noise >> 3);
                let deviation = &mut self.noise_deviations[part][band];
                let wider = ((i32::from(fit.noise_delta[part]) * i32::from(away)) >> 3) - 4096;
                let share = i32::from((fit.noise_share[part] + 2) >> 2);
                let wider = share.wrapping_mul(wider) >> 14;
                let step = divided(wider, *deviation);
                *deviation = (*deviation + (step.wrapping_add(32) >> 6)).max(NARROWEST);
            }
        }
    }

    /// Speech stays louder than noise, and both in their limits.
    fn keep_apart(&mut self, band: usize) {
        let mut noise = weighted(&self.noise_means, &NOISE_WEIGHTS, band);
        let mut speech = weighted(&self.speech_means, &SPEECH_WEIGHTS, band);
        let apart = ((speech >> 9) as i16).wrapping_sub((noise >> 9) as i16);
        if apart < APART[band] {
            let lacking = i32::from(APART[band].wrapping_sub(apart));
            for part in 0..PARTS {
                let mean = &mut self.speech_means[part][band];
                *mean = mean.wrapping_add(((13 * lacking) >> 2) as i16);
                let mean = &mut self.noise_means[part][band];
                *mean = mean.wrapping_sub(((3 * lacking) >> 2) as i16);
            }
            speech = weighted(&self.speech_means, &SPEECH_WEIGHTS, band);
            noise = weighted(&self.noise_means, &NOISE_WEIGHTS, band);
        }
        let over = ((speech >> 7) as i16).wrapping_sub(SPEECH_MOST[band]).max(0);
        self.speech_means.iter_mut().for_each(|means| means[band] -= over);
        let over = ((noise >> 7) as i16).wrapping_sub(NOISE_MOST[band]).max(0);
        self.noise_means.iter_mut().for_each(|means| means[band] -= over);
    }
}

/// The density of a Gaussian in Q20, and the distance from its mean by its variance in Q11.
fn gaussian(feature: i16, mean: i16, deviation: i16) -> (i32, i16) {
    let inverse = ((131_072 + (i32::from(deviation) >> 1)) / i32::from(deviation)) as i16;
    let quarter = i32::from(inverse >> 2);
    let inverse_square = ((quarter * quarter) >> 2) as i16;
    let away = (feature << 3).wrapping_sub(mean);
    let delta = ((i32::from(inverse_square) * i32::from(away)) >> 10) as i16;
    let exponent = (i32::from(delta) * i32::from(away)) >> 9;
    // What is larger is zero in Q10.
    if exponent >= 22_005 {
        return (0, delta);
    }
    let power = ((5_909_i32.wrapping_mul(exponent) >> 12) as i16).wrapping_neg();
    let fraction = 0x0400 | (power & 0x03FF);
    let shift = ((power ^ -1) >> 10) + 1;
    // Nothing is left of ten bits after so many shifts.
    let value = fraction >> shift.clamp(0, 15);
    (i32::from(inverse) * i32::from(value), delta)
}

/// What part the first of two has in their sum, and what is left to the second, in Q14.
fn shares(first: i32, sum: i32) -> Option<[i16; PARTS]> {
    let whole = (sum >> 12) as i16;
    if whole <= 0 {
        return None;
    }
    let share = (((first as u32 & 0xFFFF_F000) << 2) as i32 / i32::from(whole)) as i16;
    Some([share, 16_384_i16.wrapping_sub(share)])
}

fn divided(value: i32, by: i16) -> i16 {
    value.checked_div(i32::from(by)).unwrap_or(i32::MAX) as i16
}

fn scaled(share: i16, delta: i16) -> i16 {
    ((i32::from(share) * i32::from(delta)) >> 11) as i16
}

fn weighted(means: &Table, weights: &Table, band: usize) -> i32 {
    (0..PARTS).map(|part| i32::from(means[part][band]) * i32::from(weights[part][band])).sum()
}
