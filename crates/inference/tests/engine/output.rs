use std::task::{Context, Waker};
use std::time::Duration;

use dialtone_inference::engine::{FinishReason, Options, Output, Piece, Request};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::fake::{Bench, ask, block_on, chatter, eventually, read, say, scramble};

fn bench(text: impl Into<Vec<u8>>) -> Bench {
    Bench::new(2, 1000, Options::default(), say(text))
}

#[test]
fn text_comes_in_whole_characters_with_all_their_tokens() {
    let bench = bench("aé☎x");
    let answer = read(bench.submit(ask("a", "p")));
    let piece = |text: &str, tokens| Piece { text: text.to_owned(), tokens };
    assert_eq!(answer.pieces, [piece("a", 1), piece("é", 3), piece("☎", 6), piece("x", 7)]);
    assert_eq!(answer.reason(), &FinishReason::Stop);
    assert_eq!(answer.finish.usage.completion_tokens, 8);
}

#[test]
fn a_character_that_is_never_complete_is_no_text() {
    let cut = read(bench("aé").submit(Request { max_tokens: 2, ..ask("a", "p") }));
    assert_eq!((cut.text.as_str(), cut.reason()), ("a", &FinishReason::Length));
    let bad = read(bench(b"a\xff\xc3b").submit(ask("a", "p")));
    assert_eq!(bad.text, "a\u{fffd}\u{fffd}b");
}

#[test]
fn an_answer_ends_before_the_text_at_which_to_stop() {
    let bench = bench("one two, three");
    let stop = |stops: &[&str]| {
        let stop = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let answer = read(bench.submit(Request { stop, ..ask("a", "p") }));
        assert_eq!(answer.reason(), &FinishReason::Stop);
        (answer.text, answer.finish.usage.completion_tokens)
    };
    assert_eq!(stop(&["two, th"]), ("one ".to_owned(), 11));
    assert_eq!(stop(&["three!", "o,"]), ("one tw".to_owned(), 8));
    assert_eq!(stop(&["o", "one"]), (String::new(), 1));
    // What was held back leaves when the answer ends otherwise.
    assert_eq!(stop(&["three!", "four"]), ("one two, three".to_owned(), 15));
    bench.settled();
}

#[test]
fn an_answer_that_is_cut_off_keeps_what_was_held_back() {
    let bench = bench("abc");
    let request = Request { stop: vec!["abcd".to_owned()], max_tokens: 2, ..ask("a", "p") };
    let answer = read(bench.submit(request));
    assert_eq!((answer.text.as_str(), answer.reason()), ("ab", &FinishReason::Length));
    assert_eq!(answer.pieces.len(), 1);
}

#[test]
fn measurements_go_on_after_the_end() {
    let bench = bench("ab");
    let request = Request { ignore_end: true, max_tokens: 10, ..ask("a", "p") };
    let answer = read(bench.submit(request));
    assert_eq!((answer.text.as_str(), answer.reason()), ("ab", &FinishReason::Length));
    assert_eq!(answer.finish.usage.completion_tokens, 10);
}

#[test]
fn a_cancelled_request_is_gone_within_one_step() {
    let bench = Bench::new(2, 1000, Options::default(), chatter());
    let [a, b] = bench.hold_with([ask("a", "a"), ask("b", "b")]);
    bench.control.step();
    bench.control.arrive();
    assert!(bench.engine.cancel("a"));
    assert!(!bench.engine.cancel("unknown"));
    bench.control.step();
    assert!(bench.control.step().iter().all(|row| row.slot == 1));
    bench.control.arrive();
    let answer = read(a);
    assert_eq!(answer.reason(), &FinishReason::Cancelled);
    assert_eq!((answer.text.as_str(), answer.finish.usage.completion_tokens), ("xxx", 3));
    assert!(!bench.engine.cancel("a"));
    bench.control.release();
    drop(b);
    bench.settled();
    assert_eq!(bench.engine.stats().cancelled, 2);
}

#[test]
fn a_reader_that_goes_away_frees_the_slot_within_one_step() {
    let bench = Bench::new(2, 1000, Options::default(), chatter());
    let [a, b] = bench.hold_with([ask("a", "a"), ask("b", "b")]);
    drop(b);
    bench.control.step();
    let slots: Vec<usize> = bench.control.step().iter().map(|row| row.slot).collect();
    assert_eq!(slots, [0]);
    bench.control.release();
    drop(a);
    bench.settled();
}

