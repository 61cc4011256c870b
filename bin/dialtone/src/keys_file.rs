//! `DIALTONE_API_KEYS_FILE`: API keys that the operator keeps, one `TENANT:KEY` a line.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use dialtone_auth::KeyHash;
use dialtone_auth::env::SECRET_BYTES_MIN;
use dialtone_contract::TenantId;
use dialtone_store::Access;

/// Environment variable that names the file.
pub const KEYS_FILE: &str = "DIALTONE_API_KEYS_FILE";
/// Keys in the file at most: each is compared with each request's.
const KEYS_MAX: usize = 1_000;
/// Bytes of the file at most.
const BYTES_MAX: u64 = 1024 * 1024;

/// The file that the environment names, read.
pub struct KeysFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whose keys it has.
    pub keys: Vec<(TenantId, KeyHash)>,
}

impl KeysFile {
    /// The file that the environment names; `None` if it names none.
    ///
    /// # Errors
    /// If the file cannot be read or a line is not valid. No error repeats a key.
    pub fn named() -> anyhow::Result<Option<Self>> {
        let named = std::env::var_os(KEYS_FILE).filter(|path| !path.is_empty());
        let Some(path) = named.map(PathBuf::from) else { return Ok(None) };
        let keys = load(&path).with_context(|| cannot(&path))?;
        Ok(Some(Self { path, keys }))
    }

    /// The keys, all of tenants that there are.
    ///
    /// # Errors
    /// If there is no such tenant, or the store fails.
    pub async fn known(self, access: &dyn Access) -> anyhow::Result<Vec<(TenantId, KeyHash)>> {
        let known = access.tenants().await?;
        for (tenant, _) in &self.keys {
            ensure!(
                known.contains(tenant),
                "{}: there is no tenant `{tenant}`; add it with `dialtone tenant add {tenant}`",
                cannot(&self.path)
            );
        }
        Ok(self.keys)
    }
}

fn cannot(path: &Path) -> String {
    format!("{KEYS_FILE} names {}, which cannot be used", path.display())
}

fn load(path: &Path) -> anyhow::Result<Vec<(TenantId, KeyHash)>> {
    let metadata = std::fs::metadata(path)?;
    ensure!(metadata.len() <= BYTES_MAX, "it has more than {BYTES_MAX} bytes");
    let text = std::fs::read_to_string(path)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            "others on this machine can read the API keys; `chmod 600` the file"
        );
    }
    parse(&text)
}

fn parse(text: &str) -> anyhow::Result<Vec<(TenantId, KeyHash)>> {
    let mut keys: Vec<(TenantId, KeyHash)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((tenant, key)) = line.split_once(':') else {
            bail!("line {number} is not TENANT:KEY");
        };
        let Ok(tenant) = tenant.trim().parse::<TenantId>() else {
            bail!("line {number}: a tenant is 1 to 63 lower-case letters, digits and dashes");
        };
        let key = key.trim();
        ensure!(
            key.len() >= SECRET_BYTES_MIN && key.bytes().all(|byte| byte.is_ascii_graphic()),
            "line {number}: a key is {SECRET_BYTES_MIN} visible characters or more; \
             `openssl rand -hex 32` makes a good one"
        );
        let hash = KeyHash::of(key);
        ensure!(
            keys.iter().all(|(_, known)| !known.same_as(&hash)),
            "line {number} has the key of another line"
        );
        ensure!(keys.len() < KEYS_MAX, "it has more than {KEYS_MAX} keys");
        keys.push((tenant, hash));
    }
    ensure!(!keys.is_empty(), "it has no keys");
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn keys_are_read_line_by_line() {
        let text = format!("# ours\n\nacme:{KEY}\n other : {KEY}x \n");
        let keys = parse(&text).expect("read");
        let names: Vec<_> = keys.iter().map(|(tenant, _)| tenant.as_str()).collect();
        assert_eq!(names, ["acme", "other"]);
        assert!(keys[0].1.same_as(&KeyHash::of(KEY)));
    }

    #[test]
    fn a_bad_line_is_named_and_not_repeated() {
        let twice = format!("acme:{KEY}\nother:{KEY}");
        let bad_name = format!("Acme!:{KEY}");
        for (text, said) in [
            ("", "no keys"),
            ("acme", "line 1 "),
            ("\nacme:short-canary", "line 2: a key"),
            (bad_name.as_str(), "line 1: a tenant"),
            (twice.as_str(), "line 2 has the key"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("canary") && !error.contains(KEY), "{error}");
        }
    }
}
