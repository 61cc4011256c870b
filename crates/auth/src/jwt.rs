use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::Secret;

/// Clock difference that a token's times may be off by, in seconds. LiveKit allows
/// the same (protocol/auth/verifier.go).
pub const LEEWAY_S: u64 = 60;

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not three base64url parts of JSON.
    #[error("the token is malformed")]
    Malformed,
    /// Any algorithm but HS256.
    #[error("the token's algorithm is not HS256")]
    Algorithm,
    /// Signed by another key, or altered.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` lies in the past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` lies in the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// A claim is missing or has another type.
    #[error("the token lacks a claim that is needed here")]
    Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Times {
    exp: u64,
    #[serde(default)]
    nbf: u64,
}

/// Wall time in whole seconds since the Unix epoch; token ages are wire time.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn mac(message: &str, secret: &Secret) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes any key");
    mac.update(message.as_bytes());
    mac
}

/// Signs `claims` with HS256 (RFC 7515). The claims must hold `exp`.
pub fn sign<C: Serialize>(claims: &C, secret: &Secret) -> String {
    let body = serde_json::to_vec(claims).expect("claims are plain data");
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(body)
    );
    let signature = URL_SAFE_NO_PAD.encode(mac(&message, secret).finalize().into_bytes());
    format!("{message}.{signature}")
}

/// Checks signature, algorithm and times of `token`, then reads its claims.
///
/// # Errors
/// If anything about the token is wrong; nothing of it has been believed then.
pub fn verify<C: DeserializeOwned>(token: &str, secret: &Secret) -> Result<C, JwtError> {
    let (message, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, body) = message.split_once('.').ok_or(JwtError::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed);
    let header: Header =
        serde_json::from_slice(&decode(header)?).map_err(|_| JwtError::Malformed)?;
    if header.alg != "HS256" {
        return Err(JwtError::Algorithm);
    }
    mac(message, secret).verify_slice(&decode(signature)?).map_err(|_| JwtError::Signature)?;
    let body = decode(body)?;
    let times: Times = serde_json::from_slice(&body).map_err(|_| JwtError::Claims)?;
    let now = unix_now();
    if times.exp.saturating_add(LEEWAY_S) < now {
        return Err(JwtError::Expired);
    }
    if times.nbf > now + LEEWAY_S {
        return Err(JwtError::NotYet);
    }
    serde_json::from_slice(&body).map_err(|_| JwtError::Claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Claims {
        sub: String,
        exp: u64,
        nbf: u64,
    }

    fn claims() -> Claims {
        Claims { sub: "worker".into(), exp: unix_now() + 60, nbf: unix_now() }
    }

    #[test]
    fn a_signed_token_verifies_and_an_altered_one_does_not() {
        let key = Secret::new("secret");
        let token = sign(&claims(), &key);
        assert_eq!(verify::<Claims>(&token, &key).map(|c| c.sub), Ok("worker".into()));
        assert_eq!(verify::<Claims>(&token, &Secret::new("other")), Err(JwtError::Signature));
        let forged = token.replacen('.', ".e30", 1);
        assert!(verify::<Claims>(&forged, &key).is_err());
    }

    #[test]
    fn no_other_algorithm_is_believed() {
        let none = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims()).expect("plain data"))
        );
        assert_eq!(verify::<Claims>(&none, &Secret::new("secret")), Err(JwtError::Algorithm));
    }

    #[test]
    fn times_are_checked_with_a_minute_of_leeway() {
        let key = Secret::new("secret");
        let at = |exp, nbf| sign(&Claims { sub: "w".into(), exp, nbf }, &key);
        let now = unix_now();
        assert!(verify::<Claims>(&at(now - 30, now), &key).is_ok());
        assert_eq!(verify::<Claims>(&at(now - 120, 0), &key), Err(JwtError::Expired));
        assert_eq!(verify::<Claims>(&at(now + 600, now + 120), &key), Err(JwtError::NotYet));
        let no_exp = sign(&serde_json::json!({ "sub": "w" }), &key);
        assert_eq!(verify::<Claims>(&no_exp, &key), Err(JwtError::Claims));
    }
}
