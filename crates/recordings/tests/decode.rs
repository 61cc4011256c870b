//! Files of every kind, good and bad: what is in them is read, and what is not is said.

use std::io::Cursor;

use dialtone_recordings::{DecodeError, Decoder};
use proptest::prelude::*;

const MP3: &[u8] = include_bytes!("golden/tones.mp3");

/// What a WAV file says about itself.
#[derive(Clone, Copy)]
struct Shape {
    /// 1 whole numbers, 3 floating point, 6 A-law, 7 mu-law.
    format: u16,
    bits: u16,
    channels: u16,
    rate: u32,
}

const PLAIN: Shape = Shape { format: 1, bits: 16, channels: 2, rate: 8_000 };

impl Shape {
    fn wav(self, data: &[u8]) -> Vec<u8> {
        let Self { format, bits, channels, rate } = self;
        let block = channels * bits / 8;
        let mut wav = b"RIFF".to_vec();
        // Formats other than whole numbers say how much more they say: nothing.
        let more: &[u8] = if matches!(format, 6 | 7) { &[0, 0] } else { &[] };
        wav.extend((36 + (more.len() + data.len()) as u32).to_le_bytes());
        wav.extend(b"WAVEfmt ");
        wav.extend((16 + more.len() as u32).to_le_bytes());
        wav.extend(format.to_le_bytes());
        wav.extend(channels.to_le_bytes());
        wav.extend(rate.to_le_bytes());
        wav.extend((rate * u32::from(block)).to_le_bytes());
        wav.extend(block.to_le_bytes());
        wav.extend(bits.to_le_bytes());
        wav.extend(more);
        wav.extend(b"data");
        wav.extend((data.len() as u32).to_le_bytes());
        wav.extend(data);
        wav
    }

    /// Half of full scale on the left, a quarter below zero on the right.
    fn frame(self) -> Vec<u8> {
        let whole = |value: f64| (value * f64::from(1_u32 << 31)) as i32;
        [0.5_f64, -0.25]
            .iter()
            .flat_map(|value| match (self.format, self.bits) {
                (3, 32) => (*value as f32).to_le_bytes().to_vec(),
                (3, _) => value.to_le_bytes().to_vec(),
                // As G.711 has them: the nearest to those values.
                (6, _) => vec![if *value > 0.0 { 0xA5 } else { 0x35 }],
                (7, _) => vec![if *value > 0.0 { 0x8F } else { 0x1F }],
                (_, 8) => vec![((whole(*value) >> 24) + 128) as u8],
                (_, bits) => whole(*value).to_le_bytes()[4 - usize::from(bits / 8)..].to_vec(),
            })
            .collect()
    }
}

#[derive(Debug, Default)]
struct Read {
    left: Vec<f32>,
    right: Vec<f32>,
    truncated: bool,
    damaged: u64,
}

fn read(bytes: &[u8]) -> Result<Read, DecodeError> {
    let mut decoder = Decoder::new(Box::new(Cursor::new(bytes.to_vec())))?;
    let mut read = Read::default();
    while let Some(piece) = decoder.next_piece()? {
        assert_eq!(piece.left.len(), piece.right.len());
        read.left.extend_from_slice(piece.left);
        read.right.extend_from_slice(piece.right);
    }
    (read.truncated, read.damaged) = (decoder.is_truncated(), decoder.damaged());
    Ok(read)
}

#[test]
fn whole_and_floating_samples_of_every_width() {
    for (format, bits) in [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64), (6, 8), (7, 8)] {
        for rate in [8_000, 16_000, 44_100, 48_000] {
            let shape = Shape { format, bits, rate, ..PLAIN };
            let read = read(&shape.wav(&shape.frame().repeat(5_000))).expect("readable");
            assert_eq!(read.left.len(), 5_000, "{format} {bits}");
            let near = |value: f32, right: f32| (value - right).abs() < 0.04;
            assert!(read.left.iter().all(|x| near(*x, 0.5)), "{format} {bits}: {}", read.left[0]);
            let right = read.right[0];
            assert!(read.right.iter().all(|x| near(*x, -0.25)), "{format} {bits}: {right}");
            assert!(!read.truncated);
        }
    }
}

