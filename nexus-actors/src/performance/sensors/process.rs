//! What the kernel tells of a process in `/proc/self` (proc(5)).

/// Clock ticks per second in `/proc/self/stat`: fixed at 100 in Linux's interface to programs (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A field of `/proc/self/status` or `/proc/meminfo` in bytes.
#[must_use]
pub fn field_bytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// User and system time of `/proc/self/stat` in seconds.
#[must_use]
pub fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the program's name in brackets and may itself have spaces and brackets.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let (user, system) = (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
    #[expect(clippy::cast_precision_loss, reason = "a process does not live for 2^53 ticks")]
    Some(user.checked_add(system)? as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the kernel's formats are read, hostile program names included.
    #[test]
    fn reads_the_kernels_formats() {
        let status = "Name:\tnexus\nVmHWM:\t    2048 kB\nVmRSS:\t   1024 kB\n";
        let fields = (field_bytes(status, "VmRSS"), field_bytes(status, "VmHWM"));
        assert_eq!(fields, (Some(1 << 20), Some(2 << 20)));
        assert_eq!(field_bytes(status, "VmXXX"), None);
        assert_eq!(field_bytes("VmRSS: 99999999999999999999 kB", "VmRSS"), None);
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 5";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("42 (a"), None);
    }
}
