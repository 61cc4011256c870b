//! Whole recordings: what is found does not depend on how they come, and what is odd is told.

use dialtone_recordings::truth::{Bank, Call, Condition};
use dialtone_recordings::vad::GateKind;
use dialtone_recordings::{
    Analyzer, CallerChannel, Findings, Options, Side, Stereo, Warning, analyze,
};
use proptest::prelude::*;

fn call(condition: Condition) -> Call {
    Call::make(2, condition, &Bank::built_in())
}

fn quick(caller: CallerChannel) -> Options {
    Options { gate: GateKind::Webrtc, caller, ..Options::default() }
}

fn swapped(stereo: &Stereo) -> Stereo {
    Stereo { rate: stereo.rate, left: stereo.right.clone(), right: stereo.left.clone() }
}

fn latencies(findings: &Findings) -> Vec<Option<f64>> {
    findings.turns.iter().map(|turn| turn.rtt_ms).collect()
}

#[test]
fn pieces_change_nothing() {
    let audio = call(Condition::Noise30).audio;
    for gate in GateKind::ALL {
        let options = Options { gate, ..Options::default() };
        let whole = analyze(&audio, &options);
        let mut analyzer = Analyzer::new(audio.rate, &options);
        for (left, right) in audio.left.chunks(1_237).zip(audio.right.chunks(1_237)) {
            analyzer.push(left, right);
        }
        assert_eq!(analyzer.finish(), whole, "{gate:?}");
        assert!(whole.turns.len() > 5, "{gate:?}");
    }
}

#[test]
fn the_caller_is_found_by_what_is_behind_him() {
    let audio = call(Condition::Noise20).audio;
    let right = analyze(&audio, &quick(CallerChannel::Left));
    assert!(!right.warnings.contains(&Warning::Swapped));
    let other = swapped(&audio);
    let wrong = analyze(&other, &quick(CallerChannel::Left));
    assert!(wrong.warnings.contains(&Warning::Swapped), "{:?}", wrong.warnings);
    for caller in [CallerChannel::Auto, CallerChannel::Right] {
        let found = analyze(&other, &quick(caller));
        assert_eq!(found.caller.side, Side::Right);
        assert_eq!(latencies(&found), latencies(&right));
    }
    let alike = analyze(&call(Condition::Clean).audio, &quick(CallerChannel::Auto));
    assert!(alike.warnings.contains(&Warning::Undecided), "{:?}", alike.warnings);
}

#[test]
fn what_is_odd_is_told() {
    let options = quick(CallerChannel::Left);
    let echo = analyze(&call(Condition::Echo).audio, &options);
    let told = echo.warnings.iter().find_map(|warning| match warning {
        Warning::Echo { side: Side::Left, level_db, delay_ms } => Some((*level_db, *delay_ms)),
        _ => None,
    });
    let (level_db, delay_ms) = told.expect("an echo of the agent on the caller's side");
    assert!((level_db + 26.0).abs() < 3.0 && (delay_ms - 180.0).abs() < 15.0, "{told:?}");
    let mut audio = call(Condition::Clean).audio;
    audio.left.iter_mut().for_each(|sample| *sample = (*sample * 20.0).clamp(-1.0, 1.0));
    let clipped = analyze(&audio, &options);
    let is_clipped = |w: &Warning| matches!(w, Warning::Clipped { side: Side::Left, .. });
    assert!(clipped.warnings.iter().any(is_clipped), "{:?}", clipped.warnings);
    audio.right = audio.left.clone();
    assert!(analyze(&audio, &options).warnings.contains(&Warning::Mono));
    audio.right.fill(0.0);
    let silent = analyze(&audio, &options);
    assert!(silent.warnings.contains(&Warning::Silent { side: Side::Right }));
    assert!(silent.turns.iter().all(|turn| turn.agent.is_none()));
}

#[test]
fn nothing_is_found_in_nothing() {
    for gate in GateKind::ALL {
        let options = Options { gate, ..Options::default() };
        for samples in [0, 1, 39, 40_000] {
            let silence = vec![0.0; samples];
            let audio = Stereo { rate: 8_000, left: silence.clone(), right: silence };
            let found = analyze(&audio, &options);
            assert!(found.turns.is_empty() && found.dead_air.is_empty(), "{gate:?} {samples}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Bursts of noise at any place, at any rate, heard by any gate: turns are in order, and
    /// nothing lies outside of the recording.
    #[test]
    fn any_sound(
        rate in prop::sample::select(vec![4_000_u32, 8_000, 11_025, 16_000, 44_100]),
        gate in prop::sample::select(GateKind::ALL.to_vec()),
        bursts in proptest::collection::vec((any::<bool>(), 0.0..6.0_f64, 0.0..2.0_f64, -60.0..6.0_f32), 0..12),
        seed in any::<u32>(),
    ) {
        let samples = (8.0 * f64::from(rate)) as usize;
        let mut channels = [vec![0.0_f32; samples], vec![0.0_f32; samples]];
        let mut state = u64::from(seed);
        for (side, from_s, length_s, level_db) in bursts {
            let from = (from_s * f64::from(rate)) as usize;
            let length = (length_s * f64::from(rate)) as usize;
            let level = 10.0_f32.powf(level_db / 20.0);
            for sample in channels[usize::from(side)].iter_mut().skip(from).take(length) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *sample += level * ((state >> 40) as f32 / (1 << 23) as f32 - 1.0);
            }
        }
        let [left, right] = channels;
        let found = analyze(&Stereo { rate, left, right }, &Options { gate, ..Options::default() });
        let mut last_s = 0.0;
        for turn in &found.turns {
            let start_s = turn.caller.or(turn.agent).map_or(0.0, |segment| segment.start_s);
            prop_assert!(start_s >= last_s, "{:?}", found.turns);
            last_s = start_s;
            prop_assert!((0.0..=1.0).contains(&turn.confidence));
            for segment in turn.caller.iter().chain(&turn.agent) {
                prop_assert!(segment.start_s >= 0.0 && segment.end_s <= 8.0 + 0.01);
                prop_assert!(segment.start_s < segment.end_s);
            }
        }
    }
}
