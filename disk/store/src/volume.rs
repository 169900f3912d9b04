//! A volume this core allocates on: its map, its free space, its segments.
//!
//! Invariant: the map on disk says what a segment is for before the segment is used for it. Owned by one
//! core.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
};

use stria_base::{VolumeId, limits::EXTENT_BYTES_MAX, units::align_up};
use stria_env::{
    Disk, Durability, Env,
    disk::BLOCK_BYTES,
    sync::{Permit, Semaphore},
};

use crate::{
    alloc::Allocator,
    error::StoreError,
    map::{DeviceMap, Geometry, SEGMENTS_MAX, SLOT_OFFSETS, Segment},
    row::Extent,
    superblock::{self, BadCopy, COPY_OFFSETS, HEADER_BYTES, SUPERBLOCK_BYTES, VolumeInfo},
    volumes::Volumes,
};

/// Segments kept from new data: for the log, so that deletions and cleaning find room, and for checkpoints,
/// without which cleaning frees nothing.
const RESERVED_SEGMENTS: u64 = 3;
/// Of them, those a checkpoint leaves to the log.
const RESERVED_LOG_SEGMENTS: u64 = 1;

const _: () = assert!(RESERVED_LOG_SEGMENTS < RESERVED_SEGMENTS);

/// Asking the file system for its free space is a system call: not one per request.
const LEN_MAX_BELIEVED_NS: u64 = 200_000_000;

/// A volume owned by this core.
pub struct Volume<E: Env> {
    pub(crate) id: VolumeId,
    pub(crate) uuid: u128,
    pub(crate) geometry: Geometry,
    info: Cell<VolumeInfo>,
    volumes: Volumes<E>,
    map: RefCell<DeviceMap>,
    pub(crate) alloc: RefCell<Allocator>,
    /// A slot that holds a valid map of the newest version.
    good_slot: Cell<usize>,
    /// Whether rows that need repair name space here: then others may name it too.
    has_suspects: Cell<bool>,
    /// Whether both slots were written since the volume was opened.
    has_written_map: Cell<bool>,
    /// One writer of the map at a time.
    map_writer: Rc<Semaphore>,
    /// Segments in which a write of the log failed.
    withdrawn: RefCell<BTreeSet<u32>>,
    /// Until when the growth limit asked of the file system is believed, and the limit.
    len_max: Cell<(u64, u64)>,
}

impl<E: Env> Volume<E> {
    /// Over what replay read.
    pub(crate) fn new(volumes: Volumes<E>, info: VolumeInfo, map: DeviceMap, good_slot: usize) -> Self {
        let (geometry, mut alloc) = (info.geometry, Allocator::default());
        for (segment, kind) in map.segments.iter().enumerate() {
            if *kind == Segment::Extents {
                alloc.free(geometry.offset(segment as u32), geometry.segment_bytes());
            }
        }
        Self {
            id: info.identity.volume,
            uuid: info.identity.store_uuid,
            geometry,
            info: Cell::new(info),
            volumes,
            map: RefCell::new(map),
            alloc: RefCell::new(alloc),
            good_slot: Cell::new(good_slot),
            has_suspects: Cell::new(false),
            has_written_map: Cell::new(false),
            map_writer: Semaphore::new(1),
            withdrawn: RefCell::default(),
            len_max: Cell::new((0, 0)),
        }
    }

    /// Takes an extent a row names out of the free space.
    ///
    /// # Errors
    /// `Corrupt` when two rows name it, or it lies where no extents are.
    pub(crate) fn adopt(&self, extent: Extent) -> Result<(), StoreError> {
        if self.alloc.borrow_mut().take_exact(extent.offset, u64::from(extent.bytes)) {
            return Ok(());
        }
        if self.has_suspects.get() {
            self.alloc.borrow_mut().take_what_is_free(extent.offset, u64::from(extent.bytes));
            return Ok(());
        }
        Err(StoreError::Corrupt { id: stria_base::DataId(0), block: extent.offset, volume: self.id })
    }

