use std::fmt::Write as _;

use super::svg::at;
use super::text::{clock, kind, ms};
use crate::{Findings, Segment, Side, Track, Turn, TurnKind};

/// Units of a drawing that a second takes at least, and a whole drawing at least and at most.
const SECOND: f64 = 11.0;
const WIDTH_MIN: f64 = 1_100.0;
const WIDTH_MAX: f64 = 16_000.0;
/// Width of a column of a waveform.
const COLUMN: f64 = 2.0;
/// Half of the height of a channel.
const HALF: f64 = 30.0;
/// The caller's channel, what is between the channels, the agent's channel, the scale: where the
/// middle of each is.
const CALLER_Y: f64 = 46.0;
const BETWEEN_Y: f64 = 104.0;
const AGENT_Y: f64 = 162.0;
const SCALE_Y: f64 = 222.0;
const HEIGHT: f64 = 228.0;
/// A label takes so much, and is left out where it would lie on another one.
const LABEL: f64 = 52.0;

/// The two channels of a call, and its turns between them.
pub fn write(page: &mut String, findings: &Findings) {
    let duration = findings.duration_s.max(0.1);
    let width = (duration * SECOND).clamp(WIDTH_MIN, WIDTH_MAX);
    let x = |s: f64| s / duration * width;
    let _ = write!(
        page,
        "<div class=\"wave\"><svg viewBox=\"0 0 {w} {HEIGHT}\" width=\"{w}\" height=\"{HEIGHT}\" role=\"img\" \
         aria-label=\"Waveforms of caller and agent with their turns\">",
        w = at(width)
    );
    for quiet in &findings.dead_air {
        let _ = write!(
            page,
            "<rect class=\"dead\" x=\"{}\" y=\"14\" width=\"{}\" height=\"180\"><title>both silent for {:.1} s</title></rect>",
            at(x(quiet.start_s)),
            at(x(quiet.length_s())),
            quiet.length_s()
        );
    }
    for (track, middle, name) in
        [(&findings.caller, CALLER_Y, "caller"), (&findings.agent, AGENT_Y, "agent")]
    {
        channel(page, track, middle, name, duration, width);
    }
    for heard in &findings.backchannels {
        let _ = write!(
            page,
            "<rect class=\"back\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"4\"><title>backchannel at {}</title></rect>",
            at(x(heard.start_s)),
            at(CALLER_Y + HALF + 1.0),
            at(x(heard.length_s()).max(2.0)),
            clock(heard.start_s)
        );
    }
    let mut free = [0.0_f64; 2];
    for turn in &findings.turns {
        drawn(page, turn, &x, &mut free);
    }
    scale(page, duration, width);
    page.push_str("</svg></div>");
}

/// One channel: what is heard, and in colour where it is speech.
fn channel(page: &mut String, track: &Track, middle: f64, name: &str, duration: f64, width: f64) {
    let columns = (width / COLUMN) as usize;
    let loudest = track.peaks.iter().fold(0.0_f32, |most, peak| most.max(*peak)).max(0.02);
    let height = |column: usize| {
        let from = column * track.peaks.len() / columns;
        let to = ((column + 1) * track.peaks.len()).div_ceil(columns).max(from + 1);
        let peaks = track.peaks.get(from..to.min(track.peaks.len())).unwrap_or_default();
        let peak = peaks.iter().fold(0.0_f32, |most, peak| most.max(*peak)) / loudest;
        (f64::from(peak) * HALF).max(0.5)
    };
    let spoken = |column: usize| {
        let s = (column as f64 + 0.5) * COLUMN / width * duration;
        let after = track.segments.partition_point(|segment| segment.end_s <= s);
        track.segments.get(after).is_some_and(|segment| segment.start_s <= s)
    };
    let (mut speech, mut rest) = (String::new(), String::new());
    for column in 0..columns {
        let (path, half) = (if spoken(column) { &mut speech } else { &mut rest }, height(column));
        let _ = write!(
            path,
            "M{} {}v{}",
            at((column as f64 + 0.5) * COLUMN),
            at(middle - half),
            at(half * 2.0)
        );
    }
    let side = if track.side == Side::Left { "left" } else { "right" };
    let _ = write!(
        page,
        "<g class=\"{name}\"><path class=\"rest\" d=\"{rest}\"/><path class=\"speech\" d=\"{speech}\"/>\
         <text class=\"who\" x=\"4\" y=\"{}\">{name} ({side})</text></g>",
        // Above the upper channel and below the lower one, where nothing else is drawn.
        at(if middle < BETWEEN_Y { 11.0 } else { middle + HALF + 11.0 })
    );
}

