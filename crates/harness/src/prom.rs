//! Reading the Prometheus text format, as much of it as our own services write.

use std::collections::BTreeMap;

/// The samples of one `/metrics` answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<Sample>);

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Samples {
    /// Reads the text; lines that are no samples are passed over.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// The sum of all samples of this name whose labels include `with`; `None` if there is none.
    pub fn sum(&self, name: &str, with: &[(&str, &str)]) -> Option<f64> {
        let mut found = self
            .0
            .iter()
            .filter(|sample| sample.name == name)
            .filter(|sample| {
                with.iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|label| label == value))
            })
            .map(|sample| sample.value)
            .peekable();
        found.peek()?;
        Some(found.sum())
    }

    /// The `q` quantile (0 to 1) of a histogram, all label sets together, by linear interpolation
    /// inside its bucket. `None` if nothing was observed.
    pub fn quantile(&self, histogram: &str, q: f64) -> Option<f64> {
        let bucket = format!("{histogram}_bucket");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.0.iter().filter(|sample| sample.name == bucket) {
            let Some(edge) = sample.labels.get("le").and_then(|le| float(le)) else { continue };
            match buckets.iter_mut().find(|(known, _)| known.total_cmp(&edge).is_eq()) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((edge, sample.value)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total = buckets.last()?.1;
        let rank = q * total;
        let at = buckets.iter().position(|(_, count)| *count >= rank && *count > 0.0)?;
        let (below, before) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
        let (edge, count) = buckets[at];
        if edge.is_infinite() {
            // Nothing is known above the last edge but that it was passed.
            return Some(below);
        }
        let share = if count > before { (rank - before) / (count - before) } else { 1.0 };
        Some(below + (edge - below) * share.clamp(0.0, 1.0))
    }
}

fn sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let name_end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    // A time may follow the value, an exemplar too.
    let value = float(rest.split_whitespace().next()?)?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Reads labels up to the closing bracket; values can hold brackets, commas and escaped quotes.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, plain) => value.push(plain),
            }
        };
        labels.insert(key.trim().to_owned(), value);
        rest = &after[end + 1..];
    }
}

fn float(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok().filter(|value: &f64| !value.is_nan()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP batch_callbacks Callbacks.
# TYPE batch_callbacks counter
batch_callbacks_total{result="applied"} 124
batch_callbacks_total{result="duplicate"} 2 1795312800
# TYPE call_dispatch_duration_seconds histogram
call_dispatch_duration_seconds_sum{outcome="ok"} 1.5
call_dispatch_duration_seconds_count{outcome="ok"} 100
call_dispatch_duration_seconds_bucket{le="0.005",outcome="ok"} 50
call_dispatch_duration_seconds_bucket{le="0.01",outcome="ok"} 90
call_dispatch_duration_seconds_bucket{le="0.025",outcome="ok"} 98
call_dispatch_duration_seconds_bucket{le="+Inf",outcome="ok"} 100
call_dispatch_duration_seconds_bucket{le="0.005",outcome="refused"} 0
call_dispatch_duration_seconds_bucket{le="+Inf",outcome="refused"} 0
odd{text="a \"b\" {c}, d\\e"} +Inf
broken{text="x
alone
plain 7
# EOF
"#;

    #[test]
    fn counters_add_up_over_labels() {
        let samples = Samples::parse(TEXT);
        assert_eq!(samples.sum("batch_callbacks_total", &[]), Some(126.0));
        assert_eq!(samples.sum("batch_callbacks_total", &[("result", "applied")]), Some(124.0));
        assert_eq!(samples.sum("batch_callbacks_total", &[("result", "late")]), None);
        assert_eq!(samples.sum("plain", &[]), Some(7.0));
        assert_eq!(samples.sum("odd", &[("text", r#"a "b" {c}, d\e"#)]), Some(f64::INFINITY));
    }

    #[test]
    fn quantiles_are_interpolated_inside_their_bucket() {
        let samples = Samples::parse(TEXT);
        let quantile = |q| samples.quantile("call_dispatch_duration_seconds", q);
        let near = |q: f64, want: f64| {
            let got = quantile(q).expect("observed");
            assert!((got - want).abs() < 1e-9, "{q}: {got}, not {want}");
        };
        near(0.25, 0.0025);
        near(0.5, 0.005);
        near(0.7, 0.0075);
        near(0.9, 0.01);
        near(0.94, 0.0175);
        // The last two were slower than every edge: the last edge is all that is known.
        near(0.99, 0.025);
        assert_eq!(samples.quantile("nothing", 0.5), None);
        let none = "h_bucket{le=\"1\"} 0\nh_bucket{le=\"+Inf\"} 0\n";
        assert_eq!(Samples::parse(none).quantile("h", 0.5), None);
    }
}
