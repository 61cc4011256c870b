/// Values that spread about a mean, made by integers and exact float operations alone, so that
/// they are the same everywhere.
pub(super) struct Weights {
    state: u64,
    mean: f32,
    factor: f32,
}

impl Weights {
    /// Those of the tensor `name`; they do not depend on what else is in the model.
    pub(super) fn new(seed: u64, name: &str, mean: f32, deviation: f32) -> Self {
        // FNV-1a.
        let state = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // Four uniform numbers below 2^16 sum up to a deviation of 2^16 / sqrt(3).
        let factor = deviation * 3.0_f32.sqrt() / 65_536.0;
        Self { state: mix(state ^ mix(seed)), mean, factor }
    }
}

impl Iterator for Weights {
    type Item = f32;

    /// The sum of four uniform numbers: near enough to a normal distribution.
    fn next(&mut self) -> Option<f32> {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = mix(self.state);
        let sum: u32 = (0..4).map(|part| (bits >> (16 * part)) as u32 & 0xffff).sum();
        let centred = sum.cast_signed() - 2 * 0xffff;
        Some(self.mean + centred as f32 * self.factor)
    }
}

/// The output function of SplitMix64.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
