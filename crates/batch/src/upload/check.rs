use std::collections::HashMap;
use std::collections::hash_map::Entry;

use dialtone_auth::Phone;
use dialtone_contract::wire::{Duplicates, LiveEntry};
use dialtone_contract::{FieldError, limits};
use serde_json::{Map, Value};

use super::columns::bad_name;
use super::row_error;

/// Zone names that are remembered: there are some six hundred.
const ZONES_KEPT: usize = 2_000;

/// What rows of a batch are held against.
#[derive(Clone, Copy)]
pub struct RowRules {
    /// What becomes of a number that stands there twice.
    pub duplicates: Duplicates,
    /// Whether numbers that only simulations use may be called.
    pub simulated: bool,
    /// Whether a row must say in which time zone it is called: calls have a window there.
    pub needs_zone: bool,
    /// The name of a time zone as entries keep it, whatever its case; `None` if there is
    /// no such zone.
    pub zone: fn(&str) -> Option<&'static str>,
}

/// A row that may be called.
#[derive(Clone, PartialEq)]
pub struct GoodRow {
    /// Who to call.
    pub to: Phone,
    /// The recipient's time zone.
    pub timezone: Option<&'static str>,
    /// What the agent knows of this call: a JSON object.
    pub variables: Option<String>,
}

/// Checks the rows of one batch, each against the rules and those before it. Remembers
/// twelve bytes of each.
pub struct RowChecks {
    rules: RowRules,
    /// Numbers that are taken, as the integers that their digits are, with their rows.
    taken: HashMap<u64, u32>,
    /// Zone names that were looked up before.
    zones: HashMap<String, &'static str>,
}

impl RowChecks {
    /// Checks by `rules`, with no row seen yet.
    pub fn new(rules: RowRules) -> Self {
        Self { rules, taken: HashMap::new(), zones: HashMap::new() }
    }

    /// Checks the row of this number.
    ///
    /// # Errors
    /// With the first thing that is wrong. It quotes no number.
    pub fn check(&mut self, number: u32, entry: LiveEntry) -> Result<GoodRow, FieldError> {
        let LiveEntry { to, variables, timezone } = entry;
        let to = Phone::parse(&to)
            .map_err(|error| row_error(number, "to", "invalid", error.to_string()))?;
        if to.is_simulated() && !self.rules.simulated {
            let detail = format!("{to} is a simulated number; live batches call people");
            return Err(row_error(number, "to", "simulated", detail));
        }
        let timezone = self.zone(number, timezone.as_deref())?;
        let variables = variables.as_ref().map(|all| variables_text(number, all)).transpose()?;
        if self.rules.duplicates == Duplicates::Refuse {
            match self.taken.entry(digits(&to)) {
                Entry::Occupied(first) => {
                    let detail = format!("{to} stands in row {} already", first.get());
                    return Err(row_error(number, "to", "duplicate", detail));
                }
                Entry::Vacant(free) => free.insert(number),
            };
        }
        Ok(GoodRow { to, timezone, variables })
    }

    fn zone(
        &mut self,
        number: u32,
        name: Option<&str>,
    ) -> Result<Option<&'static str>, FieldError> {
        let refuse = |code: &str, detail: &str| Err(row_error(number, "timezone", code, detail));
        let Some(name) = name else {
            if self.rules.needs_zone {
                return refuse(
                    "missing",
                    "needed: the calls have a window in each recipient's zone",
                );
            }
            return Ok(None);
        };
        if let Some(known) = self.zones.get(name) {
            return Ok(Some(*known));
        }
        let Some(known) = (self.rules.zone)(name) else {
            return refuse(
                "unknown",
                "not a time zone of the IANA database, such as `Europe/Berlin`",
            );
        };
        // A name has many spellings; those of one upload are few.
        if self.zones.len() < ZONES_KEPT {
            self.zones.insert(name.to_owned(), known);
        }
        Ok(Some(known))
    }
}

/// A number as the integer that its digits are: at most fifteen, and the first is not 0,
/// so that two numbers are never the same integer.
fn digits(phone: &Phone) -> u64 {
    let digits = phone.expose().bytes().skip(1);
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// The variables as entries keep them.
fn variables_text(number: u32, variables: &Map<String, Value>) -> Result<String, FieldError> {
    let refuse = |code: &str, detail: String| Err(row_error(number, "variables", code, detail));
    for (name, value) in variables {
        if let Some(what) = bad_name(name) {
            return refuse("invalid", format!("the name of a variable {what}"));
        }
        if holds_control(value) {
            return refuse("control_character", format!("`{name}` holds a control character"));
        }
    }
    let text = serde_json::to_string(variables).expect("JSON");
    if text.len() > limits::VARIABLES_MAX {
        let detail = format!("{} bytes as JSON, more than {}", text.len(), limits::VARIABLES_MAX);
        return refuse("too_large", detail);
    }
    Ok(text)
}

/// Whether a text in `value` holds a control character other than those that lay out
/// text: they reach prompts and logs.
fn holds_control(value: &Value) -> bool {
    let bad = |text: &str| text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    match value {
        Value::String(text) => bad(text),
        Value::Array(items) => items.iter().any(holds_control),
        Value::Object(members) => {
            members.iter().any(|(name, value)| bad(name) || holds_control(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
