use std::fmt;

/// The process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pid: u32,
    program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.program)
    }
}

impl Holder {
    /// The holder of a TCP port. `None` where the system does not tell: outside Linux,
    /// or where the process belongs to another user.
    #[cfg(target_os = "linux")]
    pub fn of(port: u16) -> Option<Self> {
        let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .into_iter()
            .filter_map(|table| std::fs::read_to_string(table).ok())
            .flat_map(|table| listening(&table, port))
            .collect();
        if sockets.is_empty() {
            return None;
        }
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(
            |pid: u32| {
                let mut fds = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
                let holds = fds.any(|fd| {
                    let target = std::fs::read_link(fd.path()).unwrap_or_default();
                    sockets.iter().any(|socket| target.as_os_str() == socket.as_str())
                });
                let program = || std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
                holds
                    .then(|| Self { pid, program: program().unwrap_or_default().trim().to_owned() })
            },
        )
    }

    /// The holder of a TCP port: not known here.
    #[cfg(not(target_os = "linux"))]
    pub fn of(_port: u16) -> Option<Self> {
        None
    }
}

/// The sockets that listen on `port` in a table of the kernel, as links to them read.
#[cfg(target_os = "linux")]
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let rows = table.lines().skip(1).filter_map(|row| {
        let fields: Vec<_> = row.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTEN;
        here.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
    });
    rows.collect()
}
