use std::time::Duration;

use dialtone_inference::engine::{FinishReason, Options, Refused, Request};

use crate::fake::{Bench, ask, block_on, chatter, eventually, read, say};

const LONG: Duration = Duration::MAX;

fn queue(queue: usize) -> Options {
    Options { queue, ..Options::default() }
}

#[test]
fn draining_finishes_what_was_taken_and_takes_nothing_more() {
    let bench = Bench::new(1, 1000, queue(5), say("fine"));
    bench.control.hold();
    let taken = ["a", "b"].map(|id| bench.submit(ask(id, id)));
    bench.control.arrive();
    bench.engine.drain();
    assert!(bench.engine.stats().draining);
    assert_eq!(bench.engine.submit(ask("c", "c")).expect_err("refused"), Refused::Draining);
    bench.control.release();
    for generation in taken {
        assert_eq!(read(generation).text, "fine");
    }
    bench.settled();
    bench.finish(LONG);
    assert!(bench.control.seen().dropped, "the model is given up");
    assert_eq!(bench.engine.submit(ask("c", "c")).expect_err("refused"), Refused::Draining);
    // Asked again, it has nothing to wait for.
    bench.finish(LONG);
}

#[test]
fn an_idle_engine_finishes_at_once() {
    let bench = Bench::new(1, 1000, queue(5), chatter());
    bench.finish(LONG);
    assert!(bench.control.seen().dropped);
}

#[test]
fn at_the_deadline_what_is_left_is_told() {
    let bench = Bench::new(2, 1000, queue(5), chatter());
    let request = |id| Request { stop: vec!["xxy".to_owned()], ..ask(id, id) };
    let running = bench.hold_with([request("a"), request("b")]);
    let waiting = bench.submit(request("c"));
    for _ in 0..5 {
        bench.control.step();
    }
    bench.control.arrive();
    let ends = std::thread::scope(|scope| {
        let long = scope.spawn(|| bench.finish(LONG));
        // The earlier end counts.
        let now = scope.spawn(|| bench.finish(Duration::ZERO));
        eventually("it to drain", || bench.engine.stats().draining);
        bench.control.release();
        long.join().is_ok() && now.join().is_ok()
    });
    assert!(ends && bench.control.seen().dropped);
    for generation in running {
        let answer = read(generation);
        assert_eq!(answer.reason(), &FinishReason::Shutdown);
        // Nothing that was generated is lost, what was held back included.
        assert_eq!(answer.text.len(), answer.finish.usage.completion_tokens);
    }
    assert_eq!(read(waiting).reason(), &FinishReason::Shutdown);
    assert_eq!(bench.engine.stats().finished, 3);
    assert_eq!(bench.control.seen().broken, [] as [String; 0]);
}

#[test]
fn a_paused_answer_does_not_hold_up_the_end() {
    let options = Options { output_buffer: 2, ..queue(5) };
    let bench = Bench::new(1, 1000, options, chatter());
    let paused = bench.submit(ask("a", "a"));
    eventually("it to pause", || bench.engine.slots()[0].generated == 2);
    bench.finish(Duration::from_millis(5));
    let answer = read(paused);
    assert_eq!((answer.text.as_str(), answer.reason()), ("xx", &FinishReason::Shutdown));
}

#[test]
fn the_thread_ends_when_nobody_is_left() {
    let bench = Bench::new(1, 1000, queue(5), say("still here"));
    bench.control.hold();
    let generation = bench.submit(ask("a", "a"));
    bench.control.arrive();
    drop(bench.engine.clone());
    let Bench { engine, control } = bench;
    drop(engine);
    control.release();
    assert_eq!(read(generation).text, "still here");
    eventually("the model to be given up", || control.seen().dropped);
}

#[test]
fn a_finish_that_is_called_off_still_drains() {
    let bench = Bench::new(1, 1000, queue(5), chatter());
    let running = bench.submit(ask("a", "a"));
    block_on(async {
        let finish = bench.engine.finish(LONG);
        assert!(tokio::time::timeout(Duration::from_millis(5), finish).await.is_err());
    });
    assert_eq!(bench.engine.submit(ask("b", "b")).expect_err("refused"), Refused::Draining);
    drop(running);
    bench.finish(LONG);
}
