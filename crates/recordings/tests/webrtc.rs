//! The WebRTC gate against the C code that its method is from.

use dialtone_recordings::vad::{Gate, Webrtc};

/// 16 kHz, one channel, 16 bits; a header of 44 bytes.
const SPEECH: &[u8] = include_bytes!("golden/speech-16k.wav");
/// Made by `golden/webrtc.py`.
const DECISIONS: &str = include_str!("golden/webrtc.txt");

/// Every second sample, louder and quieter, with and without noise.
fn sound() -> Vec<f32> {
    let speech: Vec<i32> = SPEECH[44..]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| i32::from(i16::from_le_bytes([bytes[0], bytes[1]])))
        .collect();
    let mut state = 1_u64;
    let mut sound = Vec::new();
    for (shift, noise) in [(0, 0), (3, 0), (0, 600), (2, 200), (5, 30), (15, 2000), (1, 0)] {
        for sample in &speech {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            let noise = (state >> 16) as i32 % (2 * noise + 1) - noise;
            let sample = ((sample >> shift) + noise).clamp(-32_768, 32_767);
            sound.push(sample as f32 / 32_768.0);
        }
    }
    sound
}

#[test]
fn the_gate_decides_as_the_c_code_does() {
    let (mut gate, mut answers) = (Webrtc::new(), Vec::new());
    for piece in sound().chunks(1001) {
        gate.push(piece, &mut answers);
    }
    let decisions: String =
        answers.iter().map(|speech| if *speech > 0.5 { '1' } else { '0' }).collect();
    let differ = decisions.bytes().zip(DECISIONS.bytes()).filter(|(a, b)| a != b).count();
    assert_eq!((decisions.len(), differ), (DECISIONS.len(), 0));
    let speech = DECISIONS.matches('1').count();
    assert!(speech > DECISIONS.len() / 5 && speech < DECISIONS.len() * 9 / 10, "{speech}");
}