#[test]
fn a_slow_reader_pauses_alone_and_loses_nothing() {
    let options = Options { output_buffer: 2, ..Options::default() };
    let bench = Bench::new(2, 1000, options, scramble());
    let request = Request { max_tokens: 50, ignore_end: true, ..ask("slow", "slow") };
    let wanted = read(bench.submit(request.clone()));
    let slow = bench.submit(request);
    eventually("it to pause", || bench.engine.slots().iter().any(|slot| slot.generated >= 2));
    let other = read(bench.submit(Request { max_tokens: 200, ..ask("other", "other") }));
    assert!(other.finish.usage.completion_tokens > 1);
    let views = bench.engine.slots();
    let view = views.iter().find(|view| view.request.as_deref() == Some("slow")).expect("it runs");
    assert!(view.generated < 10, "it pauses: {view:?}");
    let got = read(slow);
    assert_eq!((&got.text, got.reason()), (&wanted.text, wanted.reason()));
    bench.settled();
}

#[test]
fn a_slow_reader_wakes_the_engine_that_waits_for_it_alone() {
    let options = Options { output_buffer: 1, ..Options::default() };
    let bench = Bench::new(1, 1000, options, chatter());
    let mut generation = bench.submit(Request { max_tokens: 300, ..ask("a", "a") });
    let mut text = String::new();
    block_on(async {
        while let Some(output) = generation.next().await {
            if let Output::Piece(piece) = output {
                text.push_str(&piece.text);
            }
        }
    });
    assert_eq!(text.len(), 300);
    // So does one that goes, or is cancelled.
    let gone = bench.submit(ask("gone", "a"));
    eventually("it to run", || bench.engine.stats().slots_busy == 1);
    drop(gone);
    bench.settled();
    let cancelled = bench.submit(ask("cancelled", "a"));
    eventually("it to run", || bench.engine.cancel("cancelled"));
    assert_eq!(read(cancelled).reason(), &FinishReason::Cancelled);
    bench.settled();
}

#[test]
fn a_reader_that_is_stuck_is_given_up_and_told() {
    let options =
        Options { output_buffer: 3, stuck_after: Duration::from_millis(2), ..Options::default() };
    let bench = Bench::new(1, 1000, options, chatter());
    let stuck = bench.submit(ask("a", "a"));
    bench_next(&bench);
    let answer = read(stuck);
    assert_eq!((answer.text.as_str(), answer.reason()), ("xxx", &FinishReason::Cancelled));
    assert_eq!(answer.finish.usage.completion_tokens, 3);
    bench.settled();
}

/// The slot is for the next one.
fn bench_next(bench: &Bench) {
    let next = bench.submit(Request { max_tokens: 2, ..ask("next", "a") });
    assert_eq!(read(next).text, "xx");
}

#[test]
fn a_thousand_readers_that_go_at_random_leave_nothing_behind() {
    let options = Options { queue: 16, output_buffer: 4, ..Options::default() };
    let bench = Bench::new(4, 700, options, scramble());
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let (mut taken, mut open) = (0_u64, Vec::new());
    while taken < 1000 {
        let prompt = "p".repeat(random.random_range(1..100));
        let max_tokens = random.random_range(1..100);
        if let Ok(generation) =
            bench.engine.submit(Request { max_tokens, ..ask(&taken.to_string(), &prompt) })
        {
            taken += 1;
            open.push(generation);
        }
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(0..=open.len());
            let Some(generation) = open.get_mut(at) else { continue };
            match random.random_range(0..4) {
                0 => drop(open.swap_remove(at)),
                1 => drop(bench.engine.cancel(&random.random_range(0..taken).to_string())),
                _ => drop(generation.poll_next(&mut Context::from_waker(Waker::noop()))),
            }
        }
        if open.len() > 20 {
            open.clear();
        }
    }
    drop(open);
    bench.settled();
    assert_eq!(bench.engine.stats().finished, taken);
    // It still works.
    assert_eq!(read(bench.submit(Request { max_tokens: 5, ..ask("a", "a") })).text.len(), 5);
}
