//! Who answered whom, in conversations of a few seconds.

use super::*;
use crate::track::frames;

fn sounds(segments: &[(f64, f64)]) -> Vec<Sound> {
    let sound = |&(start_s, end_s): &(f64, f64)| Sound {
        frames: frames(start_s)..frames(end_s),
        level_db: -20.0,
        noise_db: -60.0,
        gate: 1.0,
    };
    segments.iter().map(sound).collect()
}

fn heard(caller: &[(f64, f64)], agent: &[(f64, f64)]) -> Dialogue {
    dialogue(&sounds(caller), &sounds(agent), &Options::default(), 60.0)
}

/// Kinds with their latencies, in whole milliseconds.
fn kinds(dialogue: &Dialogue) -> Vec<(TurnKind, Option<i64>)> {
    let rtt = |turn: &Turn| turn.rtt_ms.map(|ms| ms.round() as i64);
    dialogue.turns.iter().map(|turn| (turn.kind, rtt(turn))).collect()
}

#[test]
fn pauses_belong_to_the_turn_of_who_makes_them() {
    let call = heard(&[(1.0, 2.0), (2.6, 4.0)], &[(4.8, 6.0), (6.5, 8.0)]);
    assert_eq!(kinds(&call), [(TurnKind::Normal, Some(800))]);
    assert_eq!(call.turns[0].caller, Some(Segment::new(1.0, 4.0)));
    assert_eq!(call.turns[0].agent, Some(Segment::new(4.8, 8.0)));
}

#[test]
fn who_greets_answers_nobody() {
    let call = heard(&[(4.0, 5.0)], &[(0.7, 3.0), (5.5, 7.0)]);
    assert_eq!(kinds(&call), [(TurnKind::Greeting, Some(700)), (TurnKind::Normal, Some(500))]);
    assert_eq!(call.turns[0].latency_ms(), None);
}

#[test]
fn an_answer_before_the_end_is_talk_over() {
    let call = heard(&[(1.0, 3.0)], &[(2.7, 5.0)]);
    assert_eq!(kinds(&call), [(TurnKind::Talkover, Some(-300))]);
    let turn = &call.turns[0];
    assert!(turn.latency_ms().is_none());
    assert!(turn.early_ms().is_some_and(|ms| (ms - 300.0).abs() < 1e-6));
}

#[test]
fn a_caller_who_interrupts_is_answered_after_it() {
    let call = heard(&[(1.0, 2.0), (4.0, 6.0)], &[(2.5, 4.4), (6.6, 8.0)]);
    assert_eq!(kinds(&call), [(TurnKind::Normal, Some(500)), (TurnKind::BargeIn, Some(600))]);
    let yield_ms = call.turns[1].yield_ms.expect("the agent yielded");
    assert!((yield_ms - 400.0).abs() < 1e-6);
    assert_eq!(call.turns[0].agent, Some(Segment::new(2.5, 4.4)));
}

#[test]
fn an_agent_who_speaks_on_has_not_yielded() {
    let call = heard(&[(1.0, 2.0), (4.0, 5.5)], &[(2.5, 9.0)]);
    assert_eq!(kinds(&call), [(TurnKind::Normal, Some(500)), (TurnKind::BargeIn, None)]);
    assert_eq!(call.turns[1].yield_ms, None);
}

#[test]
fn a_backchannel_is_no_turn_on_either_side() {
    let call = heard(&[(1.0, 2.0), (4.0, 4.4)], &[(2.5, 7.0)]);
    assert_eq!(kinds(&call), [(TurnKind::Normal, Some(500))]);
    assert_eq!(call.backchannels, [Segment::new(4.0, 4.4)]);
    let call = heard(&[(1.0, 6.0)], &[(3.0, 3.4), (6.5, 8.0)]);
    assert_eq!(kinds(&call), [(TurnKind::Normal, Some(500))]);
}

#[test]
fn silence_leaves_a_turn_without_an_answer() {
    let call = heard(&[(1.0, 2.0), (6.0, 7.0)], &[(7.5, 9.0)]);
    assert_eq!(kinds(&call), [(TurnKind::Unanswered, None), (TurnKind::Normal, Some(500))]);
    // A late answer is one all the same.
    let call = heard(&[(1.0, 2.0)], &[(7.0, 9.0)]);
    assert_eq!(kinds(&call), [(TurnKind::Normal, Some(5000))]);
    // At the end it depends on how long the line stays open.
    let end = |end_s| {
        let options = Options::default();
        kinds(&dialogue(&sounds(&[(1.0, 2.0)]), &[], &options, end_s))
    };
    assert_eq!(end(3.0), []);
    assert_eq!(end(9.0), [(TurnKind::Unanswered, None)]);
}

#[test]
fn the_older_definition_counts_from_the_start() {
    let options = Options { definition: Definition::Start, ..Options::default() };
    let call = dialogue(&sounds(&[(1.0, 3.0)]), &sounds(&[(3.5, 5.0)]), &options, 9.0);
    assert_eq!(kinds(&call), [(TurnKind::Normal, Some(2500))]);
}

#[test]
fn silence_is_no_conversation() {
    assert!(heard(&[], &[]).turns.is_empty());
}
