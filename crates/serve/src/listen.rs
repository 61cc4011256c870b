use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use dialtone_contract::ErrorCode;

use crate::holder::holder;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenArgs {
    /// Address to bind.
    pub bind: IpAddr,
    /// Port to bind; 0 takes a free one.
    pub port: u16,
    /// Inherited listeners, each `NAME=DESCRIPTOR`. One with the asked name is used
    /// instead of binding `bind` and `port`.
    pub listen_fd: Vec<String>,
    /// Whether callers must authenticate. Without it only loopback may be bound.
    pub auth_configured: bool,
}

impl Default for ListenArgs {
    fn default() -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            listen_fd: Vec::new(),
            auth_configured: false,
        }
    }
}

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A `--listen-fd` that is not `NAME=DESCRIPTOR`.
    #[error("`--listen-fd {0}` is not NAME=DESCRIPTOR")]
    BadDescriptor(String),
    /// An inherited descriptor is not a listener.
    #[error("descriptor {fd} for `{name}` is not an inherited listener: {source}")]
    Inherit {
        /// Name of the listener.
        name: String,
        /// The descriptor.
        fd: i32,
        /// What the system said.
        source: io::Error,
    },
    /// An address that others can reach, without authentication.
    #[error(
        "{0} can be reached from other machines, and no API keys are configured; \
         bind 127.0.0.1, or configure a key first"
    )]
    Unprotected(IpAddr),
    /// The port is in use.
    #[error("{addr} for `{name}` is in use by {}", holder.as_deref().unwrap_or("another process"))]
    PortTaken {
        /// Name of the listener.
        name: String,
        /// The address.
        addr: SocketAddr,
        /// Who listens there, as `pid N (PROGRAM)`, where the system tells.
        holder: Option<String>,
    },
    /// Any other failure to bind.
    #[error("cannot listen on {addr} for `{name}`: {source}")]
    Bind {
        /// Name of the listener.
        name: String,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl ListenError {
    /// The code under which users see the failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::BadDescriptor(_) => ErrorCode::Usage,
            Self::PortTaken { .. } => ErrorCode::PortTaken,
            Self::Inherit { .. } | Self::Unprotected(_) | Self::Bind { .. } => {
                ErrorCode::Environment
            }
        }
    }
}

/// The listener called `name`: the inherited one of [`ListenArgs::listen_fd`] where
/// there is one, else bound here. A descriptor can be taken once.
///
/// # Errors
/// If the address is taken, cannot be bound, or could be reached by others without
/// authentication; if a `listen_fd` cannot be read or is not a listener.
pub fn listen(name: &str, args: &ListenArgs) -> Result<TcpListener, ListenError> {
    for given in &args.listen_fd {
        let bad = || ListenError::BadDescriptor(given.clone());
        let (given_name, fd) = given.split_once('=').ok_or_else(bad)?;
        let fd: i32 = fd.parse().map_err(|_| bad())?;
        if given_name == name {
            return inherit(name, fd, args.auth_configured);
        }
    }
    let addr = SocketAddr::new(args.bind, args.port);
    protected(addr.ip(), args.auth_configured)?;
    TcpListener::bind(addr).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            ListenError::PortTaken { name: name.to_owned(), addr, holder: holder(addr.port()) }
        }
        _ => ListenError::Bind { name: name.to_owned(), addr, source },
    })
}

fn inherit(name: &str, fd: i32, auth_configured: bool) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError::Inherit { name: name.to_owned(), fd, source };
    let listener = dialtone_child::inherit::listener(fd).map_err(failed)?;
    protected(listener.local_addr().map_err(failed)?.ip(), auth_configured)?;
    Ok(listener)
}

fn protected(ip: IpAddr, auth_configured: bool) -> Result<(), ListenError> {
    if ip.is_loopback() || auth_configured { Ok(()) } else { Err(ListenError::Unprotected(ip)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_address_needs_authentication() {
        let open = ListenArgs { bind: Ipv4Addr::UNSPECIFIED.into(), ..ListenArgs::default() };
        let error = listen("api", &open).expect_err("refused");
        assert!(error.to_string().contains("bind 127.0.0.1"), "{error}");
        assert!(listen("api", &ListenArgs { auth_configured: true, ..open }).is_ok());
    }

    #[test]
    fn a_taken_port_names_its_holder() {
        let holder = listen("api", &ListenArgs::default()).expect("a free port");
        let port = holder.local_addr().expect("an address").port();
        let error = listen("api", &ListenArgs { port, ..ListenArgs::default() });
        let error = error.expect_err("taken");
        assert_eq!(error.code(), ErrorCode::PortTaken);
        if cfg!(target_os = "linux") {
            assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        }
    }

    #[test]
    fn descriptors_are_checked() {
        let args = |fd: &str| ListenArgs { listen_fd: vec![fd.into()], ..ListenArgs::default() };
        for bad in ["api", "api=", "api=x"] {
            let error = listen("api", &args(bad)).expect_err("refused");
            assert_eq!(error.code(), ErrorCode::Usage, "{error}");
        }
        assert!(listen("api", &args("other=9")).is_ok());
        assert!(matches!(listen("api", &args("api=9999")), Err(ListenError::Inherit { .. })));
    }
}
