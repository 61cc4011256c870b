/// Memory that this process holds, in bytes. In kilobytes from the kernel, so that the size of
/// a page does not matter. `None` where the system does not tell this way.
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_holds_memory() {
        let resident = resident();
        assert!(resident.is_none_or(|bytes| bytes > 100_000), "{resident:?}");
        assert_eq!(resident.is_some(), cfg!(target_os = "linux"));
    }
}
