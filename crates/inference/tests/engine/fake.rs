//! A model that does what it is told, and remembers what it was asked.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dialtone_inference::engine::{
    Engine, Finish, FinishReason, Generation, Options, Output, Piece, Request,
};
use dialtone_inference::sampling::Sampling;
use dialtone_inference::tokenizer::Tokenize;
use dialtone_inference::{DecodeError, Decoder, KvUsage, Row, Shape, Token};

/// The token that ends an answer.
pub const END: Token = 0;
/// Entries of the vocabulary: the end, then one for each printable ASCII character, then the
/// bytes of the others.
pub const VOCAB: usize = 256;
/// No test waits longer for the engine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes the logits that follow `tokens`, the first `prompt` of which are the prompt.
pub type Rule = Box<dyn Fn(usize, &[Token], &mut [f32]) + Send>;

/// What goes wrong in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Error,
    Panic,
    /// One row of logits is missing.
    Short,
    /// The first row of logits is not a number.
    Nan,
}

pub struct Fake {
    shape: Shape,
    room: usize,
    slots: Vec<Sequence>,
    rule: Rule,
    control: Arc<Control>,
}

#[derive(Default)]
struct Sequence {
    tokens: Vec<Token>,
    done: usize,
    prompt: usize,
    room: Option<usize>,
}

/// What a test sees of the fake, and how it holds it up.
#[derive(Default)]
pub struct Control {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
pub struct Seen {
    /// The rows of every step.
    pub steps: Vec<Vec<Row>>,
    /// Slot, tokens and room of every sequence that was begun or had no room.
    pub opens: Vec<(usize, usize, usize)>,
    /// Rules of the interface that were broken.
    pub broken: Vec<String>,
    /// What goes wrong in the next step.
    pub fault: Option<Fault>,
    /// The next `open` fails.
    pub no_open: bool,
    /// The model was given up.
    pub dropped: bool,
    held: bool,
    permits: usize,
    at_gate: bool,
}

impl Control {
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("not poisoned")
    }

    fn wait(&self, what: &str, until: impl Fn(&Seen) -> bool) -> MutexGuard<'_, Seen> {
        let (seen, _) = self
            .changed
            .wait_timeout_while(self.seen(), PATIENCE, |seen| !until(seen))
            .expect("not poisoned");
        assert!(until(&seen), "waited in vain for {what}");
        seen
    }

    /// No step runs from now on unless it is let through.
    pub fn hold(&self) {
        self.seen().held = true;
    }

    /// Waits until a step is held up.
    pub fn arrive(&self) {
        drop(self.wait("a step", |seen| seen.at_gate));
    }

    /// Lets the step through that is held up, or the next one. Returns its rows.
    pub fn step(&self) -> Vec<Row> {
        let mut seen = self.wait("a step to let through", |seen| seen.at_gate);
        seen.permits = 1;
        seen.at_gate = false;
        self.changed.notify_all();
        seen.steps.last().expect("a step").clone()
    }

    /// Lets all through again.
    pub fn release(&self) {
        self.seen().held = false;
        self.changed.notify_all();
    }
}

impl Decoder for Fake {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn open(&mut self, slot: usize, tokens: &[Token], room: usize) -> Result<usize, DecodeError> {
        let free = self.room - self.kv().used;
        let mut seen = self.control.seen();
        seen.opens.push((slot, tokens.len(), room));
        if std::mem::take(&mut seen.no_open) {
            return Err(DecodeError::Failed("it does not open".to_owned()));
        }
        let sequence = &mut self.slots[slot];
        if sequence.room.is_some() || room < tokens.len() || tokens.is_empty() {
            seen.broken.push(format!("open {slot} with {} of {room}", tokens.len()));
        }
        if room > free {
            return Err(DecodeError::NoRoom { wanted: room, free });
        }
        let same = sequence.tokens[..sequence.done].iter().zip(tokens).take_while(|(a, b)| a == b);
        let cached = same.count().min(tokens.len() - 1);
        *sequence = Sequence {
            tokens: tokens[..cached].to_vec(),
            done: cached,
            prompt: tokens.len(),
            room: Some(room),
        };
        Ok(cached)
    }

