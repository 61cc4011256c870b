//! Secrets from the environment, one rule for every program: `NAME`, or the file that
//! `NAME_FILE` names. Never from arguments, which every process on a machine can read.

use std::net::IpAddr;

use crate::Secret;
use crate::livekit::ApiKey;

/// Bytes under which a platform secret is refused: the strength of the keys made from it.
pub const SECRET_BYTES_MIN: usize = 32;

/// A variable that cannot be used. Names it, and quotes nothing of its value.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// The file that `NAME_FILE` names cannot be read.
    #[error("{name}_FILE names a file that cannot be read: {source}")]
    File {
        /// The variable, without `_FILE`.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// One half of the key pair.
    #[error("LIVEKIT_API_KEY and LIVEKIT_API_SECRET belong together; set both or neither")]
    HalfPair,
    /// No key for a server that is not on this machine.
    #[error(
        "LIVEKIT_API_KEY and LIVEKIT_API_SECRET are needed for this LIVEKIT_URL; \
         the development pair is used on loopback only"
    )]
    NoKey,
    /// A secret that is too short to be one.
    #[error(
        "{name} has fewer than {SECRET_BYTES_MIN} bytes; `openssl rand -hex 32` makes a good one"
    )]
    Short {
        /// The variable.
        name: &'static str,
    },
}

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the environment.
    Environment,
    /// In the file that the environment names.
    File(String),
}

/// The value of `name`, or the content of the file that `name_FILE` names, without the
/// space around it. An empty variable counts as unset.
///
/// # Errors
/// If the file cannot be read.
pub fn secret(name: &'static str) -> Result<Option<Secret>, EnvError> {
    Ok(found(name)?.map(|(secret, _)| secret))
}

/// As [`secret`], with where it was found.
///
/// # Errors
/// If the file cannot be read.
pub fn found(name: &'static str) -> Result<Option<(Secret, Origin)>, EnvError> {
    if let Some(value) = variable(name) {
        return Ok(Some((Secret::new(value), Origin::Environment)));
    }
    let Some(path) = variable(&format!("{name}_FILE")) else { return Ok(None) };
    let text = std::fs::read_to_string(&path).map_err(|source| EnvError::File { name, source })?;
    Ok(Some((Secret::new(text.trim()), Origin::File(path))))
}

/// As [`found`], for a secret that keys are made from.
///
/// # Errors
/// If the file cannot be read, or the secret is too short.
pub fn platform_secret(name: &'static str) -> Result<Option<(Secret, Origin)>, EnvError> {
    match found(name)? {
        Some((secret, _)) if secret.expose().len() < SECRET_BYTES_MIN => {
            Err(EnvError::Short { name })
        }
        other => Ok(other),
    }
}

/// Whether the LiveKit server at `url`, spoken to with `key`, is one for development: on
/// this machine, under the pair that no server in production has. Nobody's phone rings
/// behind it.
pub fn is_dev_livekit(url: &str, key: &ApiKey) -> bool {
    let dev = ApiKey::dev();
    let same = key.key == dev.key && key.secret.expose() == dev.secret.expose();
    same && is_loopback_url(url)
}

/// The API key for the LiveKit server at `url`: from the environment, or the development
/// pair if the server is on this machine.
///
/// # Errors
/// If only half of the pair is there, or none for a server elsewhere.
pub fn livekit_key(url: &str) -> Result<ApiKey, EnvError> {
    match (variable("LIVEKIT_API_KEY"), secret("LIVEKIT_API_SECRET")?) {
        (Some(key), Some(secret)) => Ok(ApiKey { key, secret }),
        (None, None) if is_loopback_url(url) => Ok(ApiKey::dev()),
        (None, None) => Err(EnvError::NoKey),
        _ => Err(EnvError::HalfPair),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether `url` names this machine. One with user information never does: what stands
/// before the `@` can look like a host.
pub fn is_loopback_url(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_the_host_alone() {
        let here =
            ["http://127.0.0.1:7880", "ws://localhost", "http://[::1]:7880/", "http://127.0.0.1"];
        for url in here {
            assert!(is_loopback_url(url), "{url}");
        }
        let elsewhere = [
            "https://x.livekit.cloud",
            "http://127.0.0.1.evil.test",
            "http://127.0.0.1:1@evil.test",
            "http://localhost@evil.test",
            "http://10.0.0.1:7880",
        ];
        for url in elsewhere {
            assert!(!is_loopback_url(url), "{url}");
        }
    }
}