    /// Takes extents of rows that need repair out of the free space, as far as they are in it. Such a row
    /// is never dropped here, so what it shares with another row is freed once.
    pub(crate) fn adopt_suspect(&self, extents: &[Extent]) {
        for extent in extents {
            self.has_suspects.set(true);
            self.alloc.borrow_mut().take_what_is_free(extent.offset, u64::from(extent.bytes));
        }
    }

    /// What the superblock says.
    pub(crate) fn info(&self) -> VolumeInfo {
        self.info.get()
    }

    /// Writes the superblock with the next epoch. After an error nobody knows which of the two counts.
    pub(crate) async fn write_superblock(&self, info: VolumeInfo) -> Result<(), StoreError> {
        let info = VolumeInfo { epoch: self.info.get().epoch + 1, ..info };
        write_superblock(&self.volumes, &info).await?;
        self.info.set(info);
        Ok(())
    }

    /// The map as it is on disk.
    pub(crate) fn map(&self) -> DeviceMap {
        self.map.borrow().clone()
    }

    /// Waits until nobody writes the map, and keeps others from it.
    pub(crate) async fn take_map_writer(&self) -> Permit {
        self.map_writer.take(1).await
    }

    /// Whether both slots of the map were written since the volume was opened.
    pub(crate) fn has_written_map(&self) -> bool {
        self.has_written_map.get()
    }

    /// Whether rows that need repair name space here.
    pub(crate) fn has_suspects(&self) -> bool {
        self.has_suspects.get()
    }

    /// Whether a segment is log in this use of it.
    pub(crate) fn has_log(&self, segment: u32, generation: u64) -> bool {
        let map = self.map.borrow();
        let found = map.segments.get(segment as usize);
        found.is_some_and(|found| matches!(found, Segment::Log { generation: of, .. } if *of == generation))
    }

    /// Log segments, oldest first: number, generation, end.
    pub(crate) fn log_segments(&self) -> Vec<(u32, u64, Option<u32>)> {
        self.map.borrow().log_segments()
    }

    /// Segments in use and segments the volume could still get.
    fn segments_left(&self) -> u64 {
        let map = self.map.borrow();
        self.free_segments(&map).count() as u64 + self.growable_segments(map.segments.len() as u64)
    }

