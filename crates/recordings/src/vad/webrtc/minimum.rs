/// Values that are remembered, and for how many frames.
const KEPT: usize = 16;
const FRAMES: i16 = 100;
/// How fast the result follows down and up, in Q15: 0.2 and 0.99.
const DOWN: i16 = 6_553;
const UP: i16 = 32_439;

/// The smallest values of a band in the last second, and from them what its noise is.
#[derive(Clone, Copy)]
pub struct Minimum {
    values: [i16; KEPT],
    ages: [i16; KEPT],
    mean: i16,
}

impl Minimum {
    pub const fn new() -> Self {
        Self { values: [10_000; KEPT], ages: [0; KEPT], mean: 1_600 }
    }

    /// Takes the value of another frame, of which there were `frames` before.
    pub fn follow(&mut self, value: i16, frames: u64) -> i16 {
        // One that leaves makes room for the next, which is then not one frame older.
        for n in 0..KEPT {
            if self.ages[n] == FRAMES {
                self.values.copy_within(n + 1.., n);
                self.ages.copy_within(n + 1.., n);
                self.values[KEPT - 1] = 10_000;
                self.ages[KEPT - 1] = FRAMES + 1;
            } else {
                self.ages[n] = self.ages[n].wrapping_add(1);
            }
        }
        if let Some(place) = self.values.iter().position(|kept| value < *kept) {
            self.values.copy_within(place..KEPT - 1, place + 1);
            self.ages.copy_within(place..KEPT - 1, place + 1);
            self.values[place] = value;
            self.ages[place] = 1;
        }
        let now = match frames {
            0 => 1_600,
            1 | 2 => self.values[0],
            _ => self.values[2],
        };
        let keep = match frames {
            0 => 0,
            _ if now < self.mean => DOWN,
            _ => UP,
        };
        let kept = (i32::from(keep) + 1) * i32::from(self.mean);
        let taken = i32::from(i16::MAX - keep) * i32::from(now);
        self.mean = ((kept + taken + 16_384) >> 15) as i16;
        self.mean
    }
}
