//! The pipe from the parent: commands while it lives, the end when it does not.

use std::io;
use std::os::fd::AsFd;

use dialtone_child::protocol::Command;
use tokio::net::unix::pipe::Receiver;

/// Longest command line. More without a line end is not a parent of ours.
const LONGEST: usize = 4096;

/// The reading end.
pub struct Lifeline {
    pipe: Receiver,
    unread: Vec<u8>,
}

impl Lifeline {
    /// Takes stdin, which has to be a pipe.
    pub fn from_stdin() -> io::Result<Self> {
        let fd = io::stdin().as_fd().try_clone_to_owned()?;
        let pipe = Receiver::from_owned_fd(fd)
            .map_err(|error| io::Error::other(format!("stdin is not a lifeline pipe: {error}")))?;
        Ok(Self { pipe, unread: Vec::new() })
    }

    /// The next command; none when the parent has closed its end or died. Safe to drop halfway.
    pub async fn next(&mut self) -> Option<Command> {
        loop {
            while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                // What is not a command comes from a newer parent; its meaning is unknown.
                if let Ok(command) = String::from_utf8_lossy(&line[..end]).parse() {
                    return Some(command);
                }
            }
            if self.unread.len() > LONGEST {
                return None;
            }
            self.pipe.readable().await.ok()?;
            let mut chunk = [0; 512];
            match self.pipe.try_read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.unread.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }
}
