//! Logs of a process: one line per event, on stderr.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Environment variable with the filter of the logs.
pub const FILTER_ENV: &str = "RUST_LOG";
/// Environment variable with the format of the logs: `text`, or `json`.
pub const FORMAT_ENV: &str = "LOG_FORMAT";

/// Sends the logs of this process to stderr: as text, or as one JSON object a line with
/// `LOG_FORMAT=json`, each with the name of the `service` and the time in UTC. `RUST_LOG`
/// filters by target (`info`, `info,dialtone_batch=debug`); the default is `info`.
///
/// A second call changes nothing, so that tests may call it too.
pub fn init(service: &str) {
    let wanted = std::env::var(FILTER_ENV).unwrap_or_default();
    let (filter, bad) = filter(&wanted);
    let json = std::env::var(FORMAT_ENV).is_ok_and(|format| format == "json");
    // A closed stderr must not end the process, hence no reports about failed writes.
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let service = service.to_owned();
    let layer = if json {
        let format = JsonLine { service, inner: Format::default().json() };
        layer.fmt_fields(JsonFields::new()).event_format(format).with_ansi(false).boxed()
    } else {
        let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let format = TextLine { service, inner: Format::default() };
        layer.event_format(format).with_ansi(ansi).boxed()
    };
    let first = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().is_ok();
    if first && bad {
        tracing::warn!(RUST_LOG = wanted, "the filter cannot be read; logging from `info` up");
    }
}

fn filter(wanted: &str) -> (Targets, bool) {
    let default = || Targets::new().with_default(LevelFilter::INFO);
    match wanted.trim() {
        "" => (default(), false),
        text => text.parse().map_or_else(|_| (default(), true), |filter| (filter, false)),
    }
}

struct TextLine {
    service: String,
    inner: Format,
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "{} ", self.service)?;
        self.inner.format_event(ctx, writer, event)
    }
}

struct JsonLine {
    service: String,
    inner: Format<Json>,
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        let service = serde_json::Value::from(self.service.as_str());
        write!(writer, "{{\"service\":{service},{}", line.strip_prefix('{').unwrap_or(&line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_filter_falls_back_to_info() {
        assert_eq!(filter("").0.default_level(), Some(LevelFilter::INFO));
        assert_eq!(filter("debug").0.default_level(), Some(LevelFilter::DEBUG));
        assert!(!filter("info,hyper=warn").1);
        assert!(filter("a=b=c").1);
    }
}
