use std::str::FromStr;

/// What a threshold looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A percentile, from 0 to 100.
    Percentile(f64),
    /// The mean.
    Mean,
    /// The smallest value.
    Min,
    /// The largest.
    Max,
    /// A figure by its name, such as `unanswered`.
    Figure(String),
}

/// How what is seen compares to the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// Something that has to hold, as in `p(95)<600`.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    text: String,
    subject: Subject,
    relation: Relation,
    limit: f64,
}

impl Threshold {
    /// As it was written, without blanks.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it looks at.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether it holds for what was seen.
    pub fn holds(&self, seen: f64) -> bool {
        match self.relation {
            Relation::Below => seen < self.limit,
            Relation::AtMost => seen <= self.limit,
            Relation::Above => seen > self.limit,
            Relation::AtLeast => seen >= self.limit,
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let at = text.find(['<', '>']);
        let at = at.ok_or("expected a comparison with < or >, such as p(95)<600")?;
        let (subject, rest) = text.split_at(at);
        let (relation, limit) = match (rest.strip_prefix("<="), rest.strip_prefix(">=")) {
            (Some(limit), _) => (Relation::AtMost, limit),
            (_, Some(limit)) => (Relation::AtLeast, limit),
            _ if rest.starts_with('<') => (Relation::Below, &rest[1..]),
            _ => (Relation::Above, &rest[1..]),
        };
        let (subject, limit) = (subject.parse()?, number(limit)?);
        Ok(Self { text, subject, relation, limit })
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(percentile) = text.strip_prefix("p(").and_then(|text| text.strip_suffix(')')) {
            let percentile: f64 =
                percentile.parse().map_err(|_| format!("`{percentile}` is no number"))?;
            if !(0.0..=100.0).contains(&percentile) {
                return Err(format!("p({percentile}) is not between p(0) and p(100)"));
            }
            return Ok(Self::Percentile(percentile));
        }
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        match text {
            "med" => Ok(Self::Percentile(50.0)),
            "avg" => Ok(Self::Mean),
            "min" => Ok(Self::Min),
            "max" => Ok(Self::Max),
            "" => Err("nothing is compared; expected p(95), med, avg, min, max or a figure".into()),
            text if text.chars().all(name) => Ok(Self::Figure(text.to_owned())),
            text => Err(format!("`{text}` is not p(95), med, avg, min, max or a figure's name")),
        }
    }
}

/// A limit, in the unit of what it limits; `ms` may stand behind it, `s` is a thousand of it.
fn number(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1.0),
        None => text.strip_suffix('s').map_or((text, 1.0), |digits| (digits, 1e3)),
    };
    let limit = digits.parse::<f64>().ok().filter(|limit| limit.is_finite());
    limit.map(|limit| limit * factor).ok_or_else(|| format!("`{text}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_as_load_tests_write_them() {
        let read = |text: &str| text.parse::<Threshold>().expect("a threshold");
        let p95 = read(" p(95) < 600 ");
        assert_eq!((p95.text(), p95.subject()), ("p(95)<600", &Subject::Percentile(95.0)));
        assert!(p95.holds(599.9) && !p95.holds(600.0));
        assert!(read("p(99.9)<=1.2s").holds(1200.0));
        assert!(read("med>0ms").holds(1.0) && !read("avg>=1").holds(0.9));
        assert_eq!(read("unanswered<1").subject(), &Subject::Figure("unanswered".into()));
    }

    #[test]
    fn what_is_no_threshold_is_told_why() {
        for text in ["", "p(95)", "p(95)<", "p(95)<fast", "p(950)<1", "<600", "p95%<1", "p(x)<1"] {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
    }
}
