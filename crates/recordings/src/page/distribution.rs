use std::fmt::Write as _;

use super::svg::{at, step};
use super::text::{escaped, ms, number};
use super::{Mark, Report};
use crate::{Turn, TurnKind};

/// Size of each drawing, in units of its own.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 230.0;
/// Room for the scale on the left, the labels above and the scale below.
const LEFT: f64 = 46.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 26.0;
/// Bars at most.
const BARS: f64 = 60.0;
/// With fewer calls a column for each says no more than the calls themselves.
const COLUMNS_MIN: usize = 5;
/// The share of latencies that the scale has to hold; the few beyond are counted at its end.
const SHOWN: f64 = 0.995;

/// A place on the scale of latencies.
struct Scale {
    /// From where, in milliseconds; below 0 where somebody was talked over.
    from: f64,
    to: f64,
}

impl Scale {
    fn x(&self, ms: f64) -> f64 {
        let share = (ms.clamp(self.from, self.to) - self.from) / (self.to - self.from);
        LEFT + share * (WIDTH - LEFT - 10.0)
    }
}

/// How the latencies are spread, over all calls and call by call.
pub fn write(page: &mut String, report: &Report<'_>) {
    let latencies: Vec<f64> = report
        .calls
        .iter()
        .flat_map(|call| call.findings.turns.iter().filter_map(latency_ms))
        .collect();
    if latencies.is_empty() {
        return;
    }
    let mut sorted = latencies.clone();
    sorted.sort_by(f64::total_cmp);
    let top = sorted[((sorted.len() - 1) as f64 * SHOWN).round() as usize];
    let marked = report.marks.iter().map(|mark| mark.interval_ms.map_or(mark.ms, |(_, high)| high));
    let top = marked.fold(top, f64::max).max(100.0);
    let bin = step(top, BARS * 0.8);
    let from = (sorted[0].min(0.0) / bin).floor() * bin;
    let scale = Scale { from, to: (top / bin).ceil() * bin };
    page.push_str("<section><h2>Response latency</h2>");
    histogram(page, &latencies, bin, &scale, &report.marks);
    if report.calls.len() > COLUMNS_MIN {
        by_call(page, report, &scale);
    }
    page.push_str("</section>");
}

/// The latency of an answer; greetings are none.
fn latency_ms(turn: &Turn) -> Option<f64> {
    turn.rtt_ms.filter(|_| turn.kind != TurnKind::Greeting)
}

fn histogram(page: &mut String, latencies: &[f64], bin: f64, scale: &Scale, marks: &[Mark]) {
    let bins = ((scale.to - scale.from) / bin).round().max(1.0) as usize;
    let mut counts = vec![0_u32; bins];
    let mut beyond = 0;
    for latency in latencies {
        let n = ((latency - scale.from) / bin).floor() as usize;
        match counts.get_mut(n) {
            Some(count) => *count += 1,
            None => beyond += 1,
        }
    }
    let most = f64::from(counts.iter().copied().max().unwrap_or(1).max(1));
    let floor = HEIGHT - BOTTOM;
    let y = |count: f64| floor - count / most * (floor - TOP);
    open(page, "How often each latency came", HEIGHT);
    let rise = step(most, 3.0).max(1.0);
    let mut line = rise;
    while line <= most {
        let (y, x2) = (at(y(line)), at(WIDTH - 10.0));
        let _ = write!(
            page,
            "<path class=\"grid\" d=\"M{LEFT} {y}H{x2}\"/><text class=\"end\" x=\"{}\" y=\"{y}\" dy=\".35em\">{line:.0}</text>",
            at(LEFT - 6.0)
        );
        line += rise;
    }
    for (n, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let start = scale.from + n as f64 * bin;
        let (x, end) = (scale.x(start), scale.x(start + bin));
        let top = y(f64::from(*count));
        let class = if start < -1e-9 { "bar over" } else { "bar" };
        let _ = write!(
            page,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"><title>{} to {}: {count}</title></rect>",
            at(x + 0.5),
            at(top),
            at((end - x - 1.0).max(1.0)),
            at(floor - top),
            ms(start),
            ms(start + bin)
        );
    }
    drawn_marks(page, marks, scale, floor);
    axis(page, scale, floor);
    page.push_str("</svg></div>");
    if beyond > 0 {
        let _ = write!(page, "<p class=\"note\">{beyond} beyond {}, not drawn.</p>", ms(scale.to));
    }
}