/// What lies between what the caller said and the answer to it.
fn drawn(page: &mut String, turn: &Turn, x: &impl Fn(f64) -> f64, free: &mut [f64; 2]) {
    let (from, to) = match (turn.caller, turn.agent) {
        (Some(said), Some(heard)) => (said.end_s, heard.start_s),
        (None, Some(heard)) => (0.0, heard.start_s),
        (Some(said), None) => (said.end_s, said.end_s),
        (None, None) => return,
    };
    let (left, right) = (x(from.min(to)), x(from.max(to)));
    let class = turn.kind.as_str();
    let label = match (turn.kind, turn.rtt_ms) {
        (TurnKind::Unanswered, _) | (_, None) => "no answer".to_owned(),
        (_, Some(rtt)) => ms(rtt),
    };
    let _ = write!(page, "<g class=\"turn {class}\"><title>{}</title>", told(turn));
    if let (TurnKind::BargeIn, Some(said)) = (turn.kind, turn.caller) {
        yielded(page, turn, said, x);
    }
    let (up, down) = (at(CALLER_Y + HALF + 6.0), at(AGENT_Y - HALF - 6.0));
    if turn.kind == TurnKind::Unanswered || turn.agent.is_none() {
        let _ = write!(
            page,
            "<path class=\"edge\" d=\"M{x1} {up}V{y}\"/><circle class=\"end\" cx=\"{x1}\" cy=\"{y}\" r=\"3\"/>",
            x1 = at(left),
            y = at(BETWEEN_Y)
        );
    } else {
        let (said, heard) = (at(x(from)), at(x(to)));
        if turn.caller.is_some() {
            let _ =
                write!(page, "<path class=\"edge\" d=\"M{said} {up}V{}\"/>", at(BETWEEN_Y + 3.0));
        }
        let _ = write!(
            page,
            "<path class=\"edge\" d=\"M{heard} {}V{down}\"/>\
             <rect class=\"wait\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"6\" rx=\"1\"/>",
            at(BETWEEN_Y - 3.0),
            at(left),
            at(BETWEEN_Y - 3.0),
            at((right - left).max(1.5))
        );
    }
    let middle = f64::midpoint(left, right).max(LABEL / 2.0);
    // Two rows, above and below the bar, before one is left out.
    for (row, y) in [BETWEEN_Y - 8.0, BETWEEN_Y + 15.0].into_iter().enumerate() {
        if middle - LABEL / 2.0 >= free[row] {
            free[row] = middle + LABEL / 2.0;
            let (x, y) = (at(middle), at(y));
            let _ = write!(page, "<text class=\"mid\" x=\"{x}\" y=\"{y}\">{label}</text>");
            break;
        }
    }
    page.push_str("</g>");
}

/// How long the agent spoke on after it was interrupted.
fn yielded(page: &mut String, turn: &Turn, said: Segment, x: &impl Fn(f64) -> f64) {
    let on_s = turn.yield_ms.unwrap_or_default() / 1e3;
    let _ = write!(
        page,
        "<path class=\"barge\" d=\"M{} {}v{}\"/><rect class=\"yield\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"4\"/>",
        at(x(said.start_s)),
        at(CALLER_Y),
        at(AGENT_Y - CALLER_Y),
        at(x(said.start_s)),
        at(AGENT_Y - HALF - 5.0),
        at(x(on_s).max(1.5))
    );
}

/// A turn in words.
fn told(turn: &Turn) -> String {
    let mut text = kind(turn.kind).to_owned();
    if let Some(said) = turn.caller {
        let _ = write!(text, ", caller {} to {}", clock(said.start_s), clock(said.end_s));
    }
    if let Some(heard) = turn.agent {
        let _ = write!(text, ", agent {} to {}", clock(heard.start_s), clock(heard.end_s));
    }
    if let Some(rtt) = turn.rtt_ms {
        let _ = write!(text, ", {}", ms(rtt));
    }
    if let Some(on) = turn.yield_ms {
        let _ = write!(text, ", yielded after {}", ms(on));
    }
    let _ = write!(text, ", confidence {:.2}, SNR {:.0} dB", turn.confidence, turn.snr_db);
    text
}

/// Seconds and minutes below.
fn scale(page: &mut String, duration: f64, width: f64) {
    const STEPS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
    let fits = |step: &f64| step / duration * width >= 60.0;
    let step = STEPS.into_iter().find(fits).unwrap_or(1_800.0);
    let mut s = 0.0;
    // Not so near the end that its text would be cut.
    while s / duration * width <= width - 16.0 {
        let x = s / duration * width;
        let anchor = if x < 1.0 { "start" } else { "mid" };
        let _ = write!(
            page,
            "<path class=\"grid\" d=\"M{x} 206v4\"/><text class=\"{anchor}\" x=\"{x}\" y=\"{SCALE_Y}\">{:.0}:{:02.0}</text>",
            (s / 60.0).floor(),
            s % 60.0,
            x = at(x)
        );
        s += step;
    }
}
