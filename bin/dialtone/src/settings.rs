//! `dialtone config show`: what `serve` would work with, and where each value comes from.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _};
use dialtone_auth::Secret;
use dialtone_auth::env::{self, Origin};
use dialtone_auth::livekit::ApiKey;
use dialtone_clock::{Clock, TIMELINE_ENV, Timeline};
use dialtone_serve::logs;
use serde_json::{Value, json};

use crate::keys_file::{KEYS_FILE, KeysFile};
use crate::{config, serve};

/// Rises when a field of the JSON document changes its meaning.
const SCHEMA_VERSION: u32 = 1;
/// What stands for a secret.
const HIDDEN: &str = "(hidden)";

/// What `serve` reads beside its arguments.
pub struct Settings {
    /// The clock, on the timeline of the environment.
    pub clock: Arc<dyn Clock>,
    /// The key for the LiveKit server.
    pub livekit: ApiKey,
    /// The operator's file of API keys.
    pub keys: Option<KeysFile>,
    /// The platform's secret, if there is one yet.
    pub secret: Option<(Secret, Origin)>,
}

impl Settings {
    /// Reads what the environment, and the files that it names, have for these arguments.
    ///
    /// # Errors
    /// If a value cannot be used; names the variable and repeats no secret.
    pub fn read(args: &serve::Args) -> anyhow::Result<Self> {
        args.place.check()?;
        Ok(Self {
            clock: config::clock()?,
            livekit: env::livekit_key(&args.livekit_url)?,
            keys: KeysFile::named()?,
            secret: config::present_secret(&args.place.data_dir)?,
        })
    }

    /// A line for each of them. Taken apart by name, so that none is forgotten here.
    fn lines(self, args: &serve::Args) -> anyhow::Result<Vec<Line>> {
        let Self { clock: _, livekit, keys, secret } = self;
        let pair = env::found("LIVEKIT_API_SECRET")?.map(|(_, origin)| origin);
        let key = pair.as_ref().map(|_| Origin::Environment);
        let dev = || "default (development pair)".to_owned();
        let keys = keys.map(|file| format!("{} ({} keys)", file.path.display(), file.keys.len()));
        let keys_from = keys.as_ref().map_or("default", |_| "environment");
        let made = || {
            let path = config::secret_file(&args.place.data_dir);
            format!("default (made by the first `serve`, in {})", path.display())
        };
        let hidden = secret.as_ref().map(|_| HIDDEN.to_owned());
        Ok(vec![
            Line::new("LIVEKIT_API_KEY", Some(livekit.key), from(key, dev)),
            Line::new("LIVEKIT_API_SECRET", Some(HIDDEN.to_owned()), from(pair, dev)),
            Line::new(config::SECRET_ENV, hidden, from(secret.map(|(_, origin)| origin), made)),
            Line::new(KEYS_FILE, keys, keys_from.to_owned()),
            Line::variable(TIMELINE_ENV, &Timeline::REAL.to_string()),
            Line::variable(logs::FILTER_ENV, "info"),
            Line::variable(logs::FORMAT_ENV, "text"),
        ])
    }
}

fn from(origin: Option<Origin>, or: impl FnOnce() -> String) -> String {
    match origin {
        None => or(),
        Some(Origin::Environment) => "environment".to_owned(),
        Some(Origin::File(path)) => format!("file {path}"),
    }
}

/// Subcommands of `config`.
#[derive(clap::Subcommand)]
pub enum ConfigCommand {
    /// Print what `serve` would work with, given the same arguments, and where each value comes
    /// from: a flag, the environment, a file, or the default. Secrets are hidden.
    Show(ShowArgs),
}

/// Arguments of `config show`.
#[derive(clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    serve: serve::Args,
    /// How to print it.
    #[arg(long, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table.
    Text,
    /// One JSON document.
    Json,
}

/// One setting.
struct Line {
    name: String,
    value: Option<String>,
    origin: String,
}

impl Line {
    fn new(name: impl Into<String>, value: Option<String>, origin: String) -> Self {
        Self { name: name.into(), value, origin }
    }

    fn variable(name: &str, default: &str) -> Self {
        let said = std::env::var(name).ok().filter(|value| !value.is_empty());
        let origin = if said.is_some() { "environment" } else { "default" };
        Self::new(name, Some(said.unwrap_or_else(|| default.to_owned())), origin.to_owned())
    }
}

/// Prints the settings; `matches` are those of `show`, which know where values come from.
pub fn run(command: ConfigCommand, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let ConfigCommand::Show(ShowArgs { serve, format }) = command;
    let mut lines = arguments(matches);
    lines.extend(Settings::read(&serve)?.lines(&serve)?);
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => {
            let item = |line: &Line| {
                let Line { name, value, origin } = line;
                json!({ "name": name, "value": value, "origin": origin })
            };
            let settings: Vec<Value> = lines.iter().map(item).collect();
            let document = json!({ "schema_version": SCHEMA_VERSION, "settings": settings });
            writeln!(out, "{document:#}")?;
        }
        Format::Text => {
            let width = |of: fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or_default();
            let name = width(|line| line.name.chars().count());
            let value = width(|line| line.value.as_deref().map_or(1, |text| text.chars().count()));
            for line in &lines {
                let text = line.value.as_deref().unwrap_or("-");
                writeln!(out, "{:<name$}  {text:<value$}  {}", line.name, line.origin)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each argument of `serve`, as it defines them.
fn arguments(matches: &ArgMatches) -> Vec<Line> {
    let command = serve::Args::augment_args(clap::Command::new("serve"));
    let line = |argument: &clap::Arg| {
        let id = argument.get_id().as_str();
        let values = matches.get_raw(id).map(|values| {
            let values: Vec<_> = values.map(|value| shown_url(&value.to_string_lossy())).collect();
            values.join(",")
        });
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => "flag".to_owned(),
            Some(ValueSource::EnvVariable) => {
                let name = argument.get_env().unwrap_or_default().to_string_lossy();
                format!("environment {name}")
            }
            _ => "default".to_owned(),
        };
        let name = argument.get_long().unwrap_or(id);
        Line::new(format!("--{name}"), values, origin)
    };
    command.get_arguments().map(line).collect()
}

/// A URL without the user, the password, and the query that it may carry; other text as it is.
pub fn shown_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    let (path, hidden) = match path.split_once(['?', '#']) {
        Some((path, _)) => (path, format!("?{HIDDEN}")),
        None => (path, String::new()),
    };
    format!("{scheme}://{host}{path}{hidden}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_no_credentials() {
        for (url, shown) in [
            ("http://127.0.0.1:7880", "http://127.0.0.1:7880"),
            ("data", "data"),
            ("wss://user:hunter2@x.test/a", "wss://(hidden)@x.test/a"),
            ("https://x.test/a?token=hunter2#b", "https://x.test/a?(hidden)"),
            ("https://a@b:hunter2@x.test", "https://(hidden)@x.test"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }
}