    /// Segments that are free and may be used.
    fn free_segments<'m>(&self, map: &'m DeviceMap) -> impl Iterator<Item = u32> + use<'m, E> {
        let withdrawn = self.withdrawn.borrow().clone();
        let free = map.segments.iter().enumerate().filter(|(_, segment)| **segment == Segment::Free);
        free.map(|(segment, _)| segment as u32).filter(move |segment| !withdrawn.contains(segment))
    }

    /// Bytes of segments that are free and not used before a restart.
    pub(crate) fn withdrawn_bytes(&self) -> u64 {
        let map = self.map.borrow();
        let is_free = |segment: &&u32| map.segments[**segment as usize] == Segment::Free;
        self.withdrawn.borrow().iter().filter(is_free).count() as u64 * self.geometry.segment_bytes()
    }

    /// Keeps a segment from being used again before a restart: a write to it failed.
    pub(crate) fn withdraw_segment(&self, segment: u32) {
        self.withdrawn.borrow_mut().insert(segment);
    }

    fn growable_segments(&self, have: u64) -> u64 {
        let Ok(disk) = self.volumes.disk(self.id) else { return 0 };
        let now = self.volumes.env.mono_ns();
        let (mut until, mut bytes_max) = self.len_max.get();
        if now >= until {
            (until, bytes_max) = (now + LEN_MAX_BELIEVED_NS, disk.len_bytes_max());
            self.len_max.set((until, bytes_max));
        }
        let could = bytes_max.saturating_sub(HEADER_BYTES) / self.geometry.segment_bytes();
        could.min(SEGMENTS_MAX as u64).saturating_sub(have)
    }

    /// Whether new data must be refused so that deletions and cleaning still find room. Free pieces of
    /// extent segments do not count: the log takes whole segments only.
    pub(crate) fn is_low(&self) -> bool {
        self.segments_for_log(RESERVED_SEGMENTS + 1) <= RESERVED_SEGMENTS
    }

    /// Segments the log could still take, counted no further than needed to tell whether there are `enough`.
    pub(crate) fn segments_for_log(&self, enough: u64) -> u64 {
        let left = self.segments_left();
        if left >= enough {
            return left;
        }
        left + self.alloc.borrow().whole_segments(HEADER_BYTES, self.geometry.segment_bytes())
    }

    /// Bytes in all segments.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.map.borrow().segments.len() as u64 * self.geometry.segment_bytes()
    }

    /// Bytes neither log nor extents use, not counting growth.
    pub(crate) fn free_bytes(&self) -> u64 {
        let free = self.free_segments(&self.map.borrow()).count() as u64;
        free * self.geometry.segment_bytes() + self.alloc.borrow().free_bytes()
    }

    /// Bytes this volume could still grow by.
    pub(crate) fn growable_bytes(&self) -> u64 {
        self.growable_segments(self.map.borrow().segments.len() as u64) * self.geometry.segment_bytes()
    }

    /// Takes space for a body: pieces of at most `piece_max`, multiples of `unit` but for the last.
    pub(crate) async fn allocate(
        &self,
        bytes: u64,
        piece_max: u64,
        unit: u64,
    ) -> Result<Vec<Extent>, StoreError> {
        let mut pieces: Vec<Extent> = Vec::new();
        let mut left = bytes;
        while left > 0 {
            if self.is_low() {
                self.free(&pieces);
                return Err(StoreError::Full);
            }
            let want = left.min(piece_max);
            let taken = self.alloc.borrow_mut().take(want, unit);
            match taken {
                Some((offset, got)) => {
                    pieces.push(Extent { volume: self.id, offset, bytes: got as u32 });
                    left -= got;
                }
                None => {
                    if let Err(error) = self.add_extent_segment(RESERVED_SEGMENTS).await {
                        self.free(&pieces);
                        return Err(error);
                    }
                }
            }
        }
        Ok(pieces)
    }

    /// Takes space for a part of a checkpoint, from the reserve when need be; in one piece when that is asked
    /// for.
    pub(crate) async fn allocate_reserved(
        &self,
        bytes: u64,
        in_one_piece: bool,
    ) -> Result<Vec<Extent>, StoreError> {
        let mut pieces: Vec<Extent> = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let taken = self.alloc.borrow_mut().take(left.min(EXTENT_BYTES_MAX), BLOCK_BYTES);
            match taken {
                Some((offset, got)) if got >= left || !in_one_piece => {
                    pieces.push(Extent { volume: self.id, offset, bytes: got as u32 });
                    left -= got;
                }
                too_small => {
                    if let Some((offset, got)) = too_small {
                        self.alloc.borrow_mut().free(offset, got);
                    }
                    if let Err(error) = self.add_extent_segment(RESERVED_LOG_SEGMENTS).await {
                        self.free(&pieces);
                        return Err(error);
                    }
                }
            }
        }
        Ok(pieces)
    }

    /// Makes extents free again, but for those in which a write failed.
    pub(crate) fn free(&self, extents: &[Extent]) {
        let mut alloc = self.alloc.borrow_mut();
        for extent in extents.iter().filter(|extent| self.volumes.is_sound(extent)) {
            assert_eq!(extent.volume, self.id);
            alloc.free(extent.offset, u64::from(extent.bytes));
        }
    }

    async fn add_extent_segment(&self, reserved: u64) -> Result<(), StoreError> {
        let before = self.alloc.borrow().free_bytes();
        let _writer = self.map_writer.take(1).await;
        if self.alloc.borrow().free_bytes() > before {
            return Ok(());
        }
        if self.segments_left() <= reserved {
            return Err(StoreError::Full);
        }
        let segment = self.free_segment().await?;
        let mut next = self.map.borrow().clone();
        next.segments[segment as usize] = Segment::Extents;
        self.write_map(next).await?;
        self.alloc.borrow_mut().free(self.geometry.offset(segment), self.geometry.segment_bytes());
        Ok(())
    }

    /// A free segment: one that is there, else the volume grows, else one whose extents are all free.
    async fn free_segment(&self) -> Result<u32, StoreError> {
        let there = self.free_segments(&self.map.borrow()).next();
        if let Some(segment) = there {
            return Ok(segment);
        }
        let count = self.map.borrow().segments.len() as u32;
        if self.growable_segments(u64::from(count)) > 0 {
            let end = self.geometry.offset(count + 1);
            match self.volumes.disk(self.id)?.grow(end).await {
                Ok(()) => {
                    self.map.borrow_mut().segments.push(Segment::Free);
                    return Ok(count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {}
                Err(error) => return Err(StoreError::io("grow", self.id)(error)),
            }
        }
        let start = self
            .alloc
            .borrow_mut()
            .take_segment(HEADER_BYTES, self.geometry.segment_bytes())
            .ok_or(StoreError::Full)?;
        let segment = self.geometry.segment_of(start);
        self.map.borrow_mut().segments[segment as usize] = Segment::Free;
        Ok(segment)
    }

    /// Seals the open log segments at `ends` and opens a new one. Durable when it returns: segment and
    /// generation.
    pub(crate) async fn roll_log(&self, ends: &[(u32, u32)]) -> Result<(u32, u64), StoreError> {
        let _writer = self.map_writer.take(1).await;
        let segment = self.free_segment().await?;
        let mut next = self.map.borrow().clone();
        seal(&mut next, ends);
        let generation = next.generation_high() + 1;
        // A segment without a frame is freed: otherwise every restart would cost one. Only here, where a
        // higher generation takes over: left-overs behind a cut must never find theirs in use again.
        next.generation_floor = generation;
        for empty in next.segments.iter_mut().filter(|s| matches!(s, Segment::Log { end: Some(0), .. })) {
            *empty = Segment::Free;
        }
        next.segments[segment as usize] = Segment::Log { generation, end: None };
        self.write_map(next).await?;
        Ok((segment, generation))
    }

    /// Seals the open log segments at `ends`.
    pub(crate) async fn seal_log(&self, ends: &[(u32, u32)]) -> Result<(), StoreError> {
        let _writer = self.map_writer.take(1).await;
        let mut next = self.map.borrow().clone();
        seal(&mut next, ends);
        self.write_map(next).await
    }

    /// Whether replay leaves out all of a sealed log segment.
    pub(crate) fn is_below_position(&self, generation: u64, end: u32) -> bool {
        self.info.get().position.is_some_and(|position| position.covers(generation, end))
    }

    /// Frees a log segment whose rows live elsewhere by now.
    ///
    /// # Panics
    /// When replay would begin in it or before.
    pub(crate) async fn free_log(&self, segment: u32, generation: u64, end: u32) -> Result<(), StoreError> {
        assert!(self.is_below_position(generation, end), "segment {segment} is replayed at the next start");
        let _writer = self.map_writer.take(1).await;
        let mut next = self.map.borrow().clone();
        match next.segments[segment as usize] {
            Segment::Log { generation: found, end: Some(_) } if found == generation => {}
            other => panic!("segment {segment} is {other:?}, not the sealed log of generation {generation}"),
        }
        // Generations never repeat, also when all of the log is freed: the map keeps the highest.
        next.generation_floor = next.generation_high();
        next.segments[segment as usize] = Segment::Free;
        self.write_map(next).await
    }

    /// Writes the next version of the map into both slots; it counts when it is durable in both.
    async fn write_map(&self, mut next: DeviceMap) -> Result<(), StoreError> {
        next.seq += 1;
        let bytes = next.encode(self.uuid, self.id);
        // Both slots, so that neither's rot brings an older map back; never the good one first, so that one
        // of them is whole at any instant.
        let good = self.good_slot.get();
        for slot in [1 - good, good] {
            write_padded(&self.volumes, self.id, SLOT_OFFSETS[slot], &bytes).await?;
            self.volumes.flush(self.id).await?;
            self.good_slot.set(slot);
        }
        self.has_written_map.set(true);
        *self.map.borrow_mut() = next;
        Ok(())
    }
}

fn seal(map: &mut DeviceMap, ends: &[(u32, u32)]) {
    for (segment, end_bytes) in ends {
        match &mut map.segments[*segment as usize] {
            Segment::Log { end, .. } => *end = Some(*end_bytes),
            other => panic!("segment {segment} is {other:?}, not a log segment"),
        }
    }
}

/// Writes the four superblock copies: two, flush, the other two, flush. Those that are not of the epoch that
/// counts come first: a cut in an earlier write left them behind, and two that agree have to stay.
pub(crate) async fn write_superblock<E: Env>(
    volumes: &Volumes<E>,
    info: &VolumeInfo,
) -> Result<(), StoreError> {
    let volume = info.identity.volume;
    let copies = superblock_copies(&volumes.env, volumes.disk(volume)?).await;
    let counts = superblock::elect(&copies).ok();
    let mut order = [0, 1, 2, 3];
    order.sort_by_key(|copy: &usize| copies[*copy].ok().filter(|info| Some(*info) == counts).is_some());
    for (nth, copy) in order.into_iter().enumerate() {
        write_padded(volumes, volume, COPY_OFFSETS[copy], &superblock::encode(info, copy as u32)).await?;
        if nth % 2 == 1 {
            volumes.flush(volume).await?;
        }
    }
    Ok(())
}

/// The copies as they are now; one that cannot be read is as bad as one that does not verify.
pub(crate) async fn superblock_copies<E: Env>(env: &E, disk: &E::Disk) -> [Result<VolumeInfo, BadCopy>; 4] {
    let mut copies = [Err(BadCopy::Hurt); 4];
    for (number, offset) in COPY_OFFSETS.into_iter().enumerate() {
        let (result, buf) = disk.read(offset, patient_buf(env, SUPERBLOCK_BYTES).await).await;
        if result.is_ok() {
            copies[number] = superblock::decode(&buf, number as u32);
        }
    }
    copies
}

/// Writes bytes of a multiple of 4 KiB through buffers of at most 64 KiB.
pub(crate) async fn write_padded<E: Env>(
    volumes: &Volumes<E>,
    volume: VolumeId,
    offset: u64,
    bytes: &[u8],
) -> Result<(), StoreError> {
    const PIECE_BYTES: usize = 64 << 10;
    for (i, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
        let mut buf = patient_buf(&volumes.env, piece.len()).await;
        buf.copy_from_slice(piece);
        volumes.write(volume, offset + (i * PIECE_BYTES) as u64, buf, Durability::Cached).await?;
    }
    Ok(())
}

/// A buffer, as soon as there is one. Superblock, map and runs are written rarely and by few; giving up for
/// want of a buffer would fail the whole log.
pub(crate) async fn patient_buf<E: Env>(env: &E, bytes: usize) -> E::Buf {
    const RETRY_NS: u64 = 1_000_000;
    loop {
        if let Some(buf) = env.buf(bytes) {
            return buf;
        }
        env.sleep(RETRY_NS).await;
    }
}

/// Reads `bytes` from `offset` through buffers of at most 64 KiB.
pub(crate) async fn read_padded<E: Env>(
    env: &E,
    disk: &E::Disk,
    volume: VolumeId,
    offset: u64,
    bytes: usize,
) -> Result<Vec<u8>, StoreError> {
    const PIECE_BYTES: usize = 64 << 10;
    let mut all = Vec::with_capacity(bytes);
    while all.len() < bytes {
        let piece = align_up(((bytes - all.len()).min(PIECE_BYTES)) as u64, 4096) as usize;
        let buf = env.buf(piece).ok_or(StoreError::NoBuffer)?;
        let (result, buf) = disk.read(offset + all.len() as u64, buf).await;
        result.map_err(StoreError::io("read from", volume))?;
        all.extend_from_slice(&buf);
    }
    all.truncate(bytes);
    Ok(all)
}
