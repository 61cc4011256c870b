use std::time::Duration;

use dialtone_inference::engine::{FinishReason, Options, Refused, Request};

use crate::fake::{Bench, Fault, POISON, ask, chatter, eventually, read, say};

fn error_text(reason: &FinishReason) -> &str {
    match reason {
        FinishReason::Error(text) => text,
        other => panic!("{other:?}"),
    }
}

/// Two answers run, and something goes wrong in their third step.
fn two_and(fault: Fault) -> (Bench, [FinishReason; 2]) {
    let bench = Bench::new(3, 1000, Options::default(), say("hello"));
    let generations = bench.hold_with([ask("a", "a"), ask("b", "b")]);
    bench.control.step();
    bench.control.arrive();
    bench.control.seen().fault = Some(fault);
    bench.control.release();
    let reasons = generations.map(|generation| read(generation).finish.reason);
    (bench, reasons)
}

#[test]
fn a_step_that_fails_ends_its_requests_and_no_others() {
    let bench = Bench::new(3, 1000, Options { step_rows: 4, ..Options::default() }, say("hello"));
    bench.control.hold();
    let first = bench.submit(ask("first", "1234"));
    bench.control.arrive();
    let second = bench.submit(ask("second", "5678"));
    bench.control.seen().fault = Some(Fault::Error);
    bench.control.release();
    assert_eq!(error_text(read(first).reason()), "told to fail");
    let answer = read(second);
    assert_eq!((answer.text.as_str(), answer.reason()), ("hello", &FinishReason::Stop));
    bench.settled();
    assert_eq!(bench.engine.stats().failed, None);
}

#[test]
fn an_engine_lives_on_after_a_failed_step() {
    let (bench, reasons) = two_and(Fault::Error);
    reasons.iter().for_each(|reason| assert_eq!(error_text(reason), "told to fail"));
    assert_eq!(read(bench.submit(ask("c", "c"))).text, "hello");
    bench.settled();
    let (bench, reasons) = two_and(Fault::Short);
    reasons.iter().for_each(|reason| assert!(error_text(reason).contains("logits")));
    assert_eq!(read(bench.submit(ask("c", "c"))).text, "hello");
    bench.settled();
}

#[test]
fn logits_that_are_no_numbers_end_one_request() {
    let (bench, reasons) = two_and(Fault::Nan);
    assert!(error_text(&reasons[0]).contains("finite"), "{reasons:?}");
    assert_eq!(reasons[1], FinishReason::Stop);
    bench.settled();
}

#[test]
fn a_request_that_cannot_begin_is_told() {
    let bench = Bench::new(1, 1000, Options::default(), say("hello"));
    bench.control.seen().no_open = true;
    let answer = read(bench.submit(ask("a", "a")));
    assert_eq!(error_text(answer.reason()), "it does not open");
    assert_eq!(read(bench.submit(ask("b", "b"))).text, "hello");
    bench.settled();
}

#[test]
fn a_step_that_does_not_end_can_be_told_from_rest() {
    let options = Options { output_buffer: 2, ..Options::default() };
    let bench = Bench::new(1, 1000, options, chatter());
    let rests = || eventually("it to rest", || bench.engine.turn().is_none());
    rests();
    let [held] = bench.hold_with([ask("a", "a")]);
    let turn = bench.engine.turn();
    assert!(turn.is_some());
    bench.control.step();
    bench.control.arrive();
    assert!(bench.engine.turn() > turn);
    bench.control.release();
    // It waits for its reader.
    rests();
    assert_eq!(bench.engine.stats().slots_busy, 1);
    drop(held);
    bench.settled();
    rests();
}

#[test]
fn a_panic_ends_all_and_says_so() {
    let bench = Bench::new(1, 1000, Options::default(), chatter());
    bench.control.hold();
    let generations = ["running", "waiting"].map(|id| bench.submit(ask(id, id)));
    bench.control.arrive();
    bench.control.seen().fault = Some(Fault::Panic);
    bench.control.release();
    for generation in generations {
        assert_eq!(error_text(read(generation).reason()), "panic: told to panic");
    }
    let refused = bench.engine.submit(ask("late", "late")).expect_err("refused");
    assert_eq!(refused, Refused::Failed { reason: "panic: told to panic".to_owned() });
    let stats = bench.engine.stats();
    assert_eq!(stats.failed.as_deref(), Some("panic: told to panic"));
    assert_eq!((stats.slots_busy, stats.queue_depth, stats.finished), (0, 0, 2));
    bench.finish(Duration::from_secs(3600));
    assert!(bench.control.seen().dropped);
}

#[test]
fn a_panic_outside_the_model_is_told_as_well() {
    let bench = Bench::new(2, 1000, Options::default(), say([b'a', POISON as u8]));
    let answer = read(bench.submit(Request { max_tokens: 9, ..ask("a", "a") }));
    assert_eq!(answer.text, "a");
    assert!(error_text(answer.reason()).contains("poisoned"));
    assert!(bench.engine.stats().failed.is_some());
}
