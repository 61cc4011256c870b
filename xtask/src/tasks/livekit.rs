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
    // Neither is needed, both make one reader see another host than the next, and what stands
    // before an `@` is a secret that must not get into events: so the URL is not shown either.
    if url.contains(['@', '\\']) {
        let text = r"the LiveKit URL contains `@` or `\`";
        return Err(Failure::new(ErrorCode::Usage, text).hint(
            "give the host alone; credentials belong into LIVEKIT_API_KEY and LIVEKIT_API_SECRET",
        ));
    }
    let Some(host) = host(&url) else {
        let text = format!("`{url}` is not a LiveKit URL such as ws://127.0.0.1:7880");
        return Err(Failure::new(ErrorCode::Usage, text));
    };
    if url.starts_with("wss:") || url.starts_with("https:") {
        let text = format!("the LiveKit at {host} is asked for over TLS, which test-worker lacks");
        return Err(Failure::environment(text).hint("give a ws:// or http:// URL"));
    }
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

/// Whether the URL, one that [`choose`] takes, leads to this machine.
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
        for url in
            ["wss://x.livekit.cloud", "ws://127.0.0.1.evil.test", "ws://10.0.0.1:7880", "localhost"]
        {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn a_remote_livekit_is_used_only_when_asked_for() {
        let of = |url: &str, keys: Option<&str>, yes| {
            let key = keys.map(str::to_owned);
            external(url.to_owned(), key.clone(), key, yes).map_err(|f| (f.code, f.exit.code()))
        };
        let remote = "ws://livekit.test";
        assert_eq!(of(remote, Some("k"), false), Err((ErrorCode::RemoteRefused, 5)));
        assert!(of(remote, Some("k"), true).is_ok());
        assert_eq!(of(remote, None, true), Err((ErrorCode::Environment, 5)));
        assert!(of("ws://127.0.0.1:7880", None, false).is_ok());
        assert_eq!(of("x.livekit.cloud", None, true), Err((ErrorCode::Usage, 2)));
    }

    #[test]
    fn tls_is_refused_before_anything_starts() {
        for url in ["wss://x.livekit.cloud", "https://127.0.0.1:7880"] {
            let key = || Some("k".to_owned());
            let failure = external(url.to_owned(), key(), key(), true).expect_err("refused");
            assert_eq!((failure.code, failure.exit.code()), (ErrorCode::Environment, 5), "{url}");
            assert!(failure.message.contains("TLS"), "{failure}");
        }
    }

    #[test]
    fn a_url_with_a_second_reading_is_refused_and_not_repeated() {
        for url in [
            "ws://canary:canary@127.0.0.1:7880",
            "http://127.0.0.1:1@canary.test",
            r"http://canary\@127.0.0.1",
            r"ws://127.0.0.1\.canary.test",
            "canary@",
        ] {
            let key = || Some("k".to_owned());
            let failure = external(url.to_owned(), key(), key(), true).expect_err("refused");
            assert_eq!((failure.code, failure.exit.code()), (ErrorCode::Usage, 2), "{url}");
            assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
        }
    }
}
