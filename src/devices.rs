//! Raw block devices on their way into a store: what they carry, how large they are, who gets which slice.
//!
//! Invariant: a device is divided only when nobody uses it and nothing we know lies on it; whatever does is named in
//! the refusal, with the command that removes it. Nothing is written here. Start-up only; may block.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    config::print_size,
    datadir::{VolumeRecord, same_file},
};

/// Whole segments, so that slices stay aligned whatever the erase blocks are.
const SLICE_ALIGN_BYTES: u64 = 64 << 20;
/// Least a core can live on.
const SLICE_BYTES_MIN: u64 = 4 * SLICE_ALIGN_BYTES;
/// What a store of ours starts with.
const VOLUME_MAGIC: &[u8] = b"STRIAVOL";
/// Room of the superblocks: overwriting it makes a device a device again.
const VOLUME_HEADER_MIB: u64 = 4;

/// A place and the bytes that say what a device carries.
struct Signature {
    name: &'static str,
    at: u64,
    bytes: &'static [u8],
}

const fn signature(name: &'static str, at: u64, bytes: &'static [u8]) -> Signature {
    Signature { name, at, bytes }
}

/// Signatures as the programs that write them document them. The partition tables come last: boot code of a file
/// system ends in the same two bytes.
const SIGNATURES: &[Signature] = &[
    signature("an ext2, ext3 or ext4 file system", 0x438, b"\x53\xef"),
    signature("an XFS file system", 0, b"XFSB"),
    signature("a Btrfs file system", 0x1_0040, b"_BHRfS_M"),
    signature("an F2FS file system", 0x400, b"\x10\x20\xf5\xf2"),
    signature("an EROFS file system", 0x400, b"\xe2\xe1\xf5\xe0"),
    signature("a SquashFS file system", 0, b"hsqs"),
    signature("a JFS file system", 0x8000, b"JFS1"),
    signature("an ISO 9660 file system", 0x8001, b"CD001"),
    signature("an NTFS file system", 3, b"NTFS    "),
    signature("an exFAT file system", 3, b"EXFAT   "),
    signature("a FAT file system", 0x36, b"FAT"),
    signature("a FAT file system", 0x52, b"FAT32"),
    signature("a bcache or bcachefs device", 0x1018, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
    signature("an LVM physical volume", 0, b"LABELONE"),
    signature("an LVM physical volume", 0x200, b"LABELONE"),
    signature("an LVM physical volume", 0x400, b"LABELONE"),
    signature("an LVM physical volume", 0x600, b"LABELONE"),
    signature("a LUKS container", 0, b"LUKS\xba\xbe"),
    signature("a member of a RAID", 0, b"\xfc\x4e\x2b\xa9"),
    signature("a member of a RAID", 0x1000, b"\xfc\x4e\x2b\xa9"),
    signature("swap space", 0xff6, b"SWAPSPACE2"),
    signature("swap space of another page size", 0xfff6, b"SWAPSPACE2"),
    signature("a Ceph BlueStore", 0, b"bluestore block device"),
    signature("a partition table (GPT)", 0x200, b"EFI PART"),
    signature("a partition table (GPT)", 0x1000, b"EFI PART"),
    signature("a partition table (MBR) or boot code", 0x1fe, b"\x55\xaa"),
];

/// Where a member of a RAID with its description at the end has it, counted from the end.
const RAID_AT_END: &[(u64, u64)] = &[(8 << 10, 4 << 10), (64 << 10, 64 << 10)];
/// ZFS keeps a ring of these from 128 KiB on, 1 KiB each at least.
const ZFS_UBERBLOCK: [u8; 8] = 0x00ba_b10c_u64.to_le_bytes();
const ZFS_RING: std::ops::Range<u64> = (128 << 10)..(256 << 10);

/// Why a device cannot become part of a store. Each prints as one line with the remedy.
#[derive(Debug)]
pub enum DeviceError {
    /// It cannot be opened or read.
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The path names something else.
    NoBlockDevice {
        /// The path.
        path: PathBuf,
    },
    /// A file system on it is mounted, or the kernel uses it otherwise.
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// Something lies on it.
    Carries {
        /// Which.
        path: PathBuf,
        /// What.
        what: &'static str,
    },
    /// A volume of a store lies on it.
    OtherStore {
        /// Which.
        path: PathBuf,
    },
    /// It was given more than once.
    Twice {
        /// Which.
        path: PathBuf,
    },
    /// A core's share of it would be too small.
    TooSmall {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// Cores that would share it.
        cores: u64,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(
                f,
                "cannot use {} as a device: {error}; give a block device this user may read and write",
                path.display()
            ),
            Self::NoBlockDevice { path } => write!(
                f,
                "{} is no block device; give one with --device, or leave --device out to keep objects in files",
                path.display()
            ),
            Self::InUse { path } => write!(
                f,
                "{} is in use: mounted, swap, or part of a RAID or volume group; release it (lsblk shows by whom) or give another device",
                path.display()
            ),
            Self::Carries { path, what } => write!(
                f,
                "{0} carries {what}; if nothing on it is needed any more, erase the signature with: wipefs --all {0}",
                path.display()
            ),
            Self::OtherStore { path } => write!(
                f,
                "{0} carries a volume of another store, or of one whose making was interrupted; if nothing on it is needed any more: dd if=/dev/zero of={0} bs=1M count={VOLUME_HEADER_MIB}",
                path.display()
            ),
            Self::Twice { path } => {
                write!(f, "{} is given twice; name each device once", path.display())
            }
            Self::TooSmall { path, bytes, cores } => write!(
                f,
                "{} has {} for {cores} cores, and each needs at least {}; give larger or more devices, or fewer --cores",
                path.display(),
                print_size(*bytes),
                print_size(SLICE_BYTES_MIN)
            ),
        }
    }
}

