//! The engine over the native model: whatever runs beside a request, was cancelled before it or
//! is remembered from others, its answer is the one that it gets alone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dialtone_inference::engine::{Engine, FinishReason, Generation, Options, Output, Request};
use dialtone_inference::gguf::{Gguf, Type};
use dialtone_inference::matrix::Isa;
use dialtone_inference::model::{self, Model};
use dialtone_inference::sampling::Sampling;
use dialtone_inference::synthetic::{Family, Synthetic, Types};
use dialtone_inference::{Decoder as _, Token, tokenizer};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Tokens of the longest sequence.
const CONTEXT: usize = 160;
/// Requests of a run.
const REQUESTS: usize = 120;

/// The smallest model there is.
fn model(seed: u64) -> Gguf {
    let (family, ty) =
        [(Family::Llama, Type::Q8_0), (Family::Qwen2, Type::Q4_1)][seed as usize % 2];
    let mut synthetic = Synthetic::small(family, Types::all(ty), seed);
    (synthetic.embed, synthetic.heads, synthetic.kv_heads, synthetic.ffn) = (64, 4, 2, 96);
    (synthetic.vocab, synthetic.context) = (Synthetic::VOCAB_MIN, CONTEXT);
    Gguf::from_bytes(synthetic.to_bytes().expect("made")).expect("valid")
}

fn engine(gguf: &Gguf, load: &model::Options, options: Options) -> Engine {
    let tokenizer = tokenizer::from_gguf(gguf).expect("a tokenizer");
    let model = Model::load(gguf, load, &|_| {}).expect("a model");
    assert_eq!(model.shape().slots, load.slots);
    Engine::start(Box::new(model), tokenizer, options)
}

/// Turns of a few sessions, each with the beginning of its earlier ones; some share a beginning
/// with other sessions too.
struct Callers {
    random: ChaCha8Rng,
    histories: Vec<Vec<Token>>,
    vocab: Token,
}

impl Callers {
    fn new(seed: u64, vocab: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let vocab = vocab as Token;
        let shared: Vec<Token> = (0..40).map(|_| random.random_range(0..vocab)).collect();
        let histories = (0..6).map(|caller| shared[..caller * 7].to_vec()).collect();
        Self { random, histories, vocab }
    }

    fn request(&mut self, id: usize) -> Request {
        let Self { random, histories, vocab } = self;
        let caller = random.random_range(0..histories.len());
        let history = &mut histories[caller];
        let said = random.random_range(1..30);
        history.extend((0..said).map(|_| random.random_range(0..*vocab)));
        let prompt = history.clone();
        if history.len() > CONTEXT / 2 {
            history.truncate(random.random_range(1..40));
        }
        let temperature = [0.0, 0.7, 1.5][random.random_range(0..3)];
        Request {
            id: id.to_string(),
            prompt,
            max_tokens: random.random_range(1..40),
            sampling: Sampling {
                temperature,
                top_k: [0, 5, 40][random.random_range(0..3)],
                top_p: [1.0, 0.9][random.random_range(0..2)],
                min_p: [0.0, 0.05][random.random_range(0..2)],
                repeat_penalty: [1.0, 1.2][random.random_range(0..2)],
                repeat_last: 32,
                seed: random.random(),
            },
            stop: if random.random_bool(0.3) { vec!["e".to_owned()] } else { Vec::new() },
            session: random.random_bool(0.8).then(|| format!("caller {caller}")),
            ignore_end: random.random_bool(0.3),
        }
    }
}

/// Text, end and tokens of an answer.
type Essence = (String, FinishReason, usize);

fn read(mut generation: Generation) -> Essence {
    let mut text = String::new();
    while let Some(output) = generation.next_blocking() {
        match output {
            Output::Piece(piece) => text.push_str(&piece.text),
            Output::Finish(finish) => {
                return (text, finish.reason, finish.usage.completion_tokens);
            }
        }
    }
    panic!("no end after {text:?}")
}

fn settled(engine: &Engine) {
    let began = Instant::now();
    while engine.stats().slots_busy + engine.stats().queue_depth > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", engine.slots());
        std::thread::sleep(Duration::from_millis(1));
    }
    let stats = engine.stats();
    assert_eq!((stats.kv_used, stats.failed.as_deref()), (0, None));
    assert!(stats.kv_cached <= stats.kv_total, "{stats:?}");
}

