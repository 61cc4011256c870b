//! How fast a model is: one JSON document with tokens per CPU-second (all threads), the CPU time
//! to a first token, cold and with a remembered beginning, time to load, and peak memory.
//!
//! ```text
//! cargo run --release -p dialtone-inference --example speed -- --model FILE
//!     [--isa NAME] [--threads 1] [--sequences 1] [--prompt 64] [--count 48] [--rounds 3]
//! ```

use std::path::PathBuf;
use std::time::Instant;

use dialtone_inference::load::{LoadOptions, Loaded, Source, load};
use dialtone_inference::{Decoder, Row, Token};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Options {
    model: Source,
    isa: Option<dialtone_inference::matrix::Isa>,
    threads: usize,
    sequences: usize,
    prompt: usize,
    count: usize,
    rounds: usize,
}

/// A moment, by the clock and by what this process has computed.
#[derive(Clone, Copy)]
struct Moment {
    wall: Instant,
    cpu_ns: u64,
}

/// Seconds between two moments.
#[derive(Clone, Copy)]
struct Span {
    wall: f64,
    cpu: f64,
}

impl Moment {
    fn now() -> Result<Self> {
        // The kernel books a thread's time when it gives up the processor.
        std::thread::yield_now();
        let mut cpu_ns = 0;
        for task in std::fs::read_dir("/proc/self/task")? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            cpu_ns += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
        }
        Ok(Self { wall: Instant::now(), cpu_ns })
    }

    fn span(self) -> Result<Span> {
        let end = Self::now()?;
        let cpu = (end.cpu_ns - self.cpu_ns) as f64 / 1e9;
        Ok(Span { wall: (end.wall - self.wall).as_secs_f64(), cpu })
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        model: Source::BuiltIn,
        isa: None,
        threads: 1,
        sequences: 1,
        prompt: 64,
        count: 48,
        rounds: 3,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--model" => options.model = Source::File(PathBuf::from(value)),
            "--isa" => options.isa = Some(value.parse()?),
            "--threads" => options.threads = value.parse()?,
            "--sequences" => options.sequences = value.parse()?,
            "--prompt" => options.prompt = value.parse()?,
            "--count" => options.count = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            _ => return Err(format!("there is no option {name}").into()),
        }
    }
    Ok(options)
}

/// The prompt of `sequence`: any tokens will do, since the work does not depend on them.
fn prompt(sequence: usize, len: usize, vocab: usize) -> Vec<Token> {
    let word = |position: usize| {
        let mixed = ((sequence * 1009 + position + 1) as u32).wrapping_mul(2_654_435_761);
        (mixed >> 8) % (vocab as u32 - 1) + 1
    };
    (0..len).map(word).collect()
}

fn best(logits: &[f32]) -> Token {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as Token)
}

/// Opens a sequence and runs its prompt. The first token that follows, and how many were
/// remembered.
fn fill(
    model: &mut dyn Decoder,
    slot: usize,
    tokens: &[Token],
    room: usize,
    logits: &mut Vec<f32>,
) -> Result<(Token, usize)> {
    let cached = model.open(slot, tokens, room)?;
    let row = |position: usize| {
        let logits = position + 1 == tokens.len();
        Row { slot, position, token: tokens[position], logits }
    };
    let rows: Vec<Row> = (cached..tokens.len()).map(row).collect();
    logits.clear();
    model.decode(&rows, logits)?;
    Ok((best(logits), cached))
}

fn median(spans: &mut [Span]) -> Span {
    spans.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    spans[spans.len() / 2]
}

fn peak_mb() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// The model, with memory for `slots` sequences of `room` tokens and a few more that stay
/// remembered.
fn loaded(options: &Options, slots: usize, room: usize) -> Result<Loaded> {
    let load_options = LoadOptions {
        slots,
        context: None,
        kv_tokens: Some((slots + options.rounds + 2) * room.next_multiple_of(32)),
        kv_bytes: None,
        threads: options.threads,
        isa: options.isa,
    };
    Ok(load(&options.model, &load_options, &|_| ())?)
}

fn main() -> Result<()> {
    let options = options()?;
    let room = options.prompt + options.count + 1;
    let slots = options.sequences + 1;
    let start = Moment::now()?;
    let mut loaded = loaded(&options, slots, room)?;
    let model = &mut *loaded.decoder;
    let vocab = model.shape().vocab;
    let (mut logits, mut next) = (Vec::new(), Vec::new());
    fill(model, 0, &[1], 2, &mut logits)?;
    let load = start.span()?;
    model.close(0);

    let (mut cold, mut hit, mut remembered) = (Vec::new(), Vec::new(), 0);
    for round in 0..=options.rounds {
        let tokens = prompt(1000 + round, options.prompt, vocab);
        for spans in [&mut cold, &mut hit] {
            let start = Moment::now()?;
            remembered = fill(model, 0, &tokens, room, &mut logits)?.1;
            spans.push(start.span()?);
            model.close(0);
        }
    }
    // The first round touches everything once.
    let (cold, hit) = (median(&mut cold[1..]), median(&mut hit[1..]));

    for slot in 0..options.sequences {
        let tokens = prompt(slot, options.prompt, vocab);
        next.push(fill(model, slot, &tokens, room, &mut logits)?.0);
    }
    let start = Moment::now()?;
    for i in 0..options.count {
        let position = options.prompt + i;
        let row = |(slot, &token)| Row { slot, position, token, logits: true };
        let rows: Vec<Row> = next.iter().enumerate().map(row).collect();
        logits.clear();
        model.decode(&rows, &mut logits)?;
        next = logits.chunks_exact(vocab).map(best).collect();
    }
    let decode = start.span()?;
    let decoded = (options.sequences * options.count) as f64;
    let document = serde_json::json!({
        "engine": "dialtone",
        "isa": loaded.device,
        "threads": options.threads,
        "sequences": options.sequences,
        "prompt": options.prompt,
        "decode": options.count,
        "remembered": remembered,
        "load_ms": load.wall * 1e3,
        "load_cpu_ms": load.cpu * 1e3,
        "ttft_ms": cold.wall * 1e3,
        "ttft_cpu_ms": cold.cpu * 1e3,
        "ttft_hit_ms": hit.wall * 1e3,
        "ttft_hit_cpu_ms": hit.cpu * 1e3,
        "prompt_tokens_per_s": options.prompt as f64 / cold.wall,
        "prompt_tokens_per_cpu_s": options.prompt as f64 / cold.cpu,
        "decode_tokens_per_s": decoded / decode.wall,
        "decode_tokens_per_cpu_s": decoded / decode.cpu,
        "rss_peak_mb": peak_mb()?,
    });
    println!("{document}");
    Ok(())
}