    fn decode(&mut self, rows: &[Row], logits: &mut Vec<f32>) -> Result<(), DecodeError> {
        let mut seen = self.control.seen();
        seen.steps.push(rows.to_vec());
        if rows.is_empty() || !logits.is_empty() {
            seen.broken.push("an empty step, or logits of the last".to_owned());
        }
        seen.at_gate = seen.held;
        self.control.changed.notify_all();
        let (mut seen, _) = self
            .control
            .changed
            .wait_timeout_while(seen, PATIENCE, |seen| seen.held && seen.permits == 0)
            .expect("not poisoned");
        seen.permits = 0;
        seen.at_gate = false;
        let fault = seen.fault.take();
        match fault {
            Some(Fault::Error) => return Err(DecodeError::Failed("told to fail".to_owned())),
            Some(Fault::Panic) => {
                drop(seen);
                panic!("told to panic");
            }
            _ => {}
        }
        for row in rows {
            let sequence = &mut self.slots[row.slot];
            let next = sequence.done == row.position;
            if !next || sequence.room.is_none_or(|room| row.position >= room) {
                seen.broken.push(format!("{row:?} after {} rows", sequence.done));
            }
            sequence.tokens.push(row.token);
            sequence.done += 1;
            if row.logits {
                let from = logits.len();
                logits.resize(from + VOCAB, 0.0);
                (self.rule)(sequence.prompt, &sequence.tokens, &mut logits[from..]);
            }
        }
        match fault {
            Some(Fault::Short) => logits.truncate(logits.len() - VOCAB),
            Some(Fault::Nan) => logits[7] = f32::NAN,
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, slot: usize) {
        if self.slots[slot].room.take().is_none() {
            self.control.seen().broken.push(format!("close of {slot}, which is free"));
        }
    }

    fn kv(&self) -> KvUsage {
        let used = self.slots.iter().filter_map(|sequence| sequence.room).sum();
        KvUsage { used, cached: 0, total: self.room }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.control.seen().dropped = true;
        self.control.changed.notify_all();
    }
}

/// An engine over a fake, and the fake's control.
pub struct Bench {
    pub engine: Engine,
    pub control: Arc<Control>,
}

impl Bench {
    /// With `slots` slots, each as long as the memory of `room` tokens.
    pub fn new(slots: usize, room: usize, options: Options, rule: Rule) -> Self {
        let control = Arc::new(Control::default());
        let fake = Fake {
            shape: Shape { vocab: VOCAB, context: 1000.min(room), slots },
            room,
            slots: (0..slots).map(|_| Sequence::default()).collect(),
            rule,
            control: Arc::clone(&control),
        };
        let engine = Engine::start(Box::new(fake), Arc::new(Bytes::new()), options);
        Self { engine, control }
    }

    pub fn submit(&self, request: Request) -> Generation {
        self.engine.submit(request).expect("taken")
    }

    /// Holds the engine up in a step in which all of `requests` have slots.
    pub fn hold_with<const N: usize>(&self, requests: [Request; N]) -> [Generation; N] {
        self.control.hold();
        let mut first = true;
        let generations = requests.map(|request| {
            let generation = self.submit(request);
            if std::mem::take(&mut first) {
                self.control.arrive();
            }
            generation
        });
        if N > 1 {
            self.control.step();
            self.control.arrive();
        }
        generations
    }

    /// Waits until nothing runs or waits, and looks whether all went by the rules.
    pub fn settled(&self) {
        eventually("all slots to be free", || {
            let stats = self.engine.stats();
            stats.slots_busy + stats.queue_depth == 0
        });
        let stats = self.engine.stats();
        assert_eq!(stats.kv_used, 0, "{stats:?}");
        assert!(self.engine.slots().iter().all(|slot| slot.request.is_none()));
        assert_eq!(self.control.seen().broken, [] as [String; 0]);
    }

