use super::RATE;
use super::filter::from_mu_law;
use crate::Stereo;

/// A WAV file: 16 bits, left and right.
pub fn to_wav(stereo: &Stereo) -> Vec<u8> {
    let frames = stereo.left.len().min(stereo.right.len());
    let bytes = (frames * 4) as u32;
    let mut wav = Vec::with_capacity(44 + frames * 4);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + bytes).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&16_u32.to_le_bytes());
    // PCM, two channels.
    wav.extend_from_slice(&1_u16.to_le_bytes());
    wav.extend_from_slice(&2_u16.to_le_bytes());
    wav.extend_from_slice(&stereo.rate.to_le_bytes());
    wav.extend_from_slice(&(stereo.rate * 4).to_le_bytes());
    wav.extend_from_slice(&4_u16.to_le_bytes());
    wav.extend_from_slice(&16_u16.to_le_bytes());
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&bytes.to_le_bytes());
    for (left, right) in stereo.left.iter().zip(&stereo.right) {
        for sample in [left, right] {
            let value = (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
            wav.extend_from_slice(&value.to_le_bytes());
        }
    }
    wav
}

/// The samples of a WAV file with one channel of 16 bits or mu-law, 8,000 a second: what prompts
/// of telephone systems are. `None` if it is another kind of file.
pub fn from_mono_wav(wav: &[u8]) -> Option<Vec<f32>> {
    const PCM: u16 = 1;
    const MU_LAW: u16 = 7;
    let mut rest = wav.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")?;
    let mut encoding = None;
    loop {
        let (tag, length) = (rest.get(..4)?, rest.get(4..8)?);
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let body = rest.get(8..)?;
        let chunk = body.get(..length.min(body.len()))?;
        match tag {
            b"fmt " => {
                let word =
                    |at: usize| Some(u16::from_le_bytes(chunk.get(at..at + 2)?.try_into().ok()?));
                let rate = u32::from_le_bytes(chunk.get(4..8)?.try_into().ok()?);
                encoding = Some((word(0)?, word(2)?, rate, word(14)?));
            }
            b"data" => {
                return match encoding? {
                    (PCM, 1, RATE, 16) => {
                        let sample = |bytes: &[u8; 2]| f32::from(i16::from_le_bytes(*bytes));
                        let (samples, _) = chunk.as_chunks::<2>();
                        Some(samples.iter().map(|bytes| sample(bytes) / 32_768.0).collect())
                    }
                    (MU_LAW, 1, RATE, 8) => {
                        Some(chunk.iter().map(|byte| from_mu_law(*byte)).collect())
                    }
                    _ => None,
                };
            }
            _ => {}
        }
        // Chunks begin at even places.
        rest = body.get(length.checked_add(length % 2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_none() {
        let stereo = to_wav(&Stereo { rate: RATE, left: vec![0.5; 8], right: vec![0.5; 8] });
        assert_eq!(stereo.len(), 44 + 32);
        assert!(from_mono_wav(&stereo).is_none());
        let mut mono = stereo;
        mono[22] = 1;
        let samples = from_mono_wav(&mono).expect("it is mono now");
        assert_eq!((samples.len(), samples.first()), (16, Some(&0.5)));
        for length in 0..mono.len() {
            // Cut anywhere it is less, or nothing.
            let less = from_mono_wav(&mono[..length]).map_or(0, |samples| samples.len());
            assert!(less < 16, "{length}");
        }
    }
}
