use std::env;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dialtone_auth::Secret;
use dialtone_contract::ErrorCode;

use crate::failure::Failure;

/// Environment variable with the account's sid.
pub const SID_ENV: &str = "TWILIO_ACCOUNT_SID";
/// Environment variable with its token.
pub const TOKEN_ENV: &str = "TWILIO_AUTH_TOKEN";
/// Environment variable with the path of a file that the token stands in.
pub const TOKEN_FILE_ENV: &str = "TWILIO_AUTH_TOKEN_FILE";

/// Whose recordings are fetched, and where.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its sid, which is no secret.
    pub sid: String,
    /// The address of the API, without a path.
    pub base: String,
    token: Secret,
}

impl Account {
    /// The account of these settings, else of the environment. The token comes from the
    /// environment or a file, never from the command line, where others could read it.
    pub fn find(sid: Option<&str>, token_file: Option<&Path>, base: &str) -> Result<Self, Failure> {
        let sid = sid.map(str::to_owned).or_else(|| variable(SID_ENV));
        let token = match token_file {
            Some(path) => Some(read(path)?),
            None => match (variable(TOKEN_ENV), variable(TOKEN_FILE_ENV)) {
                (Some(token), _) => Some(Secret::new(token)),
                (None, Some(path)) => Some(read(Path::new(&path))?),
                (None, None) => None,
            },
        };
        match (sid, token) {
            (Some(sid), Some(token)) => Self::new(sid, token, base),
            (sid, token) => Err(missing(sid.is_some(), token.is_some())),
        }
    }

    /// An account; refused where the token would travel readable, or the sid cannot be one.
    pub fn new(sid: String, token: Secret, base: &str) -> Result<Self, Failure> {
        let base = base.trim_end_matches('/').to_owned();
        if !is_sid(&sid, "AC") {
            let message = format!("{SID_ENV} is not an account's sid (AC and 32 digits): {sid:?}");
            return Err(Failure::new(ErrorCode::TwilioCredentials, message));
        }
        if !base.starts_with("https://") && !on_this_machine(&base) {
            let message = format!("the token would travel readable to {base}");
            return Err(Failure::new(ErrorCode::TwilioCredentials, message)
                .hint("use an https address; http is for this machine only"));
        }
        Ok(Self { sid, token, base })
    }

    /// What the header `Authorization` says.
    pub fn authorization(&self) -> Secret {
        // Basic authentication is made of the token itself.
        let pair = Secret::new(format!("{}:{}", self.sid, self.token.expose()));
        Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())))
    }

    /// The address of something of this account: `path` begins behind the account.
    pub fn address(&self, path: &str) -> String {
        format!("{}/2010-04-01/Accounts/{}/{path}", self.base, self.sid)
    }
}

/// Whether a text is a sid of this kind: nothing else becomes part of a path.
pub fn is_sid(text: &str, kind: &str) -> bool {
    text.strip_prefix(kind)
        .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn on_this_machine(base: &str) -> bool {
    let Some(rest) = base.strip_prefix("http://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    matches!(host, "127.0.0.1" | "localhost" | "[::1]")
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn read(path: &Path) -> Result<Secret, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::environment(format!("cannot read {}", path.display()), error))?;
    Ok(Secret::new(text.trim()))
}

fn missing(sid: bool, token: bool) -> Failure {
    let word = |there| if there { "found" } else { "missing" };
    Failure::new(
        ErrorCode::TwilioCredentials,
        format!("--source twilio needs {SID_ENV} and {TOKEN_ENV}"),
    )
    .tried(vec![
        format!("{SID_ENV}: {} (looked at --account-sid and the environment)", word(sid)),
        format!(
            "{TOKEN_ENV}: {} (looked at --auth-token-file, the environment and {TOKEN_FILE_ENV})",
            word(token)
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "AC0123456789abcdef0123456789abcdef";

    #[test]
    fn the_token_is_in_the_header_and_nowhere_else() {
        let account =
            Account::new(SID.into(), Secret::new("hunter2"), "https://api.twilio.com/").unwrap();
        let expected = format!("Basic {}", STANDARD.encode(format!("{SID}:hunter2")));
        assert_eq!(account.authorization().expose(), expected);
        assert!(!format!("{account:?}").contains("hunter2"));
        assert_eq!(
            account.address("Recordings.json"),
            format!("https://api.twilio.com/2010-04-01/Accounts/{SID}/Recordings.json")
        );
    }

    #[test]
    fn the_token_is_not_sent_readable_to_other_machines() {
        for (base, fine) in [
            ("https://twilio.example", true),
            ("http://127.0.0.1:9", true),
            ("http://localhost", true),
            ("http://[::1]:9", true),
            ("http://twilio.example", false),
            ("http://127.0.0.1.example", false),
            ("ftp://127.0.0.1", false),
        ] {
            let account = Account::new(SID.into(), Secret::new("t"), base);
            assert_eq!(account.is_ok(), fine, "{base}");
        }
    }

    #[test]
    fn only_sids_are_sids() {
        assert!(is_sid(SID, "AC"));
        for wrong in ["", "AC", "AC/../../etc/passwd", "RE0123456789abcdef0123456789abcdef"] {
            assert!(!is_sid(wrong, "AC"), "{wrong}");
        }
    }
}
