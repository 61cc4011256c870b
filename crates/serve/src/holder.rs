/// Who listens on a TCP port, as `pid N (PROGRAM)`. `None` where the process belongs to
/// another user and the system does not tell.
#[cfg(target_os = "linux")]
pub fn holder(port: u16) -> Option<String> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, port))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(|pid: u32| {
        let mut fds = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let holds = fds.any(|fd| {
            let target = std::fs::read_link(fd.path()).unwrap_or_default();
            sockets.iter().any(|socket| target.as_os_str() == socket.as_str())
        });
        let program = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        holds.then(|| format!("pid {pid} ({})", program().trim()))
    })
}

/// Who listens on a TCP port: only Linux tells without a tool.
#[cfg(not(target_os = "linux"))]
pub fn holder(_port: u16) -> Option<String> {
    None
}

/// The sockets that listen on `port` in a table of the kernel, as links to them read.
#[cfg(target_os = "linux")]
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let rows = table.lines().skip(1).filter_map(|row| {
        let fields: Vec<_> = row.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTEN;
        let inode = fields.get(9)?;
        here.then(|| format!("socket:[{inode}]"))
    });
    rows.collect()
}
