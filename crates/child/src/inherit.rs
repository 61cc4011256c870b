//! The child's half of `--listen-fd name=N`: taking over a listener that the parent bound.

use std::io;
use std::net::TcpListener;

/// Takes the listening socket that the parent passed under this number.
///
/// Each number can be taken once. The listener comes back non-blocking and closed to own children.
#[cfg(unix)]
#[expect(unsafe_code, reason = "a bare number from the command line becomes an owned descriptor")]
pub fn listener(fd: i32) -> io::Result<TcpListener> {
    use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
    use std::sync::Mutex;

    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    /// Makes the check and the taking of one number a single step.
    static TAKING: Mutex<()> = Mutex::new(());
    let _taking = TAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);

    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if fd < 3 {
        return refuse(format!("--listen-fd {fd}: numbers below 3 are stdin, stdout and stderr"));
    }
    // SAFETY: the number is only asked about here; a closed one answers with an error.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    match fcntl_getfd(borrowed) {
        // Everything that this process opens itself closes on exec. What does not was inherited,
        // so no other part of this process owns it.
        Ok(flags) if !flags.contains(FdFlags::CLOEXEC) => {}
        Ok(_) => return refuse(format!("--listen-fd {fd}: not inherited, or already taken")),
        Err(error) => return refuse(format!("--listen-fd {fd}: not an open descriptor ({error})")),
    }
    match listens(borrowed) {
        Ok(true) => {}
        Ok(false) => return refuse(format!("--listen-fd {fd}: a socket, but it does not listen")),
        Err(error) => return refuse(format!("--listen-fd {fd}: not a listening socket ({error})")),
    }
    let address = rustix::net::getsockname(borrowed)?;
    if std::net::SocketAddr::try_from(address).is_err() {
        return refuse(format!("--listen-fd {fd}: listens, but not on TCP"));
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: open, and inherited as shown above, so nothing else owns it. The flag just set makes
    // a second call for the same number fail.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    let listener = TcpListener::from(owned);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(all(unix, not(target_vendor = "apple")))]
fn listens(fd: std::os::fd::BorrowedFd<'_>) -> rustix::io::Result<bool> {
    rustix::net::sockopt::socket_acceptconn(fd)
}

/// Apple systems do not answer whether a socket listens; a stream without a peer comes close.
#[cfg(target_vendor = "apple")]
fn listens(fd: std::os::fd::BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let stream = rustix::net::sockopt::socket_type(fd)? == rustix::net::SocketType::STREAM;
    Ok(stream && rustix::net::getpeername(fd).is_err())
}

/// Listeners are not passed on this system.
#[cfg(not(unix))]
pub fn listener(_fd: i32) -> io::Result<TcpListener> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "listeners are not passed on this system"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    fn inheritable(fd: &impl std::os::fd::AsFd) {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
    }

    #[test]
    fn takes_a_listener_once() {
        let bound = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = bound.local_addr().unwrap().port();
        inheritable(&bound);
        let fd = bound.into_raw_fd();
        let taken = listener(fd).unwrap();
        assert_eq!(taken.local_addr().unwrap().port(), port);
        assert_eq!(taken.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(listener(fd).unwrap_err().to_string().contains("already taken"));
    }

    #[test]
    fn refuses_what_is_not_an_inherited_listener() {
        assert!(listener(-1).unwrap_err().to_string().contains("below 3"));
        assert!(listener(1).unwrap_err().to_string().contains("below 3"));
        assert!(listener(999).unwrap_err().to_string().contains("not an open descriptor"));
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listener(own.as_raw_fd()).unwrap_err().to_string().contains("not inherited"));
        let file = tempfile::tempfile().unwrap();
        inheritable(&file);
        assert!(listener(file.as_raw_fd()).unwrap_err().to_string().contains("not a listening"));
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        inheritable(&udp);
        assert!(listener(udp.as_raw_fd()).is_err());
    }
}
