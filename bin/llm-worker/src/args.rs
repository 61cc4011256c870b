use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use dialtone_inference::backend::{Backend, Choice, Engine};
use dialtone_inference::load::BUILT_IN;
use dialtone_inference::matrix::Isa;
use dialtone_llm_api::heartbeat::HiveUrl;

use crate::span;

/// Serves one language model over OpenAI's API.
#[derive(Parser)]
#[command(name = "llm-worker", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: Serve,
}

/// What else than serving it can do.
#[derive(Subcommand)]
pub enum Command {
    /// Reads what a model file says of itself, and loads nothing.
    Inspect(Inspect),
    /// Lists the backends, whether each is built in, and its devices.
    Backends(Backends),
}

/// Which model.
#[derive(clap::Args, Clone)]
pub struct Model {
    /// GGUF file, or `builtin` for the tiny model inside the program.
    #[arg(long, value_name = "PATH", default_value = BUILT_IN)]
    pub model: PathBuf,
}

/// Arguments of `inspect`.
#[derive(clap::Args)]
pub struct Inspect {
    #[command(flatten)]
    pub model: Model,
    /// Computes the file's SHA-256 too, which reads all of it.
    #[arg(long)]
    pub sha256: bool,
    /// Prints one JSON document, also for a file that cannot be used.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `backends`.
#[derive(clap::Args, Clone, Copy)]
pub struct Backends {
    /// Prints one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of serving.
#[derive(clap::Args, Clone)]
pub struct Serve {
    #[command(flatten)]
    pub model: Model,
    /// Name of the model for clients; by default the file's name.
    #[arg(long, value_name = "NAME", value_parser = model_name)]
    pub model_id: Option<String>,
    /// What computes: auto, cpu, cuda, metal or vulkan.
    #[arg(long, default_value_t)]
    pub backend: Choice<Backend>,
    /// Which code runs the model: auto, native or llama-cpp.
    #[arg(long, default_value_t)]
    pub engine: Choice<Engine>,
    /// Number of the backend's device.
    #[arg(long, default_value_t = 0)]
    pub device: usize,
    /// Instruction set of the native engine.
    #[arg(long, value_enum, default_value_t = IsaArg::Auto)]
    pub isa: IsaArg,
    /// Threads that compute: a number, or auto for one less than there are cores.
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = threads)]
    pub threads: Threads,
    /// Requests that run at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub slots: u16,
    /// Requests that may wait for a slot; more are refused at once. By default as many as run.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub queue: Option<u16>,
    /// Tokens of the longest sequence; by default what the model was trained for.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub context: Option<u32>,
    /// Memory for past tokens in MiB, of all sequences together.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub kv_mib: Option<u32>,
    /// Tokens of an answer at most, where a request does not say.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: u32,
    /// Temperature where a request does not say; 0 gives the same answer every time.
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// Address to listen on; any but loopback needs an API key.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    pub bind: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 18081)]
    pub port: u16,
    /// Inherited listener, `http=DESCRIPTOR`.
    #[arg(long, value_name = "NAME=N")]
    pub listen_fd: Vec<String>,
    /// File to write the address to, as one line of JSON.
    #[arg(long, value_name = "PATH")]
    pub address_file: Option<PathBuf>,
    /// File with the key that callers must send; `LLM_WORKER_API_KEY` is another way.
    #[arg(long, value_name = "PATH")]
    pub api_key_file: Option<PathBuf>,
    /// Hive to send heartbeats to.
    #[arg(long, value_name = "URL")]
    pub hive_url: Option<HiveUrl>,
    /// Name in heartbeats; by default one of its own.
    #[arg(long, value_name = "ID", value_parser = name)]
    pub worker_id: Option<String>,
    /// Time from one heartbeat to the next.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span::interval)]
    pub heartbeat_interval: Duration,
    /// How long running requests may go on after SIGTERM.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span::parse)]
    pub drain: Duration,
}

/// How many threads compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One core is left to the rest of the machine.
    Auto,
    /// This many.
    Exactly(usize),
}

impl Threads {
    /// At least 1.
    pub fn count(self) -> usize {
        match self {
            Self::Exactly(count) => count,
            Self::Auto => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                cores.saturating_sub(1).max(1)
            }
        }
    }
}

/// An instruction set, or the best that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IsaArg {
    Auto,
    Scalar,
    Avx2,
    Avx512,
    Neon,
}

impl From<IsaArg> for Option<Isa> {
    fn from(arg: IsaArg) -> Self {
        match arg {
            IsaArg::Auto => None,
            IsaArg::Scalar => Some(Isa::Scalar),
            IsaArg::Avx2 => Some(Isa::Avx2),
            IsaArg::Avx512 => Some(Isa::Avx512),
            IsaArg::Neon => Some(Isa::Neon),
        }
    }
}

fn threads(text: &str) -> Result<Threads, String> {
    const MOST: usize = 1024;
    match text.parse() {
        _ if text == "auto" => Ok(Threads::Auto),
        Ok(count) if (1..=MOST).contains(&count) => Ok(Threads::Exactly(count)),
        _ => Err(format!("it must be `auto` or 1 to {MOST}")),
    }
}

fn name(text: &str) -> Result<String, String> {
    plain(text, "-_.:")
}

/// Models are often named with their maker: `maker/model`.
fn model_name(text: &str) -> Result<String, String> {
    plain(text, "-_.:/")
}

/// 1 to 128 letters, digits and `signs`.
fn plain(text: &str, signs: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || signs.contains(c);
    if (1..=128).contains(&text.len()) && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("it must be 1 to 128 letters, digits and `{signs}`"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_core_is_left_to_others() {
        assert!(Threads::Auto.count() >= 1);
        assert_eq!(threads("3"), Ok(Threads::Exactly(3)));
        assert!(threads("0").is_err() && threads("many").is_err());
    }
}
