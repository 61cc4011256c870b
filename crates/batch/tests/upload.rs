//! Uploads from the outside: what is read from which bytes, and what is wrong with what.

use std::io::Cursor;
use std::ops::ControlFlow;

use dialtone_batch::upload::{GoodRow, JsonList, RowChecks, RowRules, Table, Upload, UploadError};
use dialtone_contract::wire::{Duplicates, LiveEntry};
use dialtone_contract::{FieldError, limits};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn json_rows(body: &[u8]) -> Result<Vec<Result<LiveEntry, FieldError>>, UploadError> {
    rows(&mut JsonList::new(Cursor::new(body)))
}

fn table_rows(body: &[u8], map: &str) -> Result<Vec<Result<LiveEntry, FieldError>>, UploadError> {
    rows(&mut Table::new(Cursor::new(body), map))
}

fn rows(upload: &mut dyn Upload) -> Result<Vec<Result<LiveEntry, FieldError>>, UploadError> {
    let mut rows = Vec::new();
    upload.rows(&mut |row| {
        assert_eq!(row.number as usize, rows.len() + 1, "rows are counted from 1");
        rows.push(row.entry);
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn entry(to: &str, variables: &[(&str, &str)], timezone: Option<&str>) -> LiveEntry {
    let variables: Map<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    LiveEntry {
        to: to.to_owned(),
        variables: (!variables.is_empty()).then_some(variables),
        timezone: timezone.map(str::to_owned),
    }
}

fn good(rows: Result<Vec<Result<LiveEntry, FieldError>>, UploadError>) -> Vec<LiveEntry> {
    let rows = rows.expect("a list that can be read");
    rows.into_iter().map(|row| row.expect("a good row")).collect()
}

#[test]
fn a_table_is_read_as_spreadsheets_write_it() {
    let expected = vec![
        entry(
            "+4915112345678",
            &[("name", "Ada"), ("note", "a;b, \"c\"\n\td")],
            Some("Europe/Berlin"),
        ),
        entry("+15551230001", &[("name", ""), ("note", "")], None),
    ];
    let note = "\"a;b, \"\"c\"\"\n\td\"";
    for separator in [",", ";", "\t"] {
        for end in ["\n", "\r\n", "\r"] {
            for (bom, last) in [("", ""), ("\u{feff}", end), ("", &format!("{end}{end}  {end}"))] {
                let text = [
                    format!("{bom}Phone Number;name;note;TZ"),
                    format!(" +4915112345678 ;\"Ada\";{note};Europe/Berlin"),
                    ";;;".to_owned(),
                    "+15551230001;;;".to_owned(),
                ];
                let text: Vec<_> = text
                    .iter()
                    .map(|line| line.replace(note, "NOTE").replace(';', separator))
                    .map(|line| line.replace("NOTE", note))
                    .collect();
                let text = format!("{}{last}", text.join(end));
                assert_eq!(good(table_rows(text.as_bytes(), "")), expected, "{text:?}");
            }
        }
    }
    // Excel's own word on the separator, and a mapping of columns.
    let text = "sep=|\nhandy|tz|x\n+4915112345678|Asia/Tokyo|7\n";
    let found = good(table_rows(text.as_bytes(), "Handy:to,x:age"));
    assert_eq!(found, [entry("+4915112345678", &[("age", "7")], Some("Asia/Tokyo"))]);
    // Cells that are missing at the end of a row are empty.
    let found = good(table_rows(b"to,a,b\n+15551230001,1\n", ""));
    assert_eq!(found, [entry("+15551230001", &[("a", "1")], None)]);
}

#[test]
fn a_table_that_cannot_be_read_is_refused_with_its_place() {
    let refused = |body: &[u8]| match table_rows(body, "") {
        Err(UploadError::Invalid(field)) => (field.pointer, field.code),
        other => panic!("{other:?}"),
    };
    let expected = |pointer: &str, code: &str| (pointer.to_owned(), code.to_owned());
    assert_eq!(refused(b""), expected("/header", "missing"));
    assert_eq!(refused(b"\xef\xbb\xbf"), expected("/header", "missing"));
    assert_eq!(refused(b"\n\n"), expected("/header", "missing"));
    assert_eq!(refused(b"+15551230001\n+15551230002\n"), expected("/header", "missing"));
    assert_eq!(refused(b"\xff\xfet\0o\0\n\0"), expected("/header", "not_utf8"));
    assert_eq!(refused(b"to,na\xefve\n"), expected("/header", "not_utf8"));
    assert_eq!(refused(b"to,phone\n"), expected("/header", "duplicate"));
    assert_eq!(
        refused(b"to,a\n+15551230001,\"x\n+15551230002,y\n"),
        expected("/entries/0", "unclosed_quote")
    );
    let endless = vec![b'x'; 100_000];
    assert_eq!(refused(&endless), expected("/header", "too_large"));
}

#[test]
fn a_bad_row_of_a_table_spoils_no_other() {
    let long = "x".repeat(limits::UPLOAD_ROW_MAX + 1);
    let text = [
        "to,name".as_bytes(),
        b"+15551230001,a",
        b"+15551230002,\xff",
        b"",
        b"+15551230003,c,more",
        format!("+15551230004,\"{long}\n\"").as_bytes(),
        b"+15551230005,e,,",
    ]
    .join(&b'\n');
    let rows = table_rows(&text, "").expect("read");
    let seen: Vec<_> = rows
        .iter()
        .map(|row| match row {
            Ok(entry) => entry.to.as_str(),
            Err(error) => error.code.as_str(),
        })
        .collect();
    let expected = ["+15551230001", "not_utf8", "too_many_cells", "too_large", "+15551230005"];
    assert_eq!(seen, expected);
    let refused = rows[2].as_ref().expect_err("bad");
    assert_eq!((refused.row, refused.pointer.as_str()), (Some(3), "/entries/2"));
    assert!(refused.detail.starts_with("line 5: "), "{}", refused.detail);
}

#[test]
fn the_members_of_a_list_come_in_any_order() {
    let entries =
        r#"[ {"to":"+15551230001","variables":{"a":[1,{"]":"\"}"}]}} , {"to":"+15551230002"} ]"#;
    let others = r#""voice_id":"d]\"emo","options":{"metadata":{"entries":[{}]}}"#;
    for body in [
        format!(r#"{{"entries":{entries},{others}}}"#),
        format!(r#" {{ {others} , "entries" : {entries} }} "#),
    ] {
        let mut list = JsonList::new(Cursor::new(body.as_bytes()));
        let head: Value = serde_json::from_slice(&list.head().expect("a head")).expect("JSON");
        let expected = json!({"voice_id": "d]\"emo", "options": {"metadata": {"entries": [{}]}}});
        assert_eq!(head, expected, "{body}");
        let found = good(rows(&mut list));
        assert_eq!(found.len(), 2, "{body}");
        assert_eq!(found[0].variables, json!({"a": [1, {"]": "\"}"}]}).as_object().cloned());
        assert_eq!(good(rows(&mut list)), found, "read again");
    }
}

#[test]
fn what_is_not_json_is_told_from_what_is_not_valid() {
    let head = |body: &[u8]| match JsonList::new(Cursor::new(body)).head() {
        Ok(_) => "fine".to_owned(),
        Err(UploadError::NotJson(_)) => "not JSON".to_owned(),
        Err(UploadError::Invalid(field)) => format!("{} {}", field.pointer, field.code),
        Err(UploadError::Io(error)) => panic!("{error}"),
    };
    let broken: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"hello",
        b"{\"entries\":[}",
        b"{\"entries\":[{},]}",
        b"{\"entries\":[{}]",
        b"{\"entries\":[{}]}x",
        b"{\"entries\":[{}],}",
        b"{\"entries\":[{} {}]}",
        b"{entries:[]}",
        b"{\"entries\":[{]}]}",
        b"{\"entries\":[{\"to\":\"\xff\"}]}",
        b"{\"entries\":[nul]}",
        b"{\"entries\":[],\"a\":01}",
        b"{\"entries\":[\"a\"\"b\"]}",
        b"{\"entries\"[]}",
        b"[1",
        b"7 8",
        b"{\"entries\":[{\"to\":\"+1",
        b"{\"a\":tru,\"entries\":7}",
        b"{,\"entries\":[]}",
        b"{\"entries\":{}}}",
        b"{\"entries\":[{\"to\":5}],\"x\":}",
    ];
    for body in broken {
        assert_eq!(head(body), "not JSON", "{}", String::from_utf8_lossy(body));
    }
    let invalid: &[(&[u8], &str)] = &[
        (b"[]", " wrong_type"),
        (b"null", " wrong_type"),
        (b"\"text\"", " wrong_type"),
        (b"{}", "/entries missing"),
        (b"{\"entries\":7}", "/entries wrong_type"),
        (b"{\"entries\":{\"to\":1}}", "/entries wrong_type"),
        (b"{\"entries\":[],\"entries\":[]}", "/entries invalid"),
    ];
    for (body, expected) in invalid {
        assert_eq!(head(body), *expected, "{}", String::from_utf8_lossy(body));
    }
    let large =
        format!("{{\"metadata\":\"{}\",\"entries\":[]}}", "x".repeat(limits::UPLOAD_HEAD_MAX));
    assert_eq!(head(large.as_bytes()), "/metadata too_large");
    let deep =
        format!("{{\"surprise\":{}{},\"entries\":[]}}", "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(head(deep.as_bytes()), "fine");
}

#[test]
fn a_bad_row_of_a_list_spoils_no_other() {
    let long = "x".repeat(limits::UPLOAD_ROW_MAX);
    let deep = format!(
        "{{\"to\":\"+15551230009\",\"variables\":{{\"a\":{}{}}}}}",
        "[".repeat(500),
        "]".repeat(500)
    );
    let cases = [
        (r#"{"to":"+15551230001"}"#.to_owned(), ""),
        ("7".to_owned(), "/entries/1 wrong_type"),
        (r#"["+15551230001"]"#.to_owned(), "/entries/2 wrong_type"),
        ("{}".to_owned(), "/entries/3/to missing"),
        (r#"{"to":null}"#.to_owned(), "/entries/4/to wrong_type"),
        (r#"{"to":15551230001}"#.to_owned(), "/entries/5/to wrong_type"),
        (r#"{"to":"a","a/b":1}"#.to_owned(), "/entries/6/a~1b unknown_field"),
        (r#"{"to":"a","variables":[]}"#.to_owned(), "/entries/7/variables wrong_type"),
        (r#"{"to":"a","timezone":1}"#.to_owned(), "/entries/8/timezone wrong_type"),
        (r#"{"to":"a","to":"b"}"#.to_owned(), "/entries/9 invalid"),
        (format!(r#"{{"to":"{long}"}}"#), "/entries/10 too_large"),
        (deep, "/entries/11 invalid"),
        (r#"{"to":"+15551230002","variables":null,"timezone":null}"#.to_owned(), ""),
    ];
    let bodies: Vec<_> = cases.iter().map(|(row, _)| row.as_str()).collect();
    let body = format!("{{\"entries\":[{}]}}", bodies.join(","));
    let rows = json_rows(body.as_bytes()).expect("read");
    assert_eq!(rows.len(), cases.len());
    for ((text, expected), row) in cases.iter().zip(rows) {
        let found = row.err().map_or(String::new(), |e| format!("{} {}", e.pointer, e.code));
        assert_eq!(found, *expected, "{text:.80}");
    }
}

#[test]
fn a_list_may_not_be_longer_than_a_batch() {
    let most = limits::ENTRIES_MAX as usize;
    let body = |n: usize| format!("{{\"entries\":[{}{{}}]}}", "{},".repeat(n - 1));
    assert_eq!(json_rows(body(most).as_bytes()).expect("read").len(), most);
    let refused = json_rows(body(most + 1).as_bytes()).expect_err("too many");
    assert!(matches!(refused, UploadError::Invalid(e) if e.code == "out_of_range"));
    let table = format!("to\n{}", "1\n".repeat(most + 1));
    let refused = table_rows(table.as_bytes(), "").expect_err("too many");
    assert!(matches!(refused, UploadError::Invalid(e) if e.code == "out_of_range"));
}

fn rules() -> RowRules {
    let zone = |name: &str| name.eq_ignore_ascii_case("Europe/Berlin").then_some("Europe/Berlin");
    RowRules { duplicates: Duplicates::Refuse, simulated: false, needs_zone: false, zone }
}

fn codes(rules: RowRules, entries: Vec<LiveEntry>) -> Vec<String> {
    let mut checks = RowChecks::new(rules);
    let mut all = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        let to = entry.to.clone();
        match checks.check(number, entry) {
            Ok(GoodRow { to: taken, timezone, .. }) => {
                assert_eq!(taken.expose(), to);
                assert!(timezone.is_none_or(|zone| zone == "Europe/Berlin"));
                all.push(String::new());
            }
            Err(error) => {
                assert_eq!(error.row, Some(number));
                assert!(to.is_empty() || !error.detail.contains(&to), "{error:?} tells the number");
                all.push(format!("{} {}", error.pointer, error.code));
            }
        }
    }
    all
}

#[test]
fn rows_are_held_against_the_rules() {
    let plain = |to: &str| entry(to, &[], None);
    let named = |name: &str, value: Value| LiveEntry {
        variables: Some(Map::from_iter([(name.to_owned(), value)])),
        ..plain("+4915112345670")
    };
    let cases = vec![
        (plain("+4915112345678"), ""),
        (plain("004915112345678"), "/entries/1/to invalid"),
        (plain("+49 151 12345678"), "/entries/2/to invalid"),
        (plain(""), "/entries/3/to invalid"),
        (plain("+15550001234"), "/entries/4/to simulated"),
        (plain("+4915112345678"), "/entries/5/to duplicate"),
        (entry("+4915112345679", &[], Some("europe/BERLIN")), ""),
        (entry("+4915112345680", &[], Some("Mars/Olympus")), "/entries/7/timezone unknown"),
        // A row that was refused has taken no number.
        (entry("+4915112345680", &[], Some("Europe/Berlin")), ""),
        (named("a", json!("x\u{0}")), "/entries/9/variables control_character"),
        (named("a", json!([{"b": "\u{1b}[2J"}])), "/entries/10/variables control_character"),
        (named("", json!(1)), "/entries/11/variables invalid"),
        (named(&"n".repeat(200), json!(1)), "/entries/12/variables invalid"),
        (named("a", json!("x".repeat(limits::VARIABLES_MAX))), "/entries/13/variables too_large"),
        (named("a", json!("line\n\tline \u{1f600}")), ""),
    ];
    let (entries, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(codes(rules(), entries), expected);
    let twice = vec![plain("+4915112345678"), plain("+4915112345678"), plain("+15550001234")];
    let lenient = RowRules { duplicates: Duplicates::Allow, simulated: true, ..rules() };
    assert_eq!(codes(lenient, twice), ["", "", ""]);
    let by_recipient = RowRules { needs_zone: true, ..rules() };
    assert_eq!(codes(by_recipient, vec![plain("+4915112345678")]), ["/entries/0/timezone missing"]);
}

fn cell() -> impl Strategy<Value = String> {
    "[ -~\n\r\t\"',;\u{e4}\u{20ac}]{0,12}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever cells hold, quoting brings it back.
    #[test]
    fn a_quoted_table_comes_back(
        cells in prop::collection::vec((cell(), cell()), 1..8),
        separator in prop::sample::select(vec![",", ";", "\t"]),
        end in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut text = format!("to{separator}a{separator}b");
        for (a, b) in &cells {
            text += &format!("{end}+15551230001{separator}{}{separator}{}", quoted(a), quoted(b));
        }
        let found = good(table_rows(text.as_bytes(), ""));
        let expected: Vec<_> =
            cells.iter().map(|(a, b)| entry("+15551230001", &[("a", a), ("b", b)], None)).collect();
        prop_assert_eq!(found, expected);
    }

    /// Any list that serde writes is read as it was, however it is spaced.
    #[test]
    fn a_written_list_comes_back(
        texts in prop::collection::vec((".{0,12}", ".{0,12}", any::<i32>()), 0..8),
        pretty in any::<bool>(),
    ) {
        let entries: Vec<_> = texts
            .iter()
            .map(|(to, text, number)| json!({"to": to, "variables": {"t": text, "n": [number]}}))
            .collect();
        let body = json!({"a": {"entries": [[]]}, "entries": entries, "z": "]}\""});
        let text = if pretty { format!("{body:#}") } else { body.to_string() };
        let found = good(json_rows(text.as_bytes()));
        let found: Vec<_> = found.iter().map(|e| serde_json::to_value(e).expect("plain")).collect();
        prop_assert_eq!(found, entries);
    }

    /// No bytes at all make a reader panic or run on; what it takes for JSON is JSON.
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ \n\r;entrisoa1\xff\xef\xbb\xbf".to_vec()), 0..60),
        prefix in prop::sample::select(vec!["", "{\"entries\":[", "{\"entries\":[{\"to\":\"", "to;a\n"]),
    ) {
        let body = [prefix.as_bytes(), &bytes].concat();
        let read = JsonList::new(Cursor::new(&body)).head();
        let is_json = serde_json::from_slice::<Value>(&body).is_ok();
        if is_json {
            prop_assert!(!matches!(read, Err(UploadError::NotJson(_))), "{:?}", read);
        } else if std::str::from_utf8(&body).is_ok() && read.is_ok() {
            // What nobody keeps may hold what `Value` refuses: half a character, a huge number.
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok());
        }
        let _ = table_rows(&body, "");
    }
}
