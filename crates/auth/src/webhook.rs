use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::Secret;

/// Makes the keys that webhooks are signed with: one for each endpoint, derived from the
/// platform's secret, so that none is stored.
#[derive(Clone)]
pub struct WebhookKeys {
    key: Hmac<Sha256>,
}

const PREFIX: &str = "whsec_";

impl WebhookKeys {
    /// Derives the keys' key from the platform's secret.
    pub fn new(secret: &Secret) -> Self {
        let mut derive = mac(secret.expose().as_bytes());
        derive.update(b"dialtone webhook v1");
        Self { key: mac(&derive.finalize().into_bytes()) }
    }

    /// The signing key of a tenant's endpoint, as its receiver is told it.
    pub fn of(&self, tenant: &str, webhook: &str) -> Secret {
        let mut mac = self.key.clone();
        mac.update(tenant.as_bytes());
        mac.update(b"\n");
        mac.update(webhook.as_bytes());
        let key = mac.finalize().into_bytes();
        Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(key)))
    }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes any key")
}

fn signature(key: &Secret, at_s: u64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = mac(key.expose().as_bytes());
    mac.update(at_s.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

/// The value of `X-Dialtone-Signature` for `body` sent at `at_s`, in seconds of wall time
/// since the Unix epoch: `t=..,v1=..`, where `v1` is the HMAC-SHA256 of `t.body` under
/// the endpoint's key as it is written, in hex.
pub fn sign_webhook(key: &Secret, at_s: u64, body: &[u8]) -> String {
    let mac = signature(key, at_s, body).finalize().into_bytes();
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at_s},v1={hex}")
}

/// When `body` was signed, if `header` is its signature under `key`; compared in constant
/// time. Whoever asks decides how old that may be.
pub fn verify_webhook(key: &Secret, header: &str, body: &[u8]) -> Option<u64> {
    let (at, hex) = header.strip_prefix("t=")?.split_once(",v1=")?;
    let at_s: u64 = at.parse().ok()?;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let mac: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
    signature(key, at_s, body).verify_slice(&mac?).ok().map(|()| at_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_one_body_at_one_time_under_one_key() {
        let keys = WebhookKeys::new(&Secret::new("s"));
        let key = keys.of("demo", "whk_1");
        assert!(key.expose().starts_with(PREFIX));
        let header = sign_webhook(&key, 1_800_000_000, b"{}");
        assert_eq!(verify_webhook(&key, &header, b"{}"), Some(1_800_000_000));
        assert_eq!(verify_webhook(&key, &header, b"{ }"), None);
        let later = header.replace("t=1800000000", "t=1800000001");
        assert_eq!(verify_webhook(&key, &later, b"{}"), None);
        for other in [keys.of("demo", "whk_2"), keys.of("acme", "whk_1")] {
            assert_eq!(verify_webhook(&other, &header, b"{}"), None);
        }
        let foreign = WebhookKeys::new(&Secret::new("t")).of("demo", "whk_1");
        assert_eq!(verify_webhook(&foreign, &header, b"{}"), None);
        for bad in ["", "t=1", "t=x,v1=00", "t=1,v1=", "t=1,v1=zz", "t=1,v1=0"] {
            assert_eq!(verify_webhook(&key, bad, b"{}"), None, "{bad}");
        }
    }
}
