//! Rows against space: what rows name is in use, no two name the same, what is in use is named.
//!
//! Invariant: whatever was taken, freed or named anew while the check ran is left out of it, so that writes that
//! go on never pass for damage. A window of a volume at a time bounds the memory: 16 MiB. Runs on the core that
//! owns the volume; every core names what its rows have there.

use stria_base::VolumeId;
use stria_env::Env;

use crate::{
    blocks::Blocks, error::StoreError, map::Segment, row::BodyRef, scrub::DamageKind, store::Store,
    superblock::HEADER_BYTES,
};

/// Of one window: four sets of a bit per 4 KiB.
const WINDOW_BYTES: u64 = 128 << 30;

const _: () = assert!(WINDOW_BYTES / 4096 / 8 * 4 <= 16 << 20, "the memory the text above promises");

/// A range of a volume that is checked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceWindow {
    /// The volume.
    pub volume: VolumeId,
    /// First byte.
    pub first: u64,
    /// A multiple of a segment.
    pub bytes: u64,
}

/// What the rows of one core name in a window.
#[derive(Clone, Debug)]
pub struct NamedSpace {
    named: Blocks,
    /// By two of them.
    twice: Blocks,
}

impl<E: Env> Store<E> {
    /// The windows of this core's volumes.
    #[must_use]
    pub fn space_windows(&self) -> Vec<SpaceWindow> {
        let mut windows = Vec::new();
        for volume in &self.0.mine {
            let end = HEADER_BYTES + volume.total_bytes();
            let firsts = (HEADER_BYTES..end).step_by(WINDOW_BYTES as usize);
            windows.extend(firsts.map(|first| SpaceWindow {
                volume: volume.id,
                first,
                bytes: WINDOW_BYTES.min(end - first),
            }));
        }
        windows
    }

    /// Begins the check of a window of a volume of this core: from now on it is noted what changes there. Then
    /// every core is asked for [`Store::named_space`], and [`Store::end_space_check`] concludes.
    pub fn begin_space_check(&self, window: SpaceWindow) {
        if let Some(volume) = self.0.mine.iter().find(|volume| volume.id == window.volume) {
            volume.alloc.borrow_mut().watch(window.first, window.bytes);
        }
    }

    /// What the rows of this core name in a window of any volume.
    ///
    /// # Errors
    /// `Failed` when the store is being shut down; `Absent` when its rows are not known.
    pub async fn named_space(&self, window: SpaceWindow) -> Result<NamedSpace, StoreError> {
        self.check_present()?;
        let mut named = Blocks::new(window.first, window.bytes);
        let mut twice = named.clone();
        for pg in self.pgs() {
            let mut last: Option<Box<[u8]>> = None;
            loop {
                self.check_going()?;
                let begun_ns = self.0.env.mono_ns();
                let rows = self.bodies_from(pg, last.as_deref()).await?;
                let Some((key, _)) = rows.last() else { break };
                last = Some(key.clone());
                for (_, body) in &rows {
                    let BodyRef::Extents(body) = body else { continue };
                    for extent in body.extents.iter().filter(|extent| extent.volume == window.volume) {
                        named.add_counting(extent.offset, u64::from(extent.bytes), &mut twice);
                    }
                }
                self.rest(0, self.0.env.mono_ns() - begun_ns, false).await;
            }
        }
        Ok(NamedSpace { named, twice })
    }

    /// Concludes the check of a window with what all cores name.
    pub fn end_space_check(&self, window: SpaceWindow, cores: Vec<NamedSpace>) {
        let Some(volume) = self.0.mine.iter().find(|volume| volume.id == window.volume) else { return };
        let mut alloc = volume.alloc.borrow_mut();
        let Some(touched) = alloc.unwatch() else { return };
        let mut named = Blocks::new(window.first, window.bytes);
        let mut shared = named.clone();
        for core in &cores {
            shared.combine(&core.twice, |shared, twice| shared | twice);
            let before = named.clone();
            named.combine(&core.named, |all, one| all | one);
            let mut both = before;
            both.combine(&core.named, |all, one| all & one);
            shared.combine(&both, |shared, both| shared | both);
        }
        let mut free = Blocks::new(window.first, window.bytes);
        alloc.each_free(|start, bytes| free.add(start, bytes));
        let segment_bytes = volume.geometry.segment_bytes();
        for (number, segment) in volume.map().segments.iter().enumerate() {
            if *segment != Segment::Extents {
                free.add(volume.geometry.offset(number as u32), segment_bytes);
            }
        }
        shared.combine(&touched, |shared, touched| shared & !touched);
        let mut named_free = named.clone();
        named_free.combine(&free, |named, free| named & free);
        named_free.combine(&touched, |named, touched| named & !touched);
        for extent in self.checkpoint_extents_all().iter().filter(|extent| extent.volume == volume.id) {
            named.add(extent.offset, u64::from(extent.bytes));
        }
        let mut unnamed = free;
        unnamed.combine(&named, |free, named| !(free | named));
        unnamed.combine(&touched, |unnamed, touched| unnamed & !touched);
        let mut unnamed = unnamed.ranges();
        unnamed.retain(|&(start, bytes)| !self.0.volumes.is_withheld(volume.id, start, bytes));
        let unnamed = alloc.suspect_unnamed(window.first, window.bytes, unnamed, self.0.env.mono_ns());
        drop(alloc);
        let shared = if volume.has_suspects() { Vec::new() } else { shared.ranges() };
        let found = [
            (DamageKind::SpaceShared, shared),
            (DamageKind::SpaceFree, named_free.ranges()),
            (DamageKind::SpaceUnnamed, unnamed),
        ];
        for (kind, ranges) in found {
            ranges.into_iter().for_each(|(at, _)| self.note_damage(self.damage_at(kind, volume.id, at)));
        }
    }

    /// A light pass but for the space, which takes all cores: copies of header and manifest, and the runs.
    ///
    /// # Errors
    /// `Failed` when the store is being shut down; of the device when it fails as a whole.
    pub async fn scrub_light(&self) -> Result<(), StoreError> {
        self.scrub_headers().await?;
        self.scrub_all_runs().await
    }

    /// Ends a light pass: it was done now.
    ///
    /// # Errors
    /// As [`Store::scrub_light`].
    pub async fn end_scrub_light(&self) -> Result<(), StoreError> {
        let state = &self.0.scrub;
        state.forget_unseen(true);
        state.update(|stats| stats.light_passes += 1);
        let now_ms = self.0.env.wall_ms();
        self.move_mark(|mark| mark.light_done_ms = now_ms).await
    }
}
