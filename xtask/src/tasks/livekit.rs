//! Which LiveKit a run talks to.

use std::net::IpAddr;

use dialtone_contract::ErrorCode;
use dialtone_harness::failure::Failure;
use dialtone_harness::flow::{DEV_KEYS, LiveKit};

/// The flag, else the environment, else the simulated one.
pub fn choose(flag: Option<&str>, yes_remote: bool) -> Result<LiveKit, Failure> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mock = env("LIVEKIT_MOCK_MODE").is_some_and(|value| value == "true" || value == "1");
    let url = match (flag, mock) {
        (Some(url), _) => url.to_owned(),
        (None, true) => return Ok(LiveKit::Simulated),
        (None, false) => match env("LIVEKIT_URL") {
            Some(url) => url,
            None => return Ok(LiveKit::Simulated),
        },
    };
    let secret = env("LIVEKIT_API_SECRET").or_else(|| {
        let file = std::fs::read_to_string(env("LIVEKIT_API_SECRET_FILE")?).ok()?;
        Some(file.trim().to_owned())
    });
    external(url, env("LIVEKIT_API_KEY"), secret, yes_remote)
}

fn external(
    url: String,
    key: Option<String>,
    secret: Option<String>,
    yes_remote: bool,
) -> Result<LiveKit, Failure> {
    let Some(host) = host(&url) else {
        let text = format!("`{url}` is not a LiveKit URL such as ws://127.0.0.1:7880");
        return Err(Failure::new(ErrorCode::Usage, text));
    };
    if !is_loopback(&url) && !yes_remote {
        let text = format!("the LiveKit at {host} is not on this machine");
        return Err(Failure::new(ErrorCode::RemoteRefused, text));
    }
    let (key, secret) = match (key, secret) {
        (Some(key), Some(secret)) => (key, secret),
        (None, None) if is_loopback(&url) => (DEV_KEYS.0.to_owned(), DEV_KEYS.1.to_owned()),
        _ => {
            let text = format!("the LiveKit at {host} needs a key and a secret");
            return Err(
                Failure::environment(text).hint("set LIVEKIT_API_KEY and LIVEKIT_API_SECRET, both")
            );
        }
    };
    Ok(LiveKit::External { url, key, secret })
}

/// Whether the URL leads to this machine.
pub fn is_loopback(url: &str) -> bool {
    host(url).is_some_and(|host| {
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// The host of a LiveKit URL; `None` if it is none.
fn host(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "ws" | "wss" | "http" | "https") {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    // Before an `@` stand credentials, and the host that counts comes after it.
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_the_host_alone() {
        for url in
            ["ws://localhost:7880", "http://127.0.0.1", "ws://[::1]:7880/x", "ws://127.9.9.9"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "wss://x.livekit.cloud",
            "ws://127.0.0.1.evil.test",
            "ws://127.0.0.1@evil.test",
            "ws://10.0.0.1:7880",
            "localhost",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn a_remote_livekit_is_used_only_when_asked_for() {
        let of = |url: &str, keys: Option<&str>, yes| {
            let key = keys.map(str::to_owned);
            external(url.to_owned(), key.clone(), key, yes).map_err(|f| (f.code, f.exit.code()))
        };
        assert_eq!(
            of("wss://x.livekit.cloud", Some("k"), false),
            Err((ErrorCode::RemoteRefused, 5))
        );
        assert!(of("wss://x.livekit.cloud", Some("k"), true).is_ok());
        assert_eq!(of("wss://x.livekit.cloud", None, true), Err((ErrorCode::Environment, 5)));
        assert!(of("ws://127.0.0.1:7880", None, false).is_ok());
        assert_eq!(of("x.livekit.cloud", None, true), Err((ErrorCode::Usage, 2)));
    }
}
