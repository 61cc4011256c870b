use std::net::IpAddr;

use anyhow::bail;
use dialtone_auth::livekit::ApiKey;
use dialtone_auth::{Secret, env};

/// The server's API keys.
pub struct Keys {
    keys: Vec<ApiKey>,
    /// Whether they are the pair that everybody knows.
    dev: bool,
}

impl Keys {
    /// Reads the keys from the environment. Never from arguments: those can be seen by
    /// every process on the machine.
    ///
    /// # Errors
    /// If a variable cannot be read as keys.
    pub fn from_env() -> anyhow::Result<Self> {
        let text = |name| {
            let value: Option<Secret> = env::secret(name)?;
            Ok::<_, env::EnvError>(value.map(|value| value.expose().to_owned()))
        };
        Self::read(
            text("LIVEKIT_KEYS")?.as_deref(),
            text("LIVEKIT_API_KEY")?,
            text("LIVEKIT_API_SECRET")?,
        )
    }

    fn read(
        pairs: Option<&str>,
        key: Option<String>,
        secret: Option<String>,
    ) -> anyhow::Result<Self> {
        let mut keys = pairs.map(read_pairs).transpose()?.unwrap_or_default();
        match (key, secret) {
            (Some(key), Some(secret)) => keys.push(ApiKey { key, secret: Secret::new(secret) }),
            (None, None) => {}
            (Some(_), None) => bail!("LIVEKIT_API_KEY is set and LIVEKIT_API_SECRET is not"),
            (None, Some(_)) => bail!("LIVEKIT_API_SECRET is set and LIVEKIT_API_KEY is not"),
        }
        let well_known = ApiKey::dev();
        let public = |key: &ApiKey| key.secret.expose() == well_known.secret.expose();
        if keys.is_empty() {
            keys.push(ApiKey::dev());
        }
        Ok(Self { dev: keys.iter().any(public), keys })
    }

    /// Refuses an address that others can reach, where the keys are known to everybody.
    ///
    /// # Errors
    /// With the remedy in its text.
    pub fn check_address(&self, ip: IpAddr) -> anyhow::Result<()> {
        if self.dev && !ip.is_loopback() {
            bail!(
                "{ip} can be reached from other machines, and the API key is the one that \
                 everybody knows; set LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or bind 127.0.0.1"
            );
        }
        Ok(())
    }

    /// The keys; at least one.
    pub fn into_keys(self) -> Vec<ApiKey> {
        self.keys
    }
}

/// `key: secret` pairs, one a line or separated by commas. Errors name no text of it.
fn read_pairs(text: &str) -> anyhow::Result<Vec<ApiKey>> {
    let pairs = text.split(['\n', ',']).map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .enumerate()
        .map(|(index, pair)| {
            let (key, secret) = pair.split_once(':').unwrap_or((pair, ""));
            let (key, secret) = (key.trim(), secret.trim());
            if key.is_empty() || secret.is_empty() {
                bail!("pair {} of LIVEKIT_KEYS is not `key: secret`", index + 1);
            }
            Ok(ApiKey { key: key.to_owned(), secret: Secret::new(secret) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn pairs_are_read_and_errors_quote_no_secret() {
        let keys = Keys::read(Some("a: s1, b: s2\nc: s3"), some("d"), some("s4")).expect("good");
        let names: Vec<_> = keys.keys.iter().map(|k| k.key.clone()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        let error = Keys::read(Some("a: s1, hush"), None, None).err().expect("bad").to_string();
        assert_eq!(error, "pair 2 of LIVEKIT_KEYS is not `key: secret`");
        assert!(Keys::read(None, some("d"), None).is_err());
        assert!(Keys::read(None, None, some("s")).is_err());
    }

    #[test]
    fn the_well_known_pair_is_for_loopback_only() {
        let open = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let dev = Keys::read(None, None, None).expect("good");
        assert!(dev.check_address(Ipv4Addr::LOCALHOST.into()).is_ok());
        let error = dev.check_address(open).expect_err("refused").to_string();
        assert!(error.contains("LIVEKIT_API_SECRET"), "{error}");
        assert!(
            Keys::read(None, some("k"), some("secret")).expect("good").check_address(open).is_err()
        );
        assert!(Keys::read(None, some("k"), some("s")).expect("good").check_address(open).is_ok());
    }
}
