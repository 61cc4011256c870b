use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::account::is_sid;
use crate::failure::Failure;

/// The calls that a manifest has under a tag. A manifest is what wrote down which call belonged to
/// which run: lines `tag,call_sid`, or JSON lines with `run_tag` and `call_sid`.
pub fn calls_of(path: &Path, tag: &str) -> Result<BTreeSet<String>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::environment(format!("cannot read {}", path.display()), error))?;
    let mut calls = BTreeSet::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line == "run_tag,call_sid" {
            continue;
        }
        let Some((of, call)) = entry(line) else {
            let what = format!("{}:{}: not a tag and a call sid", path.display(), n + 1);
            return Err(Failure::environment(what, line.chars().take(80).collect::<String>()));
        };
        if of == tag {
            calls.insert(call);
        }
    }
    Ok(calls)
}

fn entry(line: &str) -> Option<(String, String)> {
    let (tag, call) = if line.starts_with('{') {
        let object: serde_json::Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| Some(object.get(key)?.as_str()?.to_owned());
        (text("run_tag")?, text("call_sid")?)
    } else {
        let (tag, call) = line.split_once(',')?;
        (tag.trim().to_owned(), call.trim().to_owned())
    };
    is_sid(&call, "CA").then_some((tag, call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_by_their_tag_in_either_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls");
        let (one, two, other) = ("1".repeat(32), "2".repeat(32), "3".repeat(32));
        fs::write(
            &path,
            format!(
                "run_tag,call_sid\nnight,CA{one}\n\n\
                 {{\"run_tag\":\"night\",\"call_sid\":\"CA{two}\",\"more\":1}}\nday,CA{other}\n"
            ),
        )
        .unwrap();
        let calls = calls_of(&path, "night").unwrap();
        assert_eq!(calls.into_iter().collect::<Vec<_>>(), [format!("CA{one}"), format!("CA{two}")]);
        fs::write(&path, "night;CA1\n").unwrap();
        let failure = calls_of(&path, "night").unwrap_err();
        assert!(failure.message.contains(":1:"), "{failure}");
    }
}
