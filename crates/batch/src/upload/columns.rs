use dialtone_contract::{FieldError, limits};

/// Where a cell of a table goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The number.
    To,
    /// The recipient's time zone.
    Timezone,
    /// The variable of this name.
    Variable(String),
    /// Nowhere.
    LeftOut,
}

/// Names of the column with the number, as spreadsheets have them.
const TO: &[&str] = &["to", "phone", "phone_number", "number", "mobile"];
/// Names of the column with the time zone.
const TIMEZONE: &[&str] = &["timezone", "time_zone", "tz"];
/// Target of a column that shall not become a variable.
const LEFT_OUT: &str = "-";
/// Where the mapping of columns stands in the request.
const MAP: &str = "/query/map";

/// The target of each column of a table with these names. `map` says where columns go
/// (`Handy:to,Zone:timezone,Notes:-`); without a word of it usual names are recognised,
/// and every other column becomes a variable of its name.
pub(super) fn targets(names: &[String], map: &str) -> Result<Vec<Target>, FieldError> {
    let mut asked = Vec::new();
    for pair in map.split(',').filter(|pair| !pair.trim().is_empty()) {
        asked.push(mapping(pair)?);
    }
    let mapped = |to: &Target| asked.iter().any(|(_, target)| target == to);
    let usual = [(TO, Target::To), (TIMEZONE, Target::Timezone)];
    let target = |name: &String| {
        let spelled = spelled(name);
        if let Some((_, target)) = asked.iter().find(|(column, _)| *column == spelled) {
            return target.clone();
        }
        let known = usual
            .iter()
            .find(|(names, target)| names.contains(&spelled.as_str()) && !mapped(target));
        match known {
            Some((_, target)) => target.clone(),
            None if spelled.is_empty() => Target::LeftOut,
            None => Target::Variable(name.trim().to_owned()),
        }
    };
    let targets: Vec<_> = names.iter().map(target).collect();
    let missing =
        asked.iter().find(|(column, _)| names.iter().all(|name| spelled(name) != *column));
    if let Some((column, _)) = missing {
        let detail = format!("the table has no column `{column}`; it has {}", listed(names));
        return Err(FieldError::new(MAP, "unknown", detail));
    }
    check(names, &targets)?;
    Ok(targets)
}

/// A name as it is compared: spreadsheets differ in case and in what stands for a space.
fn spelled(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}

fn mapping(pair: &str) -> Result<(String, Target), FieldError> {
    let Some((column, target)) = pair.rsplit_once(':') else {
        let detail = format!("`{}` is not COLUMN:TARGET", pair.trim());
        return Err(FieldError::new(MAP, "invalid", detail));
    };
    let target = match target.trim() {
        "to" => Target::To,
        "timezone" => Target::Timezone,
        LEFT_OUT => Target::LeftOut,
        "" => {
            let detail = format!("the column `{}` is given no target", column.trim());
            return Err(FieldError::new(MAP, "invalid", detail));
        }
        name => Target::Variable(name.to_owned()),
    };
    Ok((spelled(column), target))
}

fn check(names: &[String], targets: &[Target]) -> Result<(), FieldError> {
    let head = |code: &str, detail: String| Err(FieldError::new("/header", code, detail));
    if names.len() > limits::UPLOAD_COLUMNS_MAX {
        let detail = format!("more than {} columns", limits::UPLOAD_COLUMNS_MAX);
        return head("too_large", detail);
    }
    if !targets.contains(&Target::To) {
        let detail = format!(
            "no column is known to hold the numbers: the table has {}; name it `to`, or say \
             `map=COLUMN:to`",
            listed(names)
        );
        return head("missing", detail);
    }
    for (at, target) in targets.iter().enumerate() {
        if let Target::Variable(name) = target
            && let Some(what) = bad_name(name)
        {
            return head("invalid", format!("the name of column {} {what}", at + 1));
        }
        if *target != Target::LeftOut && targets[..at].contains(target) {
            let what = match target {
                Target::To => "the number",
                Target::Timezone => "the time zone",
                Target::Variable(name) => name,
                Target::LeftOut => "nothing",
            };
            let detail = format!("more than one column holds {what}; say which with `map`");
            return head("duplicate", detail);
        }
    }
    Ok(())
}

/// Why a variable cannot have this name, if it cannot.
pub(crate) fn bad_name(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() {
        Some("is empty")
    } else if name.len() > limits::VARIABLE_NAME_MAX {
        Some("is too long")
    } else if name.chars().any(char::is_control) {
        Some("holds a control character")
    } else {
        None
    }
}

/// The names for a message, a handful of them.
fn listed(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(8).map(|name| format!("`{}`", cut(name))).collect();
    let more = if names.len() > shown.len() { ", .." } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn cut(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::Target::{LeftOut, Timezone, To};
    use super::*;

    fn of(names: &str, map: &str) -> Result<Vec<Target>, (String, String)> {
        let names: Vec<_> = names.split('|').map(str::to_owned).collect();
        targets(&names, map).map_err(|error| (error.pointer, error.code))
    }

    fn variable(name: &str) -> Target {
        Target::Variable(name.to_owned())
    }

    #[test]
    fn usual_names_need_no_mapping() {
        for name in ["to", "Phone", "PHONE NUMBER", "phone-number", " Mobile ", "number"] {
            let found = of(&format!("{name}|First Name|TZ"), "");
            assert_eq!(found, Ok(vec![To, variable("First Name"), Timezone]), "{name}");
        }
    }

    #[test]
    fn a_mapping_goes_before_usual_names() {
        let found =
            of("phone|Handy|Zone|Notes|Vorname", "handy:to, Zone:timezone,NOTES:-,vorname:name");
        assert_eq!(found, Ok(vec![variable("phone"), To, Timezone, LeftOut, variable("name")]));
        // A colon in a column's name is no separator.
        assert_eq!(of("a:b|x", "a:b:to"), Ok(vec![To, variable("x")]));
    }

    #[test]
    fn a_head_that_cannot_be_understood_is_refused() {
        let refused = |pointer: &str, code: &str| Err((pointer.to_owned(), code.to_owned()));
        assert_eq!(of("a|b", ""), refused("/header", "missing"));
        assert_eq!(of("phone|mobile", ""), refused("/header", "duplicate"));
        assert_eq!(of("phone|x|x", ""), refused("/header", "duplicate"));
        assert_eq!(of("phone|a\u{7}", ""), refused("/header", "invalid"));
        assert_eq!(of("a|b", "c:to"), refused("/query/map", "unknown"));
        assert_eq!(of("a|b", "a"), refused("/query/map", "invalid"));
        assert_eq!(of("a|b", "a:"), refused("/query/map", "invalid"));
        let wide = format!("phone{}", "|x".repeat(300));
        assert_eq!(of(&wide, ""), refused("/header", "too_large"));
        // Empty columns at the end, as spreadsheets write them, are nothing.
        assert_eq!(of("phone||", ""), Ok(vec![To, LeftOut, LeftOut]));
    }
}
