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
    assert!(parse(&args(&[])).expect("the menu").is_none());
}

#[test]
fn help_of_every_command() {
    let mut text = refused(&["--help"]).text;
    for command in ["batch:test", "dev", "tidy"] {
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
    let said = [["batch:tset"].as_slice(), &["batch", "tset"], &["batch"]]
        .map(|words| refused(words).text);
    insta::assert_snapshot!(said.concat());
}

#[test]
fn a_wrong_command_line_is_a_document_too() {
    for words in [
        ["batch:test", "--nope", "--format", "json"].as_slice(),
        &["batch", "test", "--total", "x", "--format=jsonl"],
    ] {
        let document = refused(words).document.expect("a document");
        let envelope: Envelope = serde_json::from_str(&document).expect("the envelope");
        assert_eq!((envelope.exit_code, envelope.command.as_str()), (2, "batch:test"));
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
    ] {
        assert!(!refused(words).help, "{words:?}");
    }
}
