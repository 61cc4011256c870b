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
