//! What a process has used.

use std::error::Error;
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{fmt, fs, io, mem};

/// What sending the records took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Processor time of the whole process, in user and system mode.
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// The most memory that the process ever had.
    pub(crate) peak_kib: u64,
    /// All acknowledged.
    pub(crate) records: usize,
}

/// Runs from the first record to the last acknowledgement.
pub(crate) struct Meter {
    cpu: Duration,
    start: Instant,
}

impl Meter {
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self { cpu: cpu_time()?, start: Instant::now() })
    }

    pub(crate) fn stop(self, records: usize) -> io::Result<Measured> {
        let (wall, cpu) = (self.start.elapsed(), cpu_time()?.saturating_sub(self.cpu));
        Ok(Measured { cpu, wall, peak_kib: peak_kib()?, records })
    }
}

fn cpu_time() -> io::Result<Duration> {
    // SAFETY: numbers, for which all bits zero are a value.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a `rusage` of ours.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let time = |of: libc::timeval| Duration::new(of.tv_sec as u64, of.tv_usec as u32 * 1_000);
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}

fn peak_kib() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok());
    peak.ok_or_else(|| io::Error::other("/proc/self/status tells no VmHWM"))
}

/// As a child tells it.
impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, wall, peak_kib, records } = self;
        write!(f, "{} {} {peak_kib} {records}", cpu.as_micros(), wall.as_micros())
    }
}

/// As its parent reads it.
impl FromStr for Measured {
    type Err = Box<dyn Error>;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [cpu, wall, peak_kib, records] = *numbers else {
            return Err(format!("a child said `{line}`").into());
        };
        let (cpu, wall) = (Duration::from_micros(cpu), Duration::from_micros(wall));
        Ok(Self { cpu, wall, peak_kib, records: usize::try_from(records)? })
    }
}