    /// Waits for the engine's end.
    pub fn finish(&self, within: Duration) {
        block_on(self.engine.finish(within));
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let limited = async { tokio::time::timeout(PATIENCE, future).await };
    runtime.expect("a runtime").block_on(limited).expect("in time")
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A tokenizer in which every token is one byte.
struct Bytes {
    bytes: Vec<u8>,
}

impl Bytes {
    fn new() -> Self {
        Self { bytes: (0..=255).collect() }
    }
}

/// A token at which the tokenizer panics.
pub const POISON: Token = 7;

impl Tokenize for Bytes {
    fn encode(&self, text: &str, _special: bool) -> Vec<Token> {
        tokens(text)
    }

    fn bytes(&self, token: Token) -> &[u8] {
        assert_ne!(token, POISON, "poisoned");
        if token == END { &[] } else { &self.bytes[token as usize..=token as usize] }
    }

    fn name(&self, _token: Token) -> &str {
        ""
    }

    fn ends(&self, token: Token) -> bool {
        token == END
    }

    fn begin(&self) -> Option<Token> {
        None
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }
}

pub fn tokens(text: &str) -> Vec<Token> {
    text.bytes().map(Token::from).collect()
}

/// A request for a greedy answer of at most 100 tokens.
pub fn ask(id: &str, prompt: &str) -> Request {
    Request {
        id: id.to_owned(),
        prompt: tokens(prompt),
        max_tokens: 100,
        sampling: Sampling::default(),
        stop: Vec::new(),
        session: None,
        ignore_end: false,
    }
}

/// Every answer is `text`, then the end for ever.
pub fn say(text: impl Into<Vec<u8>>) -> Rule {
    let text = text.into();
    Box::new(move |prompt, tokens, logits| {
        let next = text.get(tokens.len() - prompt).map_or(END, |byte| Token::from(*byte));
        logits[next as usize] = 1.0;
    })
}

/// Answers go on for ever: `x`.
pub fn chatter() -> Rule {
    Box::new(|_, _, logits| logits[usize::from(b'x')] = 1.0)
}

/// Logits that depend on every token before them, letters being likely.
pub fn scramble() -> Rule {
    Box::new(|_, tokens, logits| {
        let mut state = 0xcbf2_9ce4_8422_2325_u64;
        for token in tokens {
            state = (state ^ u64::from(*token)).wrapping_mul(0x0100_0000_01b3);
        }
        for (at, logit) in logits.iter_mut().enumerate() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(at as u64 | 1);
            let likely = if (97..123).contains(&at) { 2.0 } else { -6.0 };
            *logit = (state >> 40) as f32 / (1 << 23) as f32 + likely;
        }
        logits[POISON as usize] = -60.0;
        logits[END as usize] = 0.0;
    })
}

/// All of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub text: String,
    pub pieces: Vec<Piece>,
    pub finish: Finish,
}

impl Answer {
    pub fn reason(&self) -> &FinishReason {
        &self.finish.reason
    }
}

/// Reads an answer to its end.
pub fn read(mut generation: Generation) -> Answer {
    let (mut text, mut pieces) = (String::new(), Vec::<Piece>::new());
    while let Some(output) = generation.next_blocking() {
        match output {
            Output::Piece(piece) => {
                assert!(!piece.text.is_empty());
                assert!(pieces.last().is_none_or(|last| last.tokens <= piece.tokens));
                text.push_str(&piece.text);
                pieces.push(piece);
            }
            Output::Finish(finish) => {
                assert!(generation.next_blocking().is_none(), "something follows the end");
                return Answer { text, pieces, finish };
            }
        }
    }
    panic!("no end after {text:?}");
}
