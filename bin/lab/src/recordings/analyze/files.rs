use std::fs;
use std::path::Path;

use dialtone_harness::failure::Failure;
use dialtone_harness::tool::Told;
use dialtone_recordings::csv::{COLUMNS, Origin, rows};
use dialtone_recordings::page::{self, Line, Mark, Tile};
use dialtone_recordings::{Definition, Options, Summary};
use serde_json::json;

use super::heard::Heard;
use super::limits::Verdict;
use super::source::Recording;
use super::tell;

/// The names of the files in the run folder.
const CSV: &str = "latency.csv";
const JSON: &str = "recordings.json";
const PAGE: &str = "report.html";

/// What is written.
pub struct Report<'a> {
    /// What the recordings are called.
    pub names: &'a [String],
    pub recordings: &'a [Recording],
    /// What was heard, with the number of the recording.
    pub calls: &'a [(usize, Heard)],
    /// What was not read, with the reason.
    pub not_read: &'a [(String, String)],
    pub summary: &'a Summary,
    pub verdicts: &'a [Verdict],
    pub options: &'a Options,
}

/// Writes the files of the run, and the CSV file that was asked for.
pub fn write(report: &Report<'_>, run_dir: &Path, out: Option<&Path>) -> Result<(), Failure> {
    let csv = csv(report);
    put(&run_dir.join(CSV), &csv)?;
    put(&run_dir.join(JSON), &json_of(report))?;
    put(&run_dir.join(PAGE), &page::html(&page_of(report)))?;
    for (name, path) in [("latency", CSV), ("recordings", JSON), ("report", PAGE)] {
        tell(&Told::Artifact { name: name.to_owned(), path: path.to_owned() });
    }
    let rows = csv.lines().count() - 1;
    if let Some(out) = out {
        put(out, &csv)?;
        tell(&Told::Note { text: format!("{rows} turns are in {}", out.display()) });
    }
    let page = run_dir.join(PAGE);
    tell(&Told::Note { text: format!("the page of the run is {}", page.display()) });
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| {
        Failure::environment(format!("{} cannot be written: {error}", path.display()))
    })
}

fn csv(report: &Report<'_>) -> String {
    let mut csv = format!("{COLUMNS}\n");
    for (n, heard) in report.calls {
        let Recording { recording_sid, call_sid, file, .. } = &report.recordings[*n];
        csv.push_str(&rows(Origin { recording_sid, call_sid, file }, &heard.findings));
    }
    csv
}

fn json_of(report: &Report<'_>) -> String {
    let calls: Vec<_> = report
        .calls
        .iter()
        .map(|(n, heard)| {
            let Recording { recording_sid, call_sid, .. } = &report.recordings[*n];
            let mut findings = serde_json::to_value(&heard.findings).unwrap_or_default();
            // The waveforms are for the page.
            for side in ["caller", "agent"] {
                if let Some(track) = findings.get_mut(side).and_then(|track| track.as_object_mut())
                {
                    track.remove("peaks");
                }
            }
            json!({
                "name": report.names[*n],
                "recording_sid": recording_sid,
                "call_sid": call_sid,
                "summary": Summary::of(&[&heard.findings]),
                "findings": findings,
            })
        })
        .collect();
    let not_read: Vec<_> =
        report.not_read.iter().map(|(name, why)| json!({"name": name, "why": why})).collect();
    let document = json!({
        "schema_version": 1,
        "gate": report.options.gate,
        "definition": report.options.definition,
        "summary": report.summary,
        "recordings": calls,
        "not_read": not_read,
    });
    format!("{document:#}\n")
}

fn page_of<'a>(report: &'a Report<'_>) -> page::Report<'a> {
    let crossed = report
        .verdicts
        .iter()
        .any(|verdict| !matches!(verdict, Verdict::Judged(judged) if judged.passed));
    let verdict = if crossed { "failed" } else { "passed" };
    let latency = report.summary.latency_ms.as_ref();
    let marks = latency.map_or(Vec::new(), |latency| {
        let mark = |quantile: &dialtone_recordings::Quantile| Mark {
            name: format!("p{:.0}", quantile.share * 100.0),
            ms: quantile.value,
            interval_ms: quantile.interval,
        };
        latency.quantiles.iter().map(mark).collect()
    });
    let thresholds = report.verdicts.iter().map(|verdict| match verdict {
        Verdict::Judged(judged) => Line {
            text: judged.expr.clone(),
            observed: judged.observed.to_string(),
            passed: judged.passed,
        },
        Verdict::Nothing(text) => {
            Line { text: text.clone(), observed: "nothing".to_owned(), passed: false }
        }
    });
    let of = match report.options.definition {
        Definition::End => "from the caller's end to the agent's start",
        Definition::Start => "from the caller's start, as older tools have it",
    };
    let facts = [
        ("recordings", report.calls.len().to_string()),
        ("gate", report.options.gate.as_str().to_owned()),
        ("latency", of.to_owned()),
    ];
    page::Report {
        title: "recordings:analyze".to_owned(),
        verdict: verdict.to_owned(),
        passed: !crossed,
        facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
        tiles: tiles(report.summary),
        marks,
        thresholds: thresholds.collect(),
        calls: report
            .calls
            .iter()
            .map(|(n, heard)| page::Recording {
                name: &report.names[*n],
                findings: &heard.findings,
            })
            .collect(),
        left_out: report.not_read.to_vec(),
    }
}

/// The figures that matter most.
fn tiles(summary: &Summary) -> Vec<Tile> {
    let tile =
        |name: &str, value: String, detail: String| Tile { name: name.to_owned(), value, detail };
    let mut tiles = Vec::new();
    if let Some(latency) = &summary.latency_ms {
        for quantile in &latency.quantiles {
            let interval = quantile.interval.map_or(String::new(), |(low, high)| {
                format!("{low:.0} to {high:.0} ms, 95 % sure")
            });
            let name = format!("response p{:.0}", quantile.share * 100.0);
            tiles.push(tile(&name, format!("{:.0} ms", quantile.value), interval));
        }
        tiles.push(tile("answers", latency.n.to_string(), "that the figures are of".to_owned()));
    }
    if let Some(greeting) = &summary.greeting_ms {
        let detail = format!("median of {}", greeting.n);
        tiles.push(tile("greeting", format!("{:.0} ms", greeting.p50()), detail));
    }
    tiles.push(tile(
        "barge-ins",
        format!("{} of {}", summary.yielded, summary.barge_ins),
        summary.yield_ms.as_ref().map_or("yielded to".to_owned(), |yields| {
            format!("yielded to, after {:.0} ms", yields.p50())
        }),
    ));
    let early = summary.talkover_ms.as_ref();
    tiles.push(tile(
        "talk-over",
        summary.talkovers.to_string(),
        early.map_or(String::new(), |early| format!("by {:.0} ms", early.p50())),
    ));
    tiles.push(tile("unanswered", summary.unanswered.to_string(), "turns".to_owned()));
    tiles.push(tile(
        "dead air",
        summary.dead_air.to_string(),
        format!("{:.0} s in all", summary.dead_air_s),
    ));
    tiles.push(tile(
        "talk",
        format!("{:.0} : {:.0}", summary.caller_share * 100.0, summary.agent_share * 100.0),
        "percent, caller to agent".to_owned(),
    ));
    if let (Some(snr), Some(confidence)) = (summary.snr_db, summary.confidence) {
        tiles.push(tile(
            "clearness",
            format!("{snr:.0} dB"),
            format!("confidence {confidence:.2}"),
        ));
    }
    tiles
}
