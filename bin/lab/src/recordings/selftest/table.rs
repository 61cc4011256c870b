use std::fmt::Write as _;

use dialtone_recordings::truth::{Found, Score};

use super::bounds::Pools;
use super::trial::Outcome;

/// The errors of a gate, a line for each condition.
pub fn text(outcome: &Outcome) -> String {
    let speed = outcome
        .times_real_time()
        .map_or(String::new(), |times| format!(", {times:.0} times real time on one core"));
    let mut text = format!(
        "\n{}{speed}\n  {:<11}{:>6}{:>8}{:>8}{:>7}{:>7}{:>7}{:>8}{:>8}{:>8}{:>14}{:>12}\n",
        outcome.gate.as_str(),
        "condition",
        "turns",
        "missed%",
        "false%",
        "bias",
        "mae",
        "p95",
        "<=20ms%",
        "p50 off",
        "p95 off",
        "barge-ins r/p",
        "unanswered"
    );
    for (condition, score) in &outcome.scores {
        line(&mut text, condition.name(), score);
    }
    let Pools { all, telephone } = outcome.pools();
    line(&mut text, "telephone", &telephone);
    line(&mut text, "all", &all);
    text
}

fn line(text: &mut String, name: &str, score: &Score) {
    let tenths = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
    let whole = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
    // Adding nothing makes a negative zero a positive one.
    let signed = |value: Option<f64>| {
        value.map_or("-".to_owned(), |value| format!("{:+.1}", (value * 10.0).round() / 10.0 + 0.0))
    };
    let barge_ins =
        format!("{}/{}", whole(score.barge_ins.recall()), whole(score.barge_ins.precision()));
    let Found { all, reported, right } = score.unanswered;
    let _ = writeln!(
        text,
        "  {name:<11}{:>6}{:>8}{:>8}{:>7}{:>7}{:>7}{:>8}{:>8}{:>8}{barge_ins:>14}{:>12}",
        score.turns,
        tenths(score.missed_percent()),
        tenths(score.false_percent()),
        signed(score.bias_ms()),
        tenths(score.mae_ms()),
        whole(score.p95_error_ms()),
        whole(score.within_percent(20.0)),
        signed(score.off_percent(0.5)),
        signed(score.off_percent(0.95)),
        format!("{right}/{all}/{reported}"),
    );
}

/// Names of the columns of the table as a file.
pub fn csv_head() -> String {
    "voices,gate,condition,calls,turns,missed_percent,false_percent,bias_ms,mae_ms,p95_error_ms,\
     within_20_ms_percent,p50_off_percent,p95_off_percent,barge_ins,barge_in_recall_percent,\
     barge_in_precision_percent,unanswered,unanswered_recall_percent,\
     unanswered_precision_percent\n"
        .to_owned()
}

/// The lines of a gate.
pub fn csv(voices: &str, outcome: &Outcome) -> String {
    let mut csv = String::new();
    let Pools { all, telephone } = outcome.pools();
    let scores = outcome.scores.iter().map(|(condition, score)| (condition.name(), score));
    for (name, score) in scores.chain([("telephone", &telephone), ("all", &all)]) {
        let figures = [
            score.missed_percent(),
            score.false_percent(),
            score.bias_ms(),
            score.mae_ms(),
            score.p95_error_ms(),
            score.within_percent(20.0),
            score.off_percent(0.5),
            score.off_percent(0.95),
            Some(f64::from(score.barge_ins.all)),
            score.barge_ins.recall(),
            score.barge_ins.precision(),
            Some(f64::from(score.unanswered.all)),
            score.unanswered.recall(),
            score.unanswered.precision(),
        ];
        let _ = write!(
            csv,
            "{voices},{},{name},{},{}",
            outcome.gate.as_str(),
            score.calls,
            score.turns
        );
        for figure in figures {
            let _ = write!(csv, ",{}", figure.map_or(String::new(), |value| format!("{value:.2}")));
        }
        csv.push('\n');
    }
    csv
}
