use dialtone_inference::engine::{FinishReason, Options, Request, SlotState};
use dialtone_inference::sampling::Sampling;
use dialtone_inference::{Row, Token};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::fake::{Answer, Bench, ask, chatter, read, say, scramble};

/// Slot, first position and number of the rows of each sequence of a step.
fn shares(rows: &[Row]) -> Vec<(usize, usize, usize)> {
    let mut shares: Vec<(usize, usize, usize)> = Vec::new();
    for row in rows {
        match shares.last_mut() {
            Some((slot, _, count)) if *slot == row.slot => *count += 1,
            _ => shares.push((row.slot, row.position, 1)),
        }
    }
    shares
}

fn options(step_rows: usize, chunk_rows: usize) -> Options {
    Options { step_rows, chunk_rows, queue: 100, output_buffer: 100, ..Options::default() }
}

#[test]
fn those_who_talk_come_first_and_prompts_in_chunks() {
    let bench = Bench::new(3, 1000, options(16, 4), chatter());
    bench.control.hold();
    let talker = bench.submit(ask("talker", "abc"));
    bench.control.arrive();
    let reader = bench.submit(ask("reader", "0123456789"));
    assert_eq!(shares(&bench.control.step()), [(0, 0, 3)]);
    assert_eq!(shares(&bench.control.step()), [(0, 3, 1), (1, 0, 4)]);
    assert_eq!(shares(&bench.control.step()), [(0, 4, 1), (1, 4, 4)]);
    bench.control.arrive();
    let view = &bench.engine.slots()[1];
    assert_eq!((view.state, view.request.as_deref()), (SlotState::Prefill, Some("reader")));
    assert_eq!((view.prompt_tokens, view.generated), (10, 0));
    let rows = bench.control.step();
    assert_eq!(shares(&rows), [(0, 5, 1), (1, 8, 2)]);
    let wanted: Vec<bool> = rows.iter().map(|row| row.logits).collect();
    assert_eq!(wanted, [true, false, true]);
    assert_eq!(shares(&bench.control.step()), [(0, 6, 1), (1, 10, 1)]);
    bench.control.arrive();
    let view = &bench.engine.slots()[1];
    assert_eq!((view.state, view.generated), (SlotState::Decode, 2));
    bench.control.release();
    drop((talker, reader));
    bench.settled();
}

#[test]
fn a_long_prompt_alone_fills_the_steps() {
    let bench = Bench::new(2, 1000, options(16, 4), say("x"));
    let answer = read(bench.submit(ask("a", &"p".repeat(40))));
    assert_eq!((answer.text.as_str(), answer.finish.usage.prompt_tokens), ("x", 40));
    let seen = bench.control.seen();
    let counts: Vec<usize> = seen.steps.iter().map(Vec::len).collect();
    assert_eq!(counts, [16, 16, 8, 1]);
}

#[test]
fn requests_that_come_together_share_a_step() {
    let bench = Bench::new(4, 1000, options(16, 4), chatter());
    bench.control.hold();
    let first = bench.submit(Request { max_tokens: 1, ..ask("first", "a") });
    bench.control.arrive();
    let others = ["bcd", "ef", "g"].map(|prompt| bench.submit(ask(prompt, prompt)));
    bench.control.step();
    // The shortest is served first, and the first slot, just free, was used last.
    assert_eq!(shares(&bench.control.step()), [(3, 0, 1), (2, 0, 2), (1, 0, 3)]);
    assert_eq!(bench.control.step().len(), 3);
    bench.control.release();
    assert_eq!(read(first).reason(), &FinishReason::Length);
    drop(others);
    bench.settled();
}

#[test]
fn short_prompts_go_first_but_not_for_ever() {
    let bench = Bench::new(3, 1000, options(9, 8), chatter());
    bench.control.hold();
    let talker = bench.submit(ask("talker", "t"));
    bench.control.arrive();
    let long = bench.submit(ask("long", &"l".repeat(100)));
    // From now on a short prompt waits in every step, with all that a step reads.
    let mut shorts = Vec::new();
    let mut long_rows = Vec::new();
    for step in 0..60_u8 {
        // Nothing of it is remembered.
        let prompt = format!("{}1234567", char::from(b'0' + step));
        shorts.push(bench.submit(Request { max_tokens: 1, ..ask("short", &prompt) }));
        let rows = bench.control.step();
        bench.control.arrive();
        assert!(step == 0 || rows[0].slot == 0, "the talker comes first");
        long_rows.push(rows.iter().filter(|row| row.slot == 1).count());
    }
    let begins = long_rows.iter().position(|rows| *rows > 0).expect("it is served");
    assert!(begins >= 5, "the short ones come first: {long_rows:?}");
    assert!(bench.engine.slots()[1].generated > 0, "it is read within 60 steps: {long_rows:?}");
    bench.control.release();
    drop((talker, long));
    for short in shorts {
        assert_eq!(read(short).text, "x");
    }
    bench.settled();
}

fn random_request(random: &mut ChaCha8Rng, id: usize) -> Request {
    let letters = |random: &mut ChaCha8Rng, most: usize| -> Vec<Token> {
        let count = random.random_range(1..=most);
        (0..count).map(|_| random.random_range(97..123)).collect()
    };
    let stop = letters(random, 2).iter().map(|token| char::from(*token as u8)).collect();
    Request {
        prompt: letters(random, 60),
        max_tokens: random.random_range(1..60),
        sampling: Sampling {
            temperature: if random.random_bool(0.3) { 0.0 } else { 1.5 },
            top_k: random.random_range(0..30),
            repeat_penalty: 1.1,
            seed: random.random(),
            ..Sampling::default()
        },
        stop: if random.random_bool(0.5) { vec![stop] } else { Vec::new() },
        session: Some(format!("session {}", id % 7)),
        ..ask(&id.to_string(), "")
    }
}

fn essence(answer: &Answer) -> (&str, &FinishReason, usize) {
    (&answer.text, answer.reason(), answer.finish.usage.completion_tokens)
}

#[test]
fn what_runs_beside_an_answer_does_not_change_it() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let requests: Vec<Request> = (0..200).map(|id| random_request(&mut random, id)).collect();
    let alone = Bench::new(1, 1000, options(64, 32), scramble());
    let alone: Vec<_> = requests.iter().map(|r| read(alone.submit(r.clone()))).collect();
    let together =
        Bench::new(5, 600, Options { queue: 200, output_buffer: 3, ..options(20, 7) }, scramble());
    let generations: Vec<_> = requests.iter().map(|r| together.submit(r.clone())).collect();
    for (wanted, generation) in alone.iter().zip(generations) {
        assert_eq!(essence(&read(generation)), essence(wanted));
    }
    together.settled();
    let reasons = |reason| alone.iter().filter(|answer| *answer.reason() == reason).count();
    assert!(reasons(FinishReason::Stop) > 20 && reasons(FinishReason::Length) > 20);
    let stats = together.engine.stats();
    assert_eq!((stats.finished, stats.cancelled), (200, 0));
    let tokens: usize = alone.iter().map(|answer| answer.finish.usage.completion_tokens).sum();
    assert_eq!(stats.generated_tokens, tokens as u64);
    let prompts: usize = requests.iter().map(|request| request.prompt.len()).sum();
    assert_eq!(stats.prompt_tokens + stats.cached_tokens, prompts as u64);
    assert!(stats.tokens_per_s > 0.0 && stats.cached_tokens > 0);
}
