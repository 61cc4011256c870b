//! Where the database is, and what of that may be said aloud.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use dialtone_auth::Secret;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::OpenError;

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Silence after which the system asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unanswered before the connection is given up.
const UNANSWERED: Duration = Duration::from_secs(15);
/// Bytes of a schema's name at most, as PostgreSQL cuts longer ones.
const NAME_MAX: usize = 63;

/// A schema of a database. Prints its place, and no password.
#[derive(Clone)]
pub(crate) struct Target {
    config: Config,
    schema: String,
}

impl Target {
    pub(crate) fn parse(url: &Secret, schema: &str) -> Result<Self, OpenError> {
        let text = url.expose();
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(OpenError::Url { detail: "it does not begin with postgres://".to_owned() });
        }
        // The parser names what it stumbles over, which is never the password: it takes any.
        let mut config = Config::from_str(text)
            .map_err(|error| OpenError::Url { detail: crate::fault::said(&error) })?;
        if config.get_hosts().is_empty() {
            return Err(OpenError::Url { detail: "it names no host".to_owned() });
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(OpenError::Tls);
        }
        config.ssl_mode(SslMode::Disable);
        if config.get_application_name().is_none() {
            config.application_name("dialtone");
        }
        config.connect_timeout(CONNECT).keepalives_idle(KEEPALIVE).tcp_user_timeout(UNANSWERED);
        check_name(schema)?;
        Ok(Self { config, schema: schema.to_owned() })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// The schema as SQL writes it; its name needs no escapes.
    pub(crate) fn quoted_schema(&self) -> String {
        format!("\"{}\"", self.schema)
    }

    pub(crate) fn database(&self) -> &str {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or("postgres")
    }

    pub(crate) fn user(&self) -> &str {
        self.config.get_user().unwrap_or("the system's user")
    }
}

/// Names are written into SQL, so they are of few characters.
fn check_name(name: &str) -> Result<(), OpenError> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    let starts = name.bytes().next().is_some_and(|c| c.is_ascii_lowercase() || c == b'_');
    if !starts || name.len() > NAME_MAX || !name.bytes().all(plain) || name.starts_with("pg_") {
        return Err(OpenError::Schema { name: name.to_owned() });
    }
    Ok(())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}")?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
            let ports = self.config.get_ports();
            if let Some(port) = ports.get(index).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.database())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, schema: &str) -> Result<Target, OpenError> {
        Target::parse(&Secret::new(url), schema)
    }

    #[test]
    fn a_place_is_printed_without_its_password() {
        let url = "postgresql://ann:hunter2@db.example:5433/calls?application_name=x";
        let target = parse(url, "dialtone").expect("parsed");
        assert_eq!(target.to_string(), "postgres://db.example:5433/calls");
        let socket = parse("postgres://ann:hunter2@%2Ftmp%2Fsocket/calls", "dialtone");
        assert_eq!(socket.expect("parsed").to_string(), "postgres:///tmp/socket:5432/calls");
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_its_password() {
        for url in [
            "mysql://ann:hunter2@host/x",
            "postgres://ann:hunter2@host:port/x",
            "postgres://ann:hunter2@host/x?nonsense=1",
            "postgres:///x?password=hunter2",
            "postgres://ann:hunter2@host/x?sslmode=require",
        ] {
            let error = parse(url, "dialtone").err().expect("refused").to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains(';'), "no next step in: {error}");
        }
        for schema in ["", "a b", "x\"; DROP", "pg_temp", "Upper", &"x".repeat(64)] {
            let error = parse("postgres://host/x", schema).err().expect("refused");
            assert!(matches!(error, OpenError::Schema { .. }), "{error}");
        }
    }
}
