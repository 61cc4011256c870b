use std::time::Duration;

use dialtone_inference::engine::{FinishReason, Options, Refused, Request};
use dialtone_inference::sampling::Sampling;

use crate::fake::{Bench, VOCAB, ask, chatter, eventually, read, say};

fn queue(queue: usize) -> Options {
    Options { queue, ..Options::default() }
}

#[test]
fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
    let bench = Bench::new(2, 1000, queue(1), chatter());
    let running = bench.hold_with([ask("a", "a"), ask("b", "b")]);
    let waiting = bench.submit(ask("c", "c"));
    let Err(Refused::Full { slots, queued, retry_after }) = bench.engine.submit(ask("d", "d"))
    else {
        panic!("not full")
    };
    assert_eq!((slots, queued), (2, 1));
    assert!((1..=30).contains(&retry_after.as_secs()), "{retry_after:?}");
    assert_eq!(bench.engine.stats().queue_depth, 1);
    // Who no longer waits takes no place.
    drop(waiting);
    let waiting = bench.submit(ask("d", "d"));
    assert!(matches!(bench.engine.submit(ask("e", "e")), Err(Refused::Full { .. })));
    bench.control.release();
    drop((running, waiting));
    bench.settled();
}

#[test]
fn who_waits_for_a_reader_is_told_of_as_ending_when_that_is_given_up() {
    let options = Options { output_buffer: 1, stuck_after: Duration::from_secs(20), ..queue(0) };
    let bench = Bench::new(1, 1000, options, chatter());
    let unread = bench.submit(ask("a", "a"));
    let after = || match bench.engine.submit(ask("b", "b")) {
        Err(Refused::Full { retry_after, .. }) => retry_after.as_secs(),
        other => panic!("not full: {other:?}"),
    };
    // The steps before it pauses take no second.
    eventually("it to pause", || after() >= 10);
    assert!(after() <= 20);
    assert!(bench.engine.has_room().is_err());
    drop(unread);
    bench.settled();
    assert_eq!(bench.engine.has_room(), Ok(()));
}

#[test]
fn without_a_queue_there_are_as_many_places_as_slots() {
    let bench = Bench::new(3, 1000, queue(0), chatter());
    bench.control.hold();
    let taken: Vec<_> = (0..10).filter_map(|_| bench.engine.submit(ask("a", "a")).ok()).collect();
    assert_eq!(taken.len(), 3);
    bench.control.release();
    drop(taken);
    bench.settled();
}

#[test]
fn a_session_finds_its_slot_again() {
    let bench = Bench::new(3, 1000, queue(9), say("yes"));
    let turn = |session: &str, prompt: &str| {
        let request = Request { session: Some(session.to_owned()), ..ask(session, prompt) };
        let answer = read(bench.submit(request));
        let slot = bench.control.seen().opens.last().expect("an open").0;
        (slot, answer.finish.usage.cached_tokens)
    };
    assert_eq!(turn("a", "hello a"), (0, 0));
    assert_eq!(turn("b", "hi b"), (1, 0));
    // Prompt, answer and end are remembered, all but the last, which was never run.
    assert_eq!(turn("a", "hello ayes, more"), (0, 10));
    // The free slot that nobody will miss comes before those of other sessions.
    assert_eq!(turn("c", "x"), (2, 0));
    // Then the one that was used longest ago.
    assert_eq!(turn("d", "x"), (1, 0));
    assert_eq!(turn("a", "hello ayes, moreyes"), (0, 19 - 1));
    // A request without a session takes what was used longest ago, too.
    read(bench.submit(ask("none", "x")));
    assert_eq!(bench.control.seen().opens.last().expect("an open").0, 2);
    bench.settled();
}

#[test]
fn a_session_does_not_wait_for_its_slot() {
    let bench = Bench::new(2, 1000, queue(9), chatter());
    let ask = |id| Request { session: Some("s".to_owned()), ..ask(id, "same") };
    let both = bench.hold_with([ask("a"), ask("b")]);
    assert_eq!(bench.control.step().len(), 1 + "same".len());
    bench.control.release();
    drop(both);
    bench.settled();
}

