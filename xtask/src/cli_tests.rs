//! The command line, as it reads.

use clap::CommandFactory;

use super::*;

fn args(words: &[&str]) -> Vec<OsString> {
    ["xtask"].iter().chain(words).map(OsString::from).collect()
}

fn refused(words: &[&str]) -> Refusal {
    match parse(&args(words)) {
        Err(refusal) => refusal,
        Ok(_) => panic!("{words:?} was taken"),
    }
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_spelling_is_the_same_command() {
    for words in [["batch:test"].as_slice(), &["batch-test"], &["batch", "test"]] {
        let parsed = parse(&args(words)).expect("taken");
        assert!(matches!(parsed, Some(Command::BatchTest(_))), "{words:?}");
    }
    for words in [["worker:test"].as_slice(), &["worker-test"], &["worker", "test"]] {
        let parsed = parse(&args(words)).expect("taken");
        assert!(matches!(parsed, Some(Command::WorkerTest(_))), "{words:?}");
    }
    for words in [["model:fetch"].as_slice(), &["model-fetch"], &["model", "fetch"]] {
        let parsed = parse(&args(words)).expect("taken");
        assert!(matches!(parsed, Some(Command::ModelFetch(_))), "{words:?}");
    }
    for words in
        [["recordings:analyze"].as_slice(), &["recordings-analyze"], &["recordings", "analyze"]]
    {
        let parsed = parse(&args(words)).expect("taken");
        let recordings = matches!(
            parsed,
            Some(
                Command::RecordingsAnalyze(_)
                    | Command::Recordings { verb: Some(RecordingsVerb::Analyze(_)) }
            )
        );
        assert!(recordings, "{words:?}");
    }
    assert!(parse(&args(&[])).expect("the menu").is_none());
}

#[test]
fn help_of_every_command() {
    let mut text = refused(&["--help"]).text;
    let spaced = refused(&["batch", "test", "--help"]).text;
    let one = refused(&["batch:test", "--help"]).text;
    let after_usage = |text: &str| text.split_once("Options:\n").map(|(_, rest)| rest.to_owned());
    assert_eq!(after_usage(&spaced), after_usage(&one), "both spellings have the same help");
    for command in [
        "worker:test",
        "worker:soak",
        "batch:test",
        "model:fetch",
        "recordings:analyze",
        "dev",
        "tidy",
    ] {
        text.push_str(&format!("\n=== {command}\n{}", refused(&[command, "--help"]).text));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_menu() {
    insta::assert_snapshot!(menu::text());
}

#[test]
fn the_menu_lists_exactly_what_there_is() {
    let mut listed: Vec<&str> = menu::ENTRIES.iter().map(|entry| entry.name).collect();
    let cli = Cli::command();
    let visible = cli.get_subcommands().filter(|command| !command.is_hide_set());
    let mut there: Vec<&str> = visible.map(clap::Command::get_name).collect();
    listed.sort_unstable();
    there.sort_unstable();
    assert_eq!(listed, there);
}

#[test]
fn an_unknown_verb_lists_the_verbs_of_its_noun() {
    let said = [["batch:tset"].as_slice(), &["batch", "tset"], &["batch"], &["worker"], &["model"]]
        .map(|words| refused(words).text);
    insta::assert_snapshot!(said.concat());
}

#[test]
fn a_wrong_command_line_is_a_document_too() {
    for words in [
        ["batch:test", "--nope", "--format", "json"].as_slice(),
        &["batch", "test", "--total", "x", "--format=jsonl"],
        &["worker-test", "--backend", "abacus", "--format", "json"],
        &["worker", "test", "--backend", "abacus", "--format", "json"],
    ] {
        let document = refused(words).document.expect("a document");
        let one_line = words.iter().any(|word| word.ends_with("jsonl"));
        assert_eq!(document.lines().count() == 1, one_line, "{document}");
        let envelope: Envelope = serde_json::from_str(&document).expect("the envelope");
        let command = if words[0].starts_with("worker") { "worker:test" } else { "batch:test" };
        assert_eq!((envelope.exit_code, envelope.command.as_str()), (2, command));
        assert_eq!(envelope.error.map(|error| error.code), Some(ErrorCode::Usage));
    }
    assert!(refused(&["batch:test", "--nope"]).document.is_none());
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for words in [
        ["batch:test", "-q", "-v"].as_slice(),
        &["batch:test", "--timeout", "0"],
        &["batch:test", "--deadline", "1 hour"],
        &["batch:test", "--max-concurrent", "0"],
        &["batch:test", "--outcomes", "random"],
        &["worker:test", "--backend", "abacus"],
        &["worker:test", "--port", "70000"],
        &["worker:test", "--device", "-1"],
        &["worker:test", "--heartbeat-interval", "1ms"],
        &["worker:test", "--heartbeat-interval", "0"],
    ] {
        assert!(!refused(words).help, "{words:?}");
    }
}

#[test]
fn a_number_out_of_range_is_told_with_its_flag_and_the_range() {
    let flags = [
        ["--total", "-1"],
        ["--total", "many"],
        ["--fail-count", "-1"],
        ["--stuck-count", "-5"],
        ["--dropped-count", "1.5"],
        ["--max-concurrent", "-1"],
        ["--max-concurrent", "99999"],
        ["--time-scale", "-1"],
        ["--seed", "-1"],
        ["--timeout", "-1"],
    ];
    let said = flags.map(|[flag, value]| refused(&["batch:test", flag, value]).text);
    let said: Vec<_> = said.iter().filter_map(|text| text.lines().next()).collect();
    insta::assert_snapshot!(said.join("\n"), @r"
    error: invalid value '-1' for '--total <TOTAL>': expected a whole number from 1 to 1000000
    error: invalid value 'many' for '--total <TOTAL>': expected a whole number from 1 to 1000000
    error: invalid value '-1' for '--fail-count <N>': expected a whole number from 0 to 1000000
    error: invalid value '-5' for '--stuck-count <N>': expected a whole number from 0 to 1000000
    error: invalid value '1.5' for '--dropped-count <N>': expected a whole number from 0 to 1000000
    error: invalid value '-1' for '--max-concurrent <N>': expected a whole number from 1 to 10000
    error: invalid value '99999' for '--max-concurrent <N>': expected a whole number from 1 to 10000
    error: invalid value '-1' for '--time-scale <max|N>': expected `max` or a whole number from 1 to 240
    error: invalid value '-1' for '--seed <SEED>': expected a whole number from 0 to 18446744073709551615
    error: invalid value '-1' for '--timeout <TIME>': `-1` must be above zero and under a year
    ");
}