/// What became of a run's requests, by their numbers.
struct Outcome {
    finished: HashMap<usize, Essence>,
    /// Those that were cancelled by name, whether they had been done before or not.
    cancelled: HashMap<usize, Essence>,
}

/// Submits all at once; some are cancelled, and the readers of others go away.
fn crowd(engine: &Engine, requests: &[Request], seed: u64) -> Outcome {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut running: HashMap<usize, Generation> = HashMap::new();
    let mut cancelled: HashMap<usize, Generation> = HashMap::new();
    for (id, request) in requests.iter().enumerate() {
        running.insert(id, engine.submit(request.clone()).expect("taken"));
        let victim = random.random_range(0..=id);
        match random.random_range(0..8) {
            0 => drop(running.remove(&victim)),
            1 => {
                engine.cancel(&victim.to_string());
                cancelled.extend(running.remove(&victim).map(|gone| (victim, gone)));
            }
            _ => {}
        }
    }
    let read_all = |generations: HashMap<usize, Generation>| {
        let mut generations: Vec<_> = generations.into_iter().collect();
        // In the order in which they came: a later one may wait for one that is not read.
        generations.sort_unstable_by_key(|(id, _)| *id);
        generations.into_iter().map(|(id, generation)| (id, read(generation))).collect()
    };
    let cancelled = read_all(cancelled);
    Outcome { finished: read_all(running), cancelled }
}

/// Holds what came out of a crowd against each request alone.
fn compare(alone: &Engine, requests: &[Request], outcome: &Outcome) {
    for (id, request) in requests.iter().enumerate() {
        let (finished, cancelled) = (outcome.finished.get(&id), outcome.cancelled.get(&id));
        if finished.is_none() && cancelled.is_none() {
            continue;
        }
        let wanted = read(alone.submit(request.clone()).expect("taken"));
        if let Some(finished) = finished {
            assert_eq!(finished, &wanted, "request {id}");
        }
        if let Some((text, reason, _)) = cancelled {
            assert!(reason == &FinishReason::Cancelled || reason == &wanted.1, "{reason:?}");
            assert!(wanted.0.starts_with(text.as_str()), "{text:?} of {:?}", wanted.0);
        }
    }
}

#[test]
fn an_answer_is_the_same_alone_and_in_a_crowd() {
    let all = [Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Neon];
    for (isa, seed) in all.into_iter().filter(|isa| isa.is_available()).zip(0..) {
        let gguf = model(seed);
        let mut load = model::Options {
            slots: 1,
            context: Some(CONTEXT),
            kv_tokens: Some(CONTEXT),
            kv_bytes: None,
            threads: 1,
            isa: Some(isa),
        };
        let alone = engine(&gguf, &load, Options { queue: 0, ..Options::default() });
        // Too little memory for all slots, so that some wait for room and much is forgotten.
        (load.slots, load.kv_tokens, load.threads) = (5, Some(CONTEXT * 2), 2);
        let options = Options {
            queue: REQUESTS,
            step_rows: 24,
            chunk_rows: 5,
            output_buffer: 2,
            ..Options::default()
        };
        let crowded = engine(&gguf, &load, options);
        let mut callers = Callers::new(seed, alone.shape().vocab);
        let requests: Vec<Request> = (0..REQUESTS).map(|id| callers.request(id)).collect();
        let outcome = crowd(&crowded, &requests, seed);
        settled(&crowded);
        compare(&alone, &requests, &outcome);
        settled(&alone);
        // The run was one that means something.
        let Outcome { finished, cancelled } = outcome;
        let stats = crowded.stats();
        let tokens: usize = finished.values().map(|(_, _, tokens)| tokens).sum();
        assert!(finished.len() > REQUESTS / 2 && tokens > 500 && cancelled.len() > 4);
        assert!(finished.values().any(|(_, reason, _)| *reason == FinishReason::Stop));
        assert!(stats.cached_tokens > 200, "nothing was remembered: {stats:?}");
        assert_eq!(stats.finished, REQUESTS as u64);
    }
}
