use std::collections::HashMap;
use std::collections::hash_map::Entry;

use dialtone_auth::Phone;
use dialtone_contract::wire::{Duplicates, LiveEntry};
use dialtone_contract::{FieldError, limits};
use serde_json::{Map, Value};

use super::columns::bad_name;
use super::row_error;

/// What rows of a batch are held against.
#[derive(Clone, Copy)]
pub struct RowRules {
    /// What becomes of a number that stands there twice.
    pub duplicates: Duplicates,
    /// Whether numbers that only simulations use may be called.
    pub simulated: bool,
    /// Whether there is a time zone of this name.
    pub is_zone: fn(&str) -> bool,
}

/// A row that may be called.
#[derive(Clone, PartialEq)]
pub struct GoodRow {
    /// Who to call.
    pub to: Phone,
    /// The recipient's time zone.
    pub timezone: Option<String>,
    /// What the agent knows of this call.
    pub variables: Option<Map<String, Value>>,
}

/// Checks the rows of one batch, each against the rules and those before it. Remembers
/// twelve bytes of each.
pub struct RowChecks {
    rules: RowRules,
    /// Numbers that are taken, as the integers that their digits are, with their rows.
    taken: HashMap<u64, u32>,
    /// Zone names that were looked up before; there are some hundreds in the world.
    zones: HashMap<String, bool>,
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
        if let Some(zone) = &timezone
            && !self.is_zone(zone)
        {
            let detail = "not a time zone of the IANA database, such as `Europe/Berlin`";
            return Err(row_error(number, "timezone", "unknown", detail));
        }
        if let Some(variables) = &variables {
            check_variables(number, variables)?;
        }
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

    fn is_zone(&mut self, name: &str) -> bool {
        if let Some(known) = self.zones.get(name) {
            return *known;
        }
        let known = (self.rules.is_zone)(name);
        // Wrong names may all differ; they are not worth remembering.
        if known {
            self.zones.insert(name.to_owned(), known);
        }
        known
    }
}

/// A number as the integer that its digits are: at most fifteen, and the first is not 0,
/// so that two numbers are never the same integer.
fn digits(phone: &Phone) -> u64 {
    let digits = phone.expose().bytes().skip(1);
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

fn check_variables(number: u32, variables: &Map<String, Value>) -> Result<(), FieldError> {
    let refuse = |code: &str, detail: String| Err(row_error(number, "variables", code, detail));
    for (name, value) in variables {
        if let Some(what) = bad_name(name) {
            return refuse("invalid", format!("the name of a variable {what}"));
        }
        if holds_control(value) {
            return refuse("control_character", format!("`{name}` holds a control character"));
        }
    }
    let size = serde_json::to_string(variables).map_or(usize::MAX, |text| text.len());
    if size > limits::VARIABLES_MAX {
        let detail = format!("{size} bytes as JSON, more than {}", limits::VARIABLES_MAX);
        return refuse("too_large", detail);
    }
    Ok(())
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
