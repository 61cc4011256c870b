use std::collections::BTreeMap;

use dialtone_contract::ErrorCode;
use dialtone_harness::envelope::{Check, CheckStatus, Threshold as Judged};
use dialtone_harness::failure::Failure;
use dialtone_harness::tool::Told;
use dialtone_recordings::{Distribution, Findings, Subject, Summary, Threshold, Turn, grouped};
use serde_json::Number;

/// What became of a threshold.
pub enum Verdict {
    /// It was held against something.
    Judged(Judged),
    /// There was nothing to hold it against.
    Nothing(String),
}

/// The figures of a run, by the names that metrics and thresholds have.
pub fn figures(summary: &Summary) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    let mut set = |name: &str, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            figures.insert(name.to_owned(), value);
        }
    };
    let count = |count: usize| Some(count as f64);
    let share =
        |part: usize| (summary.turns > 0).then(|| part as f64 * 100.0 / summary.turns as f64);
    set("turns", count(summary.turns));
    let latency = summary.latency_ms.as_ref();
    set("answers", count(latency.map_or(0, |latency| latency.n)));
    for (n, name) in ["p50_ms", "p90_ms", "p95_ms", "p99_ms"].iter().enumerate() {
        set(name, latency.map(|latency| latency.quantiles[n].value));
    }
    set("mean_ms", latency.map(|latency| latency.mean));
    set("max_ms", latency.map(|latency| latency.max));
    set("greeting_p50_ms", summary.greeting_ms.as_ref().map(Distribution::p50));
    set("greeting_p95_ms", summary.greeting_ms.as_ref().map(Distribution::p95));
    set("talkovers", count(summary.talkovers));
    set("talkover_percent", share(summary.talkovers));
    set("barge_ins", count(summary.barge_ins));
    set("barge_ins_failed", count(summary.barge_ins.saturating_sub(summary.yielded)));
    set("yield_p50_ms", summary.yield_ms.as_ref().map(Distribution::p50));
    set("yield_p95_ms", summary.yield_ms.as_ref().map(Distribution::p95));
    set("unanswered", count(summary.unanswered));
    set("unanswered_percent", share(summary.unanswered));
    set("backchannels", count(summary.backchannels));
    set("dead_air", count(summary.dead_air));
    set("dead_air_s", Some(summary.dead_air_s));
    set("talk_over_s", Some(summary.talk_over_s));
    set("caller_percent", Some(summary.caller_share * 100.0));
    set("agent_percent", Some(summary.agent_share * 100.0));
    set("silent_percent", Some(summary.silent_share * 100.0));
    set("snr_db", summary.snr_db);
    set("confidence", summary.confidence);
    set("audio_s", Some(summary.duration_s));
    figures
}

/// Every name that a figure can have.
const NAMES: &[&str] = &[
    "turns",
    "answers",
    "p50_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "mean_ms",
    "max_ms",
    "greeting_p50_ms",
    "greeting_p95_ms",
    "talkovers",
    "talkover_percent",
    "barge_ins",
    "barge_ins_failed",
    "yield_p50_ms",
    "yield_p95_ms",
    "unanswered",
    "unanswered_percent",
    "backchannels",
    "dead_air",
    "dead_air_s",
    "talk_over_s",
    "caller_percent",
    "agent_percent",
    "silent_percent",
    "snr_db",
    "confidence",
    "audio_s",
];

/// Reads thresholds; those on figures that there are not are refused.
pub fn read(texts: &[String]) -> Result<Vec<Threshold>, Failure> {
    let refused = |text: &str, why: &str| {
        let hint = format!(
            "p(95), med, avg, min and max are of the response latency in ms; figures: {}",
            NAMES.join(", ")
        );
        Failure::new(ErrorCode::Usage, format!("--threshold '{text}': {why}")).hint(hint)
    };
    let read = |text: &String| {
        let threshold: Threshold = text.parse().map_err(|why: String| refused(text, &why))?;
        match threshold.subject() {
            Subject::Figure(name) if !NAMES.contains(&name.as_str()) => {
                Err(refused(text, &format!("there is no figure `{name}`")))
            }
            _ => Ok(threshold),
        }
    };
    texts.iter().map(read).collect()
}

/// Holds the thresholds against what was found.
pub fn judge(
    thresholds: &[Threshold],
    calls: &[&Findings],
    figures: &BTreeMap<String, f64>,
) -> Vec<Verdict> {
    let latencies = grouped(calls, Turn::latency_ms);
    let verdict = |threshold: &Threshold| {
        let seen = match threshold.subject() {
            Subject::Percentile(percent) => Distribution::quantile_of(&latencies, percent / 100.0),
            Subject::Mean => Distribution::of(&latencies).map(|found| found.mean),
            Subject::Min => Distribution::quantile_of(&latencies, 0.0),
            Subject::Max => Distribution::quantile_of(&latencies, 1.0),
            Subject::Figure(name) => figures.get(name).copied(),
        };
        let metric = match threshold.subject() {
            Subject::Percentile(percent) => format!("p{percent}_ms"),
            Subject::Mean => "mean_ms".to_owned(),
            Subject::Min => "min_ms".to_owned(),
            Subject::Max => "max_ms".to_owned(),
            Subject::Figure(name) => name.clone(),
        };
        // A tenth of a millisecond is more than can be heard.
        let observed = seen.and_then(|seen| Number::from_f64((seen * 10.0).round() / 10.0));
        match (seen, observed) {
            (Some(seen), Some(observed)) => Verdict::Judged(Judged {
                expr: threshold.text().to_owned(),
                metric,
                observed,
                passed: threshold.holds(seen),
            }),
            _ => Verdict::Nothing(threshold.text().to_owned()),
        }
    };
    thresholds.iter().map(verdict).collect()
}

/// Tells what became of them.
pub fn tell(verdicts: &[Verdict]) {
    for verdict in verdicts {
        super::tell(&match verdict {
            Verdict::Judged(judged) => Told::Threshold(judged.clone()),
            Verdict::Nothing(text) => Told::Check(Check {
                code: Some(ErrorCode::CheckFailed),
                hint: Some("give recordings in which somebody is answered".to_owned()),
                ..Check::new(
                    &format!("threshold {text}"),
                    CheckStatus::Failed,
                    std::time::Duration::ZERO,
                    "there is nothing to hold it against",
                )
            }),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_name_in_the_list() {
        let findings: [&Findings; 0] = [];
        for name in figures(&Summary::of(&findings)).keys() {
            assert!(NAMES.contains(&name.as_str()), "{name}");
        }
        assert!(read(&["p(95)<600".to_owned(), "unanswered_percent<2".to_owned()]).is_ok());
        assert!(read(&["p95<600".to_owned()]).is_err() && read(&["p(95)".to_owned()]).is_err());
    }
}