fn drawn_marks(page: &mut String, marks: &[Mark], scale: &Scale, floor: f64) {
    let mut taken = f64::NEG_INFINITY;
    let mut row = 0;
    for mark in marks {
        let x = scale.x(mark.ms);
        if let Some((low, high)) = mark.interval_ms {
            let (from, to) = (scale.x(low), scale.x(high));
            let _ = write!(
                page,
                "<rect class=\"interval\" x=\"{}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"><title>{} is between {} and {}</title></rect>",
                at(from),
                at((to - from).max(1.0)),
                at(floor - TOP),
                escaped(&mark.name),
                ms(low),
                ms(high)
            );
        }
        // Labels that would touch each other stand in two rows.
        row = if x - taken < 88.0 { 1 - row } else { 0 };
        taken = x;
        let y = if row == 0 { 12.0 } else { 25.0 };
        let anchor = if x > WIDTH - 90.0 { "end" } else { "mid" };
        let _ = write!(
            page,
            "<path class=\"mark\" d=\"M{x} {}V{}\"/><text class=\"{anchor} strong\" x=\"{x}\" y=\"{y}\">{} {}</text>",
            at(y + 3.0),
            at(floor),
            escaped(&mark.name),
            ms(mark.ms),
            x = at(x)
        );
    }
}

/// Each call a column of dots.
fn by_call(page: &mut String, report: &Report<'_>, scale: &Scale) {
    let floor = HEIGHT - BOTTOM;
    let y = |ms: f64| {
        let share = (ms.clamp(scale.from, scale.to) - scale.from) / (scale.to - scale.from);
        floor - share * (floor - 10.0)
    };
    page.push_str("<h3>Call by call</h3>");
    open(page, "The latencies of each call", HEIGHT);
    let rise = step(scale.to, 4.0);
    let mut line = (scale.from / rise).ceil() * rise;
    while line <= scale.to {
        let _ = write!(
            page,
            "<path class=\"grid\" d=\"M{LEFT} {y}H{x2}\"/><text class=\"end\" x=\"{x}\" y=\"{y}\" dy=\".35em\">{}</text>",
            number(line),
            x = at(LEFT - 6.0),
            y = at(y(line)),
            x2 = at(WIDTH - 10.0)
        );
        line += rise;
    }
    let width = (WIDTH - LEFT - 10.0) / report.calls.len() as f64;
    let radius = (width / 2.0).clamp(1.2, 3.5);
    for (n, call) in report.calls.iter().enumerate() {
        let x = at(LEFT + (n as f64 + 0.5) * width);
        let dots: Vec<(&Turn, f64)> =
            call.findings.turns.iter().filter_map(|turn| Some((turn, latency_ms(turn)?))).collect();
        if dots.is_empty() {
            continue;
        }
        let _ = write!(page, "<a href=\"#c{n}\"><title>{}</title>", escaped(call.name));
        for (turn, latency) in dots {
            let class = turn.kind.as_str();
            let _ = write!(
                page,
                "<circle class=\"dot {class}\" cx=\"{x}\" cy=\"{}\" r=\"{}\"/>",
                at(y(latency)),
                at(radius)
            );
        }
        page.push_str("</a>");
    }
    let _ = write!(
        page,
        "<path class=\"axis\" d=\"M{LEFT} {f}H{}\"/><text class=\"mid\" x=\"{}\" y=\"{}\">{} calls, \
         in the order of the list; milliseconds</text></svg></div>",
        at(WIDTH - 10.0),
        at(WIDTH / 2.0),
        at(HEIGHT - 6.0),
        report.calls.len(),
        f = at(floor)
    );
}

fn open(page: &mut String, label: &str, height: f64) {
    let _ = write!(
        page,
        "<div class=\"chart\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">"
    );
}

fn axis(page: &mut String, scale: &Scale, floor: f64) {
    let every = step(scale.to - scale.from, 12.0);
    let mut tick = (scale.from / every).ceil() * every;
    let _ = write!(page, "<path class=\"axis\" d=\"M{LEFT} {}H{}\"/>", at(floor), at(WIDTH - 10.0));
    while tick <= scale.to + 1e-6 {
        let anchor = if scale.x(tick) > WIDTH - 40.0 { "end" } else { "mid" };
        let unit = if tick + every > scale.to + 1e-6 { "\u{a0}ms" } else { "" };
        let _ = write!(
            page,
            "<text class=\"{anchor}\" x=\"{}\" y=\"{}\">{}{unit}</text>",
            at(scale.x(tick)),
            at(floor + 16.0),
            number(tick)
        );
        tick += every;
    }
}
