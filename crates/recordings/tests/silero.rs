//! The Silero gate against the reference forward pass of the package that its weights are from.

use dialtone_recordings::vad::{Gate, Silero};

/// 16 kHz, one channel, 16 bits; a header of 44 bytes.
const SPEECH: &[u8] = include_bytes!("golden/speech-16k.wav");
/// Made by `golden/silero.py`.
const ANSWERS: &str = include_str!("golden/silero.json");

fn speech() -> Vec<f32> {
    let samples = SPEECH[44..].as_chunks().0.iter();
    samples.map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 32768.0).collect()
}

#[test]
fn the_gate_answers_as_the_reference_does() {
    let mut answers = Vec::new();
    let mut gate = Silero::new();
    gate.push(&speech(), &mut answers);
    gate.finish(&mut answers);
    let golden: Vec<f32> = serde_json::from_str(ANSWERS).expect("numbers");
    assert_eq!(answers.len(), golden.len());
    for (window, (answer, golden)) in answers.iter().zip(&golden).enumerate() {
        assert!((answer - golden).abs() < 2e-5, "window {window}: {answer}, not {golden}");
    }
    // It is a test of something: speech and silence are both in it.
    assert!(golden.iter().any(|p| *p < 0.01) && golden.iter().any(|p| *p > 0.99));
}

#[test]
fn pieces_change_no_bit() {
    let speech = speech();
    let whole = {
        let (mut gate, mut answers) = (Silero::new(), Vec::new());
        gate.push(&speech, &mut answers);
        gate.finish(&mut answers);
        answers
    };
    let (mut gate, mut answers) = (Silero::new(), Vec::new());
    for round in 0..2 {
        answers.clear();
        for piece in speech.chunks(777 + round) {
            gate.push(piece, &mut answers);
        }
        gate.finish(&mut answers);
        // After its end it has forgotten all, so the second round equals the first.
        assert_eq!(answers, whole);
    }
}
