//! What this machine offers for io_uring, and what is in the way.
//!
//! Invariant: asks by trying, never by version numbers; leaves nothing behind. Start-up code, any thread.

use crate::uring::build_ring;
use io_uring::opcode;
use std::{fmt, io};
use stria_base::ErrorClass;

const PROBE_ENTRIES: u32 = 8;

/// What the ring of this kernel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UringFeatures {
    /// DEFER_TASKRUN and SINGLE_ISSUER (kernel 6.1). Without: about 45 % more CPU per request.
    pub defer_taskrun: bool,
    /// COOP_TASKRUN (kernel 5.19).
    pub coop_taskrun: bool,
    /// Waiting is not counted as I/O pressure (kernel 6.15).
    pub no_iowait: bool,
    /// Zero-copy send (kernel 6.0).
    pub send_zc: bool,
    /// Messages between rings (kernel 5.18).
    pub msg_ring: bool,
    /// Device commands: NVMe passthrough (kernel 5.19).
    pub uring_cmd: bool,
}

/// Why there is no ring. Each displays the cause and the remedy in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UringMissing {
    /// The kernel has no io_uring (ENOSYS).
    NoSyscall,
    /// Refused (EPERM or EACCES). `sysctl` is the value of kernel.io_uring_disabled, if there is one.
    Blocked {
        /// 0 points at a seccomp filter; 1 and 2 at the sysctl itself.
        sysctl: Option<u8>,
    },
    /// The locked-memory limit is too small (ENOMEM).
    Memlock {
        /// The soft limit in bytes; `u64::MAX` when unlimited.
        limit_bytes: u64,
    },
    /// The kernel lacks something indispensable (EINVAL): provided buffer rings need 5.19.
    TooOld,
    /// Anything else the kernel said.
    Other {
        /// The errno.
        errno: i32,
    },
}

impl UringMissing {
    /// Reads the cause off an error of ring set-up.
    pub(crate) fn from_error(error: &io::Error) -> Self {
        match error.raw_os_error().unwrap_or(libc::EIO) {
            libc::ENOSYS => Self::NoSyscall,
            libc::EPERM | libc::EACCES => Self::Blocked { sysctl: read_sysctl() },
            libc::ENOMEM => Self::Memlock { limit_bytes: memlock_limit_bytes() },
            libc::EINVAL => Self::TooOld,
            errno => Self::Other { errno },
        }
    }

    /// A machine without a ring is not the client's fault and will not change by itself.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoSyscall | Self::Blocked { .. } | Self::TooOld | Self::Other { .. } => ErrorClass::Client,
            Self::Memlock { .. } => ErrorClass::Full,
        }
    }
}

impl fmt::Display for UringMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSyscall => {
                write!(
                    f,
                    "io_uring: the kernel has no such call (ENOSYS); use Linux 6.1 or later with CONFIG_IO_URING"
                )
            }
            Self::Blocked { sysctl: Some(value @ 1..) } => write!(
                f,
                "io_uring: blocked by sysctl kernel.io_uring_disabled={value}; set it to 0, or start as a member of kernel.io_uring_group when it is 1"
            ),
            Self::Blocked { sysctl } => write!(
                f,
                "io_uring: blocked by a seccomp filter ({}); start the container with a profile that allows io_uring_setup, io_uring_enter and io_uring_register",
                if sysctl.is_some() {
                    "sysctl kernel.io_uring_disabled=0 allows it"
                } else {
                    "no sysctl forbids it"
                }
            ),
            Self::Memlock { limit_bytes } => write!(
                f,
                "io_uring: the locked-memory limit of {} KiB is too small; raise it (ulimit -l, LimitMEMLOCK=infinity)",
                limit_bytes / 1024
            ),
            Self::TooOld => {
                write!(f, "io_uring: this kernel's is too old (EINVAL); use Linux 6.1 or later")
            }
            Self::Other { errno } => write!(f, "io_uring: {}", io::Error::from_raw_os_error(*errno)),
        }
    }
}

impl std::error::Error for UringMissing {}

/// Tries a ring on this thread.
///
/// # Errors
/// What is in the way.
pub fn probe() -> Result<UringFeatures, UringMissing> {
    let (ring, defer_taskrun, coop_taskrun) =
        build_ring(PROBE_ENTRIES).map_err(|error| UringMissing::from_error(&error))?;
    let mut known = io_uring::Probe::new();
    ring.submitter().register_probe(&mut known).map_err(|error| UringMissing::from_error(&error))?;
    Ok(UringFeatures {
        defer_taskrun,
        coop_taskrun,
        no_iowait: ring.params().is_feature_no_iowait(),
        send_zc: known.is_supported(opcode::SendZc::CODE),
        msg_ring: known.is_supported(opcode::MsgRingData::CODE),
        uring_cmd: known.is_supported(opcode::UringCmd80::CODE),
    })
}

#[expect(clippy::disallowed_methods, reason = "start-up code reads one sysctl; no core runs yet")]
fn read_sysctl() -> Option<u8> {
    let text = std::fs::read("/proc/sys/kernel/io_uring_disabled").ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

fn memlock_limit_bytes() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit.
    let rc = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    if rc < 0 { 0 } else { limit.rlim_cur }
}
