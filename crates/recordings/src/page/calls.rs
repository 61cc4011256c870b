use std::fmt::Write as _;

use super::text::{clock, escaped, kind, many, ms, warning};
use super::{Recording, Report, waveform};
use crate::{Findings, Turn, TurnKind};

/// Calls that are shown in full at once; of the others their lines, which open.
const OPEN: usize = 3;

/// What is said of a call in its line.
struct Line {
    answers: usize,
    median_ms: Option<f64>,
    worst_ms: Option<f64>,
    talkovers: usize,
    barge_ins: usize,
    unanswered: usize,
}

impl Line {
    fn of(findings: &Findings) -> Self {
        let count = |kind| findings.turns.iter().filter(|turn| turn.kind == kind).count();
        let mut waits: Vec<f64> = findings
            .turns
            .iter()
            .filter(|turn| turn.kind != TurnKind::Greeting)
            .filter_map(|turn| turn.rtt_ms.filter(|rtt| *rtt >= 0.0))
            .collect();
        waits.sort_by(f64::total_cmp);
        Self {
            answers: waits.len(),
            median_ms: waits.get(waits.len() / 2).copied(),
            worst_ms: waits.last().copied(),
            talkovers: count(TurnKind::Talkover),
            barge_ins: count(TurnKind::BargeIn),
            unanswered: count(TurnKind::Unanswered),
        }
    }
}

/// The calls, each a line that opens.
pub fn write(page: &mut String, report: &Report<'_>) {
    let _ = write!(
        page,
        "<section id=\"calls\"><div class=\"head\"><h2>Calls</h2> <span class=\"count\">{}</span>\
         <span class=\"legend\"><i class=\"caller\"></i>caller <i class=\"agent\"></i>agent \
         <i class=\"wait\"></i>waited <i class=\"talkover\"></i>talk-over \
         <i class=\"barge_in\"></i>barge-in <i class=\"unanswered\"></i>no answer</span>\
         <span class=\"tools\" hidden><input type=\"search\" placeholder=\"find a file\" \
         aria-label=\"Find a file\"><select aria-label=\"Order\"><option value=\"\">in order</option>\
         <option value=\"worst\">slowest first</option><option value=\"odd\">warnings first</option>\
         </select></span></div>",
        report.calls.len()
    );
    for (n, call) in report.calls.iter().enumerate() {
        write_call(page, n, call);
    }
    page.push_str("</section>");
}

fn write_call(page: &mut String, n: usize, call: &Recording<'_>) {
    let findings = call.findings;
    let line = Line::of(findings);
    let part = |ms: Option<f64>| ms.map_or("\u{2013}".to_owned(), super::text::ms);
    let _ = write!(
        page,
        "<details class=\"call\" id=\"c{n}\" data-name=\"{name}\" data-worst=\"{:.0}\" data-odd=\"{}\"{}>\
         <summary><b>{name}</b><span class=\"cells\"><span>{} <small>answers</small></span>\
         <span><small>median</small> {}</span><span><small>slowest</small> {}</span>",
        line.worst_ms.unwrap_or(-1.0),
        findings.warnings.len(),
        if n < OPEN { " open" } else { "" },
        line.answers,
        part(line.median_ms),
        part(line.worst_ms),
        name = escaped(call.name)
    );
    for (count, class, word) in [
        (line.talkovers, "talkover", "talk-over"),
        (line.barge_ins, "barge_in", "barge-in"),
        (line.unanswered, "unanswered", "no answer"),
    ] {
        if count > 0 {
            let _ = write!(page, "<span class=\"tag {class}\">{count} {word}</span>");
        }
    }
    if !findings.warnings.is_empty() {
        let all: Vec<String> = findings.warnings.iter().map(warning).collect();
        let _ = write!(
            page,
            "<span class=\"tag warn\" title=\"{}\">{}</span>",
            escaped(&all.join("; ")),
            many(all.len(), "warning")
        );
    }
    page.push_str("</span></summary>");
    waveform::write(page, findings);
    for odd in &findings.warnings {
        let _ = write!(
            page,
            "<p class=\"note\"><span class=\"chip warn\">warning</span> {}</p>",
            escaped(&warning(odd))
        );
    }
    let share = |seconds: f64| seconds * 100.0 / findings.duration_s.max(0.001);
    let _ = write!(
        page,
        "<p class=\"note\">{} long, {} Hz; caller speaks {:.0} % at {:.0} dBFS over noise at {:.0}, agent \
         {:.0} % at {:.0} over {:.0}; both at once {:.1} s, {}.</p>",
        clock(findings.duration_s),
        findings.rate,
        share(findings.caller.speech_s()),
        findings.caller.speech_dbfs,
        findings.caller.noise_dbfs,
        share(findings.agent.speech_s()),
        findings.agent.speech_dbfs,
        findings.agent.noise_dbfs,
        findings.talk_over_s,
        many(findings.backchannels.len(), "backchannel")
    );
    table(page, &findings.turns);
    page.push_str("</details>");
}

fn table(page: &mut String, turns: &[Turn]) {
    if turns.is_empty() {
        page.push_str("<p class=\"note\">No turns.</p>");
        return;
    }
    page.push_str(
        "<details class=\"table\"><summary>Turns as a table</summary><div class=\"wide\"><table>\
         <thead><tr><th>#<th>kind<th>caller<th>agent<th>latency<th>confidence<th>SNR</thead><tbody>",
    );
    for (n, turn) in turns.iter().enumerate() {
        let span = |segment: Option<crate::Segment>| match segment {
            Some(segment) => {
                format!("{} \u{2013} {}", clock(segment.start_s), clock(segment.end_s))
            }
            None => "\u{2013}".to_owned(),
        };
        let _ = write!(
            page,
            "<tr><td>{}<td><span class=\"tag {}\">{}</span><td>{}<td>{}<td>{}<td>{:.2}<td>{:.0} dB",
            n + 1,
            turn.kind.as_str(),
            kind(turn.kind),
            span(turn.caller),
            span(turn.agent),
            turn.rtt_ms.map_or("\u{2013}".to_owned(), ms),
            turn.confidence,
            turn.snr_db
        );
    }
    page.push_str("</tbody></table></div></details>");
}
