//! What the stack is made of.

use std::net::TcpListener;
use std::path::PathBuf;

use dialtone_contract::ErrorCode;
use dialtone_serve::{ListenArgs, ListenError, listen};

use crate::failure::Failure;

/// A listener that the harness bound for a service: nobody guesses free ports, and the port stays
/// taken while the service restarts.
#[derive(Debug)]
pub struct Port {
    pub(super) listener: TcpListener,
    /// The port.
    pub number: u16,
}

impl Port {
    /// Binds a port on loopback for `service`; 0 takes a free one.
    ///
    /// # Errors
    /// If the port is taken, with who holds it, or cannot be bound.
    pub fn bind(service: &str, port: u16) -> Result<Self, Failure> {
        let listener = listen(service, &ListenArgs { port, ..ListenArgs::default() })
            .map_err(|error| cannot_listen(&error))?;
        let number = listener.local_addr().map_or(port, |addr| addr.port());
        Ok(Self { listener, number })
    }

    /// The listener, for a server in this process, and its port.
    pub fn into_listener(self) -> (TcpListener, u16) {
        (self.listener, self.number)
    }

    /// Whether the port is free again, and if not, who holds it.
    pub(crate) fn holder(service: &str, port: u16) -> Option<String> {
        let args = ListenArgs { port, ..ListenArgs::default() };
        listen(service, &args).err().map(|error| error.to_string())
    }

    /// Base URL for HTTP.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.number)
    }
}

fn cannot_listen(error: &ListenError) -> Failure {
    match error {
        ListenError::PortTaken { .. } => Failure::new(ErrorCode::PortTaken, error.to_string()),
        _ => Failure::environment(error.to_string()),
    }
}

/// A process of the stack.
#[derive(Debug)]
pub struct Service {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) listener: &'static str,
    pub(super) port: Port,
}

impl Service {
    /// The service `name`, run by `program`; it takes over `port` under the name `listener`.
    pub fn new(
        name: &str,
        program: impl Into<PathBuf>,
        listener: &'static str,
        port: Port,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            listener,
            port,
        }
    }

    /// Adds arguments. Every user of the machine can read them: no secrets here.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }
}