#[test]
fn an_mp3_keeps_what_lies_between_its_channels() {
    let read = read(MP3).expect("readable");
    let first = |channel: &[f32]| channel.iter().position(|x| x.abs() > 0.2).expect("a tone");
    let apart = (first(&read.right) - first(&read.left)) as f64 / 8_000.0;
    assert!((apart - 0.75).abs() < 0.003, "{apart}");
}

#[test]
fn what_is_no_recording_of_two_is_told() {
    let shape = |channels, rate| Shape { channels, rate, ..PLAIN };
    let told = |bytes: &[u8]| read(bytes).expect_err("nothing to read");
    let mono = told(&shape(1, 8_000).wav(&[0; 4_000]));
    assert!(matches!(mono, DecodeError::Mono) && mono.is_skip());
    let three = told(&shape(3, 8_000).wav(&[0; 6_000]));
    assert!(matches!(three, DecodeError::Channels(3)) && three.is_skip());
    assert!(matches!(told(&shape(2, 200).wav(&[0; 4_000])), DecodeError::Rate(200)));
    assert!(matches!(told(&PLAIN.wav(&[])), DecodeError::Silent));
    assert!(matches!(told(b"no sound at all"), DecodeError::Unknown));
    assert!(matches!(told(&[]), DecodeError::Unknown));
    assert!(matches!(told(&PLAIN.wav(&[0; 400])[..30]), DecodeError::Unknown));
    for error in [mono, three] {
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn a_file_that_was_cut_off_is_read_to_where_it_ends() {
    let wav = PLAIN.wav(&PLAIN.frame().repeat(20_000));
    let cut = read(&wav[..wav.len() / 2]).expect("readable");
    assert!(
        cut.truncated && cut.left.len() > 8_000 && cut.left.len() < 10_000,
        "{}",
        cut.left.len()
    );
    let cut = read(&MP3[..MP3.len() / 2]).expect("readable");
    assert!(cut.left.len() > 6_000, "{}", cut.left.len());
}

#[test]
fn what_is_no_number_is_silence() {
    let shape = Shape { format: 3, bits: 32, ..PLAIN };
    let mut data = shape.frame().repeat(100);
    data[0..4].copy_from_slice(&f32::NAN.to_le_bytes());
    data[4..8].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let read = read(&shape.wav(&data)).expect("readable");
    assert_eq!((read.left[0], read.right[0]), (0.0, 0.0));
}

/// Reads whatever it is, and listens to it: there must be an answer or an error.
fn digest(bytes: &[u8]) {
    if let Ok(read) = read(bytes) {
        let samples = read.left.len().min(80_000);
        let stereo = dialtone_recordings::Stereo {
            rate: 8_000,
            left: read.left[..samples].to_vec(),
            right: read.right[..samples].to_vec(),
        };
        let options = dialtone_recordings::Options {
            gate: dialtone_recordings::vad::GateKind::Webrtc,
            ..Default::default()
        };
        let found = dialtone_recordings::analyze(&stereo, &options);
        assert!(found.duration_s.is_finite());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..3_000)) {
        digest(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_header(
        format in prop::sample::select(vec![0_u16, 1, 2, 3, 6, 7, 17, 0xFFFE]),
        bits in 0_u16..80,
        channels in 0_u16..9,
        rate in prop::sample::select(vec![0_u32, 1, 8_000, 44_100, u32::MAX]),
        data in proptest::collection::vec(any::<u8>(), 0..3_000),
    ) {
        let shape = Shape { format, bits: 8, channels: 1, rate: 8_000 };
        let mut wav = shape.wav(&data);
        wav[22..24].copy_from_slice(&channels.to_le_bytes());
        wav[24..28].copy_from_slice(&rate.to_le_bytes());
        wav[34..36].copy_from_slice(&bits.to_le_bytes());
        digest(&wav);
    }

    #[test]
    fn a_good_file_with_a_few_bad_bytes(
        mp3 in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = if mp3 { MP3.to_vec() } else { PLAIN.wav(&PLAIN.frame().repeat(2_000)) };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(keep.index(bytes.len() + 1));
        digest(&bytes);
    }

    #[test]
    fn bad_bytes_in_the_header(
        mp3 in any::<bool>(),
        changes in proptest::collection::vec((0_usize..60, any::<u8>()), 1..8),
    ) {
        let mut bytes = if mp3 { MP3.to_vec() } else { PLAIN.wav(&PLAIN.frame().repeat(2_000)) };
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        digest(&bytes);
    }
}
