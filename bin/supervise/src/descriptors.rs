//! Which descriptors the supervisor starts with: stdio and what was passed, nothing else.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::fcntl_getfd;

/// Takes the descriptors in `keep` and closes all others that were inherited.
///
/// A stray one could be the lifeline of a sibling, which would then outlive its parent. Called
/// before anything else, so that only inherited descriptors are there.
#[expect(unsafe_code, reason = "inherited descriptors are bare numbers until somebody owns them")]
pub fn adopt(keep: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    let mut kept = Vec::new();
    for &fd in keep {
        if fd < 3 || !open(fd) {
            let why = format!("--keep-fd {fd}: not an open descriptor above 2");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if kept.iter().any(|other: &OwnedFd| other.as_raw_fd() == fd) {
            let why = format!("--keep-fd {fd}: named twice");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        // SAFETY: open, above stdio, seen once, and nothing in this process has opened anything
        // yet, so it was inherited and has no other owner.
        kept.push(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    for fd in inherited() {
        if !keep.contains(&fd) && open(fd) {
            // SAFETY: as above; it is closed right here.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Ok(kept)
}

/// The open descriptors above stdio. The one that reads the list is in it, closed by then.
fn inherited() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/dev/fd") else { return Vec::new() };
    let mut all: Vec<RawFd> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    all.sort_unstable();
    all
}

#[expect(unsafe_code, reason = "a bare number is asked about")]
fn open(fd: RawFd) -> bool {
    if fd < 0 {
        return false;
    }
    // SAFETY: not -1, and only asked about: a closed number answers with an error.
    fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_ok()
}
