use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

/// Bytes on either side of a canary that a finding shows.
const AROUND_BYTES: usize = 60;

/// Texts that nobody may find where they do not belong.
#[derive(Clone, Debug, Default)]
pub struct Canaries {
    texts: Vec<(String, String)>,
}

/// A canary that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// What the canary stands for.
    pub what: String,
    /// Where it was found.
    pub place: String,
    /// What stands around it, for messages.
    pub around: String,
}

impl Canaries {
    /// Watches for `text`, which stands for `what`.
    ///
    /// # Panics
    /// If it is so short that it may stand anywhere by chance.
    pub fn add(&mut self, what: &str, text: &str) {
        assert!(text.len() >= 8, "{what} may stand anywhere by chance");
        self.texts.push((what.to_owned(), text.to_owned()));
    }

    /// Every canary in these bytes.
    pub fn in_bytes(&self, place: &str, bytes: &[u8]) -> Vec<Leak> {
        let find = |(what, text): &(String, String)| {
            let at = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
            let around = at.saturating_sub(AROUND_BYTES)..bytes.len().min(at + AROUND_BYTES);
            let around = String::from_utf8_lossy(&bytes[around]).into_owned();
            Some(Leak { what: what.clone(), place: place.to_owned(), around })
        };
        self.texts.iter().filter_map(find).collect()
    }

    /// Every canary in a file below `dir`, or in its path.
    ///
    /// # Panics
    /// If the folder cannot be read.
    pub fn in_folder(&self, dir: &Path) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for file in std::fs::read_dir(dir).expect("readable").flatten() {
            let path = file.path();
            let place = path.display().to_string();
            leaks.extend(self.in_bytes(&format!("the path {place}"), place.as_bytes()));
            if path.is_dir() {
                leaks.extend(self.in_folder(&path));
            } else {
                // A file may go away while others write.
                leaks.extend(self.in_bytes(&place, &std::fs::read(&path).unwrap_or_default()));
            }
        }
        leaks
    }

    /// Every canary in the command line of any process of this machine that can be read.
    pub fn in_command_lines(&self) -> Vec<Leak> {
        self.in_processes("cmdline", |_| true)
    }

    /// Every canary in the environment of the processes of a run; the place is
    /// `environ of PROGRAM`.
    pub fn in_environments(&self, run: &str) -> Vec<Leak> {
        let tag = format!("DIALTONE_RUN={run}\0");
        self.in_processes("environ", |environ| {
            environ.windows(tag.len()).any(|window| window == tag.as_bytes())
        })
    }

    fn in_processes(&self, file: &str, of_interest: impl Fn(&[u8]) -> bool) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for process in std::fs::read_dir("/proc").expect("Linux").flatten() {
            // Processes of others, and those that have just ended, cannot be read.
            let Ok(bytes) = std::fs::read(process.path().join(file)) else { continue };
            if of_interest(&bytes) {
                let name = std::fs::read_to_string(process.path().join("comm"));
                let place = format!("{file} of {}", name.unwrap_or_default().trim());
                leaks.extend(self.in_bytes(&place, &bytes));
            }
        }
        leaks
    }

    /// Every canary in a SQLite database, read column by column; the place is
    /// `TABLE.COLUMN`, once for each canary.
    ///
    /// # Panics
    /// If the database cannot be read.
    pub fn in_database(&self, path: &Path) -> Vec<Leak> {
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let store = Connection::open_with_flags(path, read_only).expect("a database");
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table'";
        let mut tables = store.prepare(sql).expect("a schema");
        let tables = tables.query_map([], |row| row.get::<_, String>(0)).expect("tables");
        let mut leaks: Vec<Leak> = Vec::new();
        for table in tables.map(|table| table.expect("a name")) {
            let mut rows = store.prepare(&format!("SELECT * FROM \"{table}\"")).expect("a table");
            let columns: Vec<String> =
                rows.column_names().map(|name| format!("{table}.{name}")).collect();
            let mut rows = rows.query([]).expect("rows");
            while let Some(row) = rows.next().expect("a row") {
                for (at, place) in columns.iter().enumerate() {
                    let bytes = match row.get_ref(at).expect("a column") {
                        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
                        ValueRef::Integer(number) => number.to_string().into_bytes(),
                        ValueRef::Real(number) => number.to_string().into_bytes(),
                        ValueRef::Null => continue,
                    };
                    leaks.extend(self.in_bytes(place, &bytes));
                }
            }
        }
        leaks.dedup_by(|a, b| (&a.what, &a.place) == (&b.what, &b.place));
        leaks
    }
}