impl std::error::Error for DeviceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Divides devices of a new store among `cores` cores: as many volumes on each as it takes for every core to have
/// one, neighbours on different devices.
///
/// # Errors
/// See [`DeviceError`].
pub fn divide(devices: &[PathBuf], cores: u16) -> Result<Vec<VolumeRecord>, DeviceError> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let per_device = usize::from(cores).div_ceil(devices.len()) as u64;
    let mut slices = Vec::new();
    for (i, given) in devices.iter().enumerate() {
        let failed = |error| DeviceError::Io { path: given.clone(), error };
        if devices[..i].iter().any(|other| same_file(given, other).unwrap_or(false)) {
            return Err(DeviceError::Twice { path: given.clone() });
        }
        // Links are kept: names like those of /dev/disk/by-id hold over a restart, those they lead to do not.
        let path = std::path::absolute(given).map_err(failed)?;
        let bytes = check(&path)?;
        let slice = bytes / per_device / SLICE_ALIGN_BYTES * SLICE_ALIGN_BYTES;
        if slice < SLICE_BYTES_MIN {
            return Err(DeviceError::TooSmall { path, bytes, cores: per_device });
        }
        slices.push((path, slice));
    }
    let volume = |nth| {
        move |(path, slice): &(PathBuf, u64)| VolumeRecord {
            path: path.clone(),
            base_bytes: nth * slice,
            bytes: Some(*slice),
        }
    };
    Ok((0..per_device).flat_map(|nth| slices.iter().map(volume(nth))).collect())
}

