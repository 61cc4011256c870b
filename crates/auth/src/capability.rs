use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::Secret;

/// Makes and checks capabilities: a bearer token that names a tenant and is good for
/// one call (one attempt) only. It has no expiry; the attempt's row is the expiry.
#[derive(Clone)]
pub struct Capabilities {
    key: Hmac<Sha256>,
}

/// A capability that was not made for this call, or not by this platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the capability is not valid for this call")]
pub struct CapabilityError;

const PREFIX: &str = "cap1";

impl Capabilities {
    /// Derives the capability key from the platform's secret, so that the secret
    /// itself signs nothing.
    pub fn new(secret: &Secret) -> Self {
        let mut derive =
            Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes any key");
        derive.update(b"dialtone capability v1");
        let key = derive.finalize().into_bytes();
        Self { key: Hmac::new_from_slice(&key).expect("HMAC takes any key") }
    }

    fn mac(&self, tenant: &str, call_id: &str) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(tenant.as_bytes());
        mac.update(b"\n");
        mac.update(call_id.as_bytes());
        mac
    }

    /// The capability for `call_id` of `tenant`.
    pub fn mint(&self, tenant: &str, call_id: &str) -> Secret {
        let mac = self.mac(tenant, call_id).finalize().into_bytes();
        Secret::new(format!("{PREFIX}.{tenant}.{}", URL_SAFE_NO_PAD.encode(mac)))
    }

    /// The tenant that `capability` names, if it is valid for `call_id`.
    ///
    /// # Errors
    /// If it was made for another call, by another platform, or by nobody.
    pub fn verify<'a>(
        &self,
        capability: &'a str,
        call_id: &str,
    ) -> Result<&'a str, CapabilityError> {
        let mut parts = capability.splitn(3, '.');
        let (Some(PREFIX), Some(tenant), Some(mac)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(CapabilityError);
        };
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| CapabilityError)?;
        self.mac(tenant, call_id).verify_slice(&mac).map_err(|_| CapabilityError)?;
        Ok(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_good_for_one_call_of_one_tenant() {
        let capabilities = Capabilities::new(&Secret::new("s"));
        let minted = capabilities.mint("demo", "call_a_1_1");
        assert_eq!(capabilities.verify(minted.expose(), "call_a_1_1"), Ok("demo"));
        assert_eq!(capabilities.verify(minted.expose(), "call_a_1_2"), Err(CapabilityError));
        let other_tenant = minted.expose().replace("demo", "acme");
        assert_eq!(capabilities.verify(&other_tenant, "call_a_1_1"), Err(CapabilityError));
        let foreign = Capabilities::new(&Secret::new("t"));
        assert_eq!(foreign.verify(minted.expose(), "call_a_1_1"), Err(CapabilityError));
        for bad in ["", "cap1", "cap1.demo", "cap1.demo.!", "cap2.demo.AA"] {
            assert_eq!(capabilities.verify(bad, "call_a_1_1"), Err(CapabilityError), "{bad}");
        }
    }
}
