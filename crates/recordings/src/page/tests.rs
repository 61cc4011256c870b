use super::*;
use crate::truth::{Bank, Call, Condition};
use crate::{Segment, Side, Track, Turn, TurnKind, Warning};

/// What an analysis without a fault would find.
fn findings(call: &Call) -> Findings {
    let duration_s = call.audio.duration_s();
    let track = |side, samples: &[f32], of: fn(&crate::truth::TrueTurn) -> Option<Segment>| {
        let step = samples.len().div_ceil(Track::PEAKS_MAX);
        let peak = |part: &[f32]| part.iter().fold(0.0_f32, |most, sample| most.max(sample.abs()));
        Track {
            side,
            segments: call.turns.iter().filter_map(of).collect(),
            speech_dbfs: -23.0,
            noise_dbfs: -75.0,
            peaks: samples.chunks(step).map(peak).collect(),
        }
    };
    let turn = |turn: &crate::truth::TrueTurn| Turn {
        kind: turn.kind,
        rtt_ms: turn.rtt_ms().or((turn.kind == TurnKind::Greeting).then_some(812.0)),
        caller: turn.caller,
        agent: turn.agent,
        yield_ms: turn.yield_ms,
        confidence: 0.93,
        snr_db: 41.0,
    };
    Findings {
        duration_s,
        rate: call.audio.rate,
        caller: track(Side::Left, &call.audio.left, |turn| turn.caller),
        agent: track(Side::Right, &call.audio.right, |turn| turn.agent),
        turns: call.turns.iter().map(turn).collect(),
        backchannels: vec![Segment::new(20.0, 20.3)],
        dead_air: vec![Segment::new(30.0, 34.0)],
        talk_over_s: 1.5,
        warnings: vec![Warning::Echo { side: Side::Left, level_db: -26.0, delay_ms: 180.0 }],
    }
}

fn report<'a>(found: &'a [(String, Findings)]) -> Report<'a> {
    Report {
        title: "recordings:analyze".to_owned(),
        verdict: "passed".to_owned(),
        passed: true,
        facts: vec![("gate".to_owned(), "silero".to_owned())],
        tiles: vec![Tile {
            name: "p95".to_owned(),
            value: "1786 ms".to_owned(),
            detail: "1690 to 1850, n 638".to_owned(),
        }],
        marks: vec![Mark { name: "p50".to_owned(), ms: 800.0, interval_ms: Some((760.0, 850.0)) }],
        thresholds: vec![Line {
            text: "p(95)<600".to_owned(),
            observed: "1786 ms".to_owned(),
            passed: false,
        }],
        calls: found.iter().map(|(name, findings)| Recording { name, findings }).collect(),
        left_out: vec![("mono.wav".to_owned(), "one channel".to_owned())],
    }
}

fn calls(many: u64) -> Vec<(String, Findings)> {
    let bank = Bank::built_in();
    let make = |seed| {
        let call = Call::make(seed, Condition::Clean, &bank);
        (format!("call-{seed:03}.wav"), findings(&call))
    };
    (0..many).map(make).collect()
}

#[test]
fn every_turn_is_drawn_and_every_call_is_there() {
    let found = calls(3);
    let page = html(&report(&found));
    let turns: usize = found.iter().map(|(_, findings)| findings.turns.len()).sum();
    assert_eq!(page.matches("<g class=\"turn ").count(), turns);
    assert_eq!(page.matches("<details class=\"call\"").count(), 3);
    for word in ["call-002.wav", "mono.wav", "p(95)&lt;600", "echo on the left channel", "1786 ms"]
    {
        assert!(page.contains(word), "{word}");
    }
    for (open, close) in
        [("<svg", "</svg>"), ("<details", "</details>"), ("<section", "</section>")]
    {
        assert_eq!(page.matches(open).count(), page.matches(close).count(), "{open}");
    }
}

#[test]
fn a_file_name_is_text_and_nothing_is_loaded_from_elsewhere() {
    let mut found = calls(1);
    found[0].0 = "<script src=https://evil.example/>\"'.wav".to_owned();
    let page = html(&report(&found));
    assert!(!page.contains("<script src"));
    assert!(page.contains("&lt;script src"));
    for outside in [" src=\"http", " href=\"http", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn nothing_at_all_is_a_page_too() {
    let page = html(&Report { verdict: "skipped".to_owned(), ..Report::default() });
    assert!(page.contains("skipped") && page.ends_with("</html>"));
}

#[test]
fn a_long_call_stays_a_page_of_bearable_size() {
    let mut found = calls(1);
    let findings = &mut found[0].1;
    findings.duration_s = 3.0 * 3600.0;
    let turn = findings.turns[1].clone();
    findings.turns = vec![turn; 2_000];
    assert!(html(&report(&found)).len() < 3_000_000);
}
