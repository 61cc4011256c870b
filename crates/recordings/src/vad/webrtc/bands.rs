use super::{BANDS, FRAME, MIN_ENERGY};

/// Of the two all-pass filters that split a band, in Q15: 0.64 and 0.17.
const ALL_PASS: [i32; 2] = [20_972, 5_571];
/// Makes up for the halving in the splits, of each band.
const OFFSETS: [i16; BANDS] = [368, 368, 272, 176, 176, 176];
/// 160 * log10(2) in Q9.
const LOG: i32 = 24_660;
/// Of the high pass at 80 Hz, at 500 samples a second, in Q14.
const HIGH_PASS_ZEROS: [i32; 3] = [6_631, -13_262, 6_631];
const HIGH_PASS_POLES: [i32; 2] = [-7_756, 5_620];

/// Splits a channel into bands: 80, 250, 500, 1000, 2000, 3000 and 4000 Hz are their limits.
#[derive(Default)]
pub struct Bands {
    splits: [[i16; 2]; 5],
    high_pass: [i16; 4],
}

impl Bands {
    /// The energy of each band of a frame, 160 times its decimal logarithm, and whether there is
    /// any: an energy up to the least, or something above it.
    pub fn features(&mut self, frame: &[i16; FRAME]) -> ([i16; BANDS], i16) {
        let mut features = [0; BANDS];
        let mut energy = 0;
        let [to_4000, to_3000, to_2000, to_1000, to_500] = &mut self.splits;
        let (upper, lower) = split::<80, 40>(frame, to_4000);
        let (highest, high) = split::<40, 20>(&upper, to_3000);
        features[5] = log_energy(&highest, OFFSETS[5], &mut energy);
        features[4] = log_energy(&high, OFFSETS[4], &mut energy);
        let (middle, low) = split::<40, 20>(&lower, to_2000);
        features[3] = log_energy(&middle, OFFSETS[3], &mut energy);
        let (low, lower) = split::<20, 10>(&low, to_1000);
        features[2] = log_energy(&low, OFFSETS[2], &mut energy);
        let (lower, lowest) = split::<10, 5>(&lower, to_500);
        features[1] = log_energy(&lower, OFFSETS[1], &mut energy);
        let lowest = high_pass(&lowest, &mut self.high_pass);
        features[0] = log_energy(&lowest, OFFSETS[0], &mut energy);
        (features, energy)
    }
}

/// The upper and the lower half of a band, with half the samples each.
fn split<const IN: usize, const OUT: usize>(
    samples: &[i16; IN],
    states: &mut [i16; 2],
) -> ([i16; OUT], [i16; OUT]) {
    let mut branches = [[0_i16; OUT]; 2];
    for (n, branch) in branches.iter_mut().enumerate() {
        let mut state = i32::from(states[n]) << 16;
        for (out, pair) in branch.iter_mut().zip(samples.chunks_exact(2)) {
            let sample = i32::from(pair[n]);
            let passed = (state.wrapping_add(ALL_PASS[n] * sample) >> 16) as i16;
            *out = passed;
            state = ((sample << 14) - ALL_PASS[n] * i32::from(passed)).wrapping_mul(2);
        }
        states[n] = (state >> 16) as i16;
    }
    let [one, other] = branches;
    let upper = std::array::from_fn(|n| one[n].wrapping_sub(other[n]));
    let lower = std::array::from_fn(|n| one[n].wrapping_add(other[n]));
    (upper, lower)
}

fn high_pass(samples: &[i16; 5], state: &mut [i16; 4]) -> [i16; 5] {
    samples.map(|sample| {
        let sum = HIGH_PASS_ZEROS[0] * i32::from(sample)
            + HIGH_PASS_ZEROS[1] * i32::from(state[0])
            + HIGH_PASS_ZEROS[2] * i32::from(state[1])
            - HIGH_PASS_POLES[0] * i32::from(state[2])
            - HIGH_PASS_POLES[1] * i32::from(state[3]);
        *state = [sample, state[0], (sum >> 14) as i16, state[2]];
        state[2]
    })
}

/// The logarithm of an energy, as above. `total` grows until there is enough in all bands.
fn log_energy(samples: &[i16], offset: i16, total: &mut i16) -> i16 {
    let (energy, scaled) = energy(samples);
    if energy == 0 {
        return offset;
    }
    // To 15 bits, whose leading one is 14 in Q10, and the others its fraction.
    let shift = 17 - energy.leading_zeros() as i32;
    let shifts = scaled + shift;
    let energy = if shift < 0 { energy << -shift } else { energy >> shift };
    let log2 = 14_336 + ((energy & 0x3FFF) >> 4) as i32;
    let log = (((LOG * log2) >> 19) + ((shifts * LOG) >> 9)) as i16;
    if *total <= MIN_ENERGY {
        *total += if shifts >= 0 { MIN_ENERGY + 1 } else { (energy >> -shifts) as i16 };
    }
    log.max(0) + offset
}

/// The sum of squares, shifted so far to the right that it cannot overflow; and how far.
fn energy(samples: &[i16]) -> (u32, i32) {
    let sizes = samples.iter().map(|sample| i32::from(sample.wrapping_abs()));
    let largest = sizes.fold(-1, i32::max);
    if largest == 0 {
        return (0, 0);
    }
    let bits = (usize::BITS - samples.len().leading_zeros()) as i32;
    let room = (largest * largest).leading_zeros() as i32 - 1;
    let scaled = if room > bits { 0 } else { bits - room };
    let squares = samples.iter().map(|sample| (i32::from(*sample).pow(2)) >> scaled);
    (squares.fold(0, i32::wrapping_add) as u32, scaled)
}
