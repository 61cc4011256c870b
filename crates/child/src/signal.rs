//! Signals by name, so that numbers that differ between systems never cross the wire.

use std::fmt;
use std::str::FromStr;

/// A signal that can be sent to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks for an orderly end.
    Term,
    /// What Ctrl-C sends.
    Int,
    /// What a closed terminal sends.
    Hup,
    /// What Ctrl-\ sends.
    Quit,
    /// Ends the process at once; cannot be caught.
    Kill,
    /// Freezes the process; cannot be caught.
    Stop,
    /// Thaws a frozen process.
    Cont,
    /// Free for the program's own use.
    Usr1,
    /// Free for the program's own use.
    Usr2,
}

const NAMES: [(Signal, &str); 9] = [
    (Signal::Term, "TERM"),
    (Signal::Int, "INT"),
    (Signal::Hup, "HUP"),
    (Signal::Quit, "QUIT"),
    (Signal::Kill, "KILL"),
    (Signal::Stop, "STOP"),
    (Signal::Cont, "CONT"),
    (Signal::Usr1, "USR1"),
    (Signal::Usr2, "USR2"),
];

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(signal, _)| signal == self).map_or("?", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(signal, _)| *signal)
            .ok_or_else(|| format!("`{text}` is not a known signal name"))
    }
}

#[cfg(unix)]
impl From<Signal> for rustix::process::Signal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Term => Self::TERM,
            Signal::Int => Self::INT,
            Signal::Hup => Self::HUP,
            Signal::Quit => Self::QUIT,
            Signal::Kill => Self::KILL,
            Signal::Stop => Self::STOP,
            Signal::Cont => Self::CONT,
            Signal::Usr1 => Self::USR1,
            Signal::Usr2 => Self::USR2,
        }
    }
}