#[test]
fn who_finds_no_room_waits_and_is_not_overtaken() {
    let bench = Bench::new(3, 30, queue(9), chatter());
    bench.control.hold();
    let ask = |id: &str, max_tokens| Request { max_tokens, ..ask(id, "12345") };
    let a = bench.submit(ask("a", 15));
    bench.control.arrive();
    let (b, c) = (bench.submit(ask("b", 20)), bench.submit(ask("c", 1)));
    for _ in 0..14 {
        bench.control.step();
        bench.control.arrive();
        let stats = bench.engine.stats();
        assert_eq!((stats.slots_busy, stats.queue_depth, stats.kv_used), (1, 2, 20));
    }
    // It was tried once, not in every step.
    assert_eq!(bench.control.seen().opens, [(0, 5, 20), (1, 5, 25)]);
    bench.control.release();
    for (generation, length) in [(a, 15), (b, 20), (c, 1)] {
        let answer = read(generation);
        assert_eq!((answer.text.len(), answer.reason()), (length, &FinishReason::Length));
    }
    bench.settled();
    let opens = bench.control.seen().opens.clone();
    let rooms: Vec<usize> = opens.iter().map(|(_, _, room)| *room).collect();
    assert_eq!(rooms[..3], [20, 25, 25]);
    assert_eq!(rooms.last(), Some(&6));
}

#[test]
fn a_request_that_waits_for_room_can_be_cancelled() {
    let bench = Bench::new(2, 30, queue(9), chatter());
    bench.control.hold();
    let a = bench.submit(Request { max_tokens: 20, ..ask("a", "12345") });
    bench.control.arrive();
    let b = bench.submit(Request { max_tokens: 20, ..ask("b", "12345") });
    let c = bench.submit(Request { max_tokens: 2, ..ask("c", "123") });
    bench.control.step();
    bench.control.arrive();
    assert!(bench.engine.cancel("b"));
    assert_eq!(read(b).reason(), &FinishReason::Cancelled);
    // The next one has room.
    bench.control.release();
    assert_eq!(read(c).text, "xx");
    drop(a);
    bench.settled();
}

#[test]
fn an_answer_ends_where_the_context_does() {
    let bench = Bench::new(2, 40, queue(9), chatter());
    let answer = read(bench.submit(Request { max_tokens: usize::MAX, ..ask("a", "12345") }));
    assert_eq!((answer.text.len(), answer.reason()), (35, &FinishReason::Length));
    bench.settled();
}

#[test]
fn what_can_never_be_served_is_refused() {
    let bench = Bench::new(2, 40, queue(9), chatter());
    let refused = |request| bench.engine.submit(request).expect_err("refused");
    assert_eq!(refused(ask("a", &"p".repeat(40))), Refused::TooLong { prompt: 40, most: 39 });
    assert_eq!(read(bench.submit(ask("a", &"p".repeat(39)))).text, "x");
    let field = |request| match refused(request) {
        Refused::Invalid { field, reason } => {
            assert!(!reason.is_empty());
            field
        }
        other => panic!("{other:?}"),
    };
    let plain = || ask("a", "a");
    assert_eq!(field(ask("a", "")), "prompt");
    assert_eq!(field(Request { prompt: vec![1, VOCAB as u32], ..plain() }), "prompt");
    assert_eq!(field(Request { max_tokens: 0, ..plain() }), "max_tokens");
    assert_eq!(field(Request { stop: vec![String::new()], ..plain() }), "stop");
    assert_eq!(field(Request { stop: vec!["a".to_owned(); 17], ..plain() }), "stop");
    assert_eq!(field(Request { stop: vec!["a".repeat(1025)], ..plain() }), "stop");
    assert_eq!(field(Request { session: Some("s".repeat(1025)), ..plain() }), "session");
    assert_eq!(field(ask(&"i".repeat(1025), "a")), "id");
    let sampling = Sampling { temperature: f32::NAN, ..Sampling::default() };
    assert_eq!(field(Request { sampling, ..plain() }), "temperature");
    assert_eq!(bench.engine.stats().finished, 1);
}
