//! What the environment says: the platform's secret, the timeline.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use dialtone_auth::env::Origin;
use dialtone_auth::{Secret, env};
use dialtone_clock::{Clock, ScaledClock, Timeline};

/// Bytes of a platform secret that is made here, before they are written as hex.
const SECRET_BYTES: usize = 32;

/// Environment variable with the platform's secret.
pub const SECRET_ENV: &str = "DIALTONE_SECRET";

/// The platform's secret: `DIALTONE_SECRET`, or `<data-dir>/secret`, made on first use.
pub fn platform_secret(data_dir: &Path) -> anyhow::Result<Secret> {
    if let Some((secret, _)) = present_secret(data_dir)? {
        return Ok(secret);
    }
    let path = secret_file(data_dir);
    let secret = random_hex()?;
    write_private(&path, &secret).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Secret::new(secret))
}

/// Where the platform's secret is kept, where the environment has none.
pub fn secret_file(data_dir: &Path) -> PathBuf {
    data_dir.join("secret")
}

/// The platform's secret and where it was found, if there is one yet.
pub fn present_secret(data_dir: &Path) -> anyhow::Result<Option<(Secret, Origin)>> {
    if let Some(found) = env::platform_secret(SECRET_ENV)? {
        return Ok(Some(found));
    }
    let path = secret_file(data_dir);
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => {
            let origin = Origin::File(path.display().to_string());
            Ok(Some((Secret::new(text.trim()), origin)))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn random_hex() -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; SECRET_BYTES];
    let mut source = std::fs::File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    source.read_exact(&mut bytes).context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// The clock on the run's timeline.
pub fn clock() -> anyhow::Result<Arc<dyn Clock>> {
    Ok(Arc::new(ScaledClock::new(Timeline::from_env()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_made_once_and_private() {
        let dir = std::env::temp_dir().join(format!("dialtone-secret-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let first = platform_secret(&dir).expect("made");
        let second = platform_secret(&dir).expect("read");
        assert_eq!(first.expose(), second.expose());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(dir.join("secret")).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