/// Size of a device in bytes, when nobody uses it and nothing lies on it.
fn check(path: &Path) -> Result<u64, DeviceError> {
    let failed = |error| DeviceError::Io { path: path.to_owned(), error };
    if !std::fs::metadata(path).map_err(failed)?.file_type().is_block_device() {
        return Err(DeviceError::NoBlockDevice { path: path.to_owned() });
    }
    // Exclusive: the kernel refuses while a file system, swap, RAID or mapper holds it.
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL).open(path);
    let device = match opened {
        Ok(device) => device,
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            return Err(DeviceError::InUse { path: path.to_owned() });
        }
        Err(error) => return Err(failed(error)),
    };
    let bytes = io::Seek::seek(&mut &device, io::SeekFrom::End(0)).map_err(failed)?;
    match carried(&device, bytes).map_err(failed)? {
        None => Ok(bytes),
        Some(Carried::Volume) => Err(DeviceError::OtherStore { path: path.to_owned() }),
        Some(Carried::Foreign(what)) => Err(DeviceError::Carries { path: path.to_owned(), what }),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Carried {
    Volume,
    Foreign(&'static str),
}

/// What lies on a device of `bytes` bytes.
fn carried(device: &File, bytes: u64) -> io::Result<Option<Carried>> {
    let mut start = vec![0; bytes.min(ZFS_RING.end) as usize];
    device.read_exact_at(&mut start, 0)?;
    let is_at = |at: u64, magic: &[u8]| start.get(at as usize..).is_some_and(|rest| rest.starts_with(magic));
    if [0, 4096].into_iter().any(|at| is_at(at, VOLUME_MAGIC)) {
        return Ok(Some(Carried::Volume));
    }
    if let Some(found) = SIGNATURES.iter().find(|known| is_at(known.at, known.bytes)) {
        return Ok(Some(Carried::Foreign(found.name)));
    }
    if ZFS_RING.step_by(1024).any(|at| is_at(at, &ZFS_UBERBLOCK)) {
        return Ok(Some(Carried::Foreign("a member of a ZFS pool")));
    }
    for (from_end, align) in RAID_AT_END {
        let Some(at) = bytes.checked_sub(*from_end).map(|at| at / align * align) else { continue };
        let mut magic = [0; 4];
        device.read_exact_at(&mut magic, at)?;
        if magic == *b"\xfc\x4e\x2b\xa9" {
            return Ok(Some(Carried::Foreign("a member of a RAID")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of zeros with some bytes in it, as a device would show them.
    fn with(bytes: u64, pieces: &[(u64, &[u8])]) -> Option<Carried> {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(bytes).expect("a length");
        for (at, piece) in pieces {
            file.write_all_at(piece, *at).expect("written");
        }
        carried(&file, bytes).expect("read")
    }

    #[test]
    fn an_empty_device_carries_nothing_and_every_signature_is_seen() {
        assert_eq!(with(1 << 20, &[]), None);
        assert_eq!(with(4096, &[]), None, "shorter than where signatures lie");
        for known in SIGNATURES {
            let found = with(1 << 20, &[(known.at, known.bytes)]);
            assert_eq!(found, Some(Carried::Foreign(known.name)), "{}", known.name);
        }
        assert_eq!(with(1 << 20, &[(0, VOLUME_MAGIC)]), Some(Carried::Volume));
        assert_eq!(
            with(1 << 20, &[(4096, VOLUME_MAGIC)]),
            Some(Carried::Volume),
            "only the second copy is left"
        );
    }

    #[test]
    fn what_lies_at_the_end_or_in_a_ring_is_seen() {
        let raid = Some(Carried::Foreign("a member of a RAID"));
        assert_eq!(with((1 << 20) + 512, &[((1 << 20) - (8 << 10), b"\xfc\x4e\x2b\xa9")]), raid);
        assert_eq!(with(1 << 20, &[((1 << 20) - (64 << 10), b"\xfc\x4e\x2b\xa9")]), raid);
        let zfs = with(1 << 20, &[((128 << 10) + 7 * 1024, &ZFS_UBERBLOCK)]);
        assert_eq!(zfs, Some(Carried::Foreign("a member of a ZFS pool")));
    }

    #[test]
    fn a_file_is_no_device() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let refused = divide(&[file.path().to_owned()], 1);
        assert!(matches!(refused, Err(DeviceError::NoBlockDevice { .. })), "{refused:?}");
        let twice = divide(&[file.path().to_owned(), file.path().to_owned()], 1);
        assert!(matches!(twice, Err(DeviceError::NoBlockDevice { .. })), "the first is refused first");
    }
}
