//! Fresh writes read back: one in so many committed changes is read from the device again, soon enough that a
//! drive which loses writes is found out while little depends on it.
//!
//! Invariant: what is read comes from the device, not from memory of ours: `Disk` passes the page cache by where
//! the file system lets it. Bounded: beyond `WAITING_MAX` samples are left out. Runs on the owner core of the rows.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use stria_base::PgId;
use stria_env::Env;

use crate::{
    error::StoreError,
    log::PendingChange,
    row::BodyRef,
    scrub::{Damage, DamageKind},
    store::Store,
    window::{BLOCK_READS_MAX, Place, Window},
};

/// A write is read back when it is so old: by then it has left the queues of the drive.
const AGE_NS: u64 = 5_000_000_000;
/// Samples that wait.
const WAITING_MAX: usize = 256;

/// A committed change to be read back.
struct Fresh {
    written_ns: u64,
    place: Place,
    /// Of its frame, in the segment.
    at: u64,
    pg: PgId,
    key: Box<[u8]>,
    body: BodyRef,
}

/// Samples of one core.
#[derive(Default)]
pub(crate) struct FreshWrites {
    count: Cell<u64>,
    waiting: RefCell<VecDeque<Fresh>>,
}

impl<E: Env> Store<E> {
    /// Whether the next change is one of those to be read back. On the way of every write: two cells.
    pub(crate) fn samples_next(&self) -> bool {
        let one_in = self.0.scrub.config.get().read_back_one_in;
        let count = &self.0.scrub.fresh.count;
        count.set(count.get() + 1);
        one_in > 0 && count.get().is_multiple_of(one_in)
    }

    /// Notes a change, published as it is now, whose frame begins at `frame_at` of the volume.
    pub(crate) fn sample(&self, pg: PgId, change: &PendingChange, segment: u32, frame_at: u64) {
        let volume = &self.0.mine[0];
        let Some(generation) = self.0.log.borrow().place.map(|place| place.generation) else { return };
        let mut waiting = self.0.scrub.fresh.waiting.borrow_mut();
        if waiting.len() >= WAITING_MAX {
            return;
        }
        let (uuid, geometry) = (volume.uuid, volume.geometry);
        let place = Place { uuid, volume: volume.id, geometry, segment, generation };
        waiting.push_back(Fresh {
            written_ns: self.0.env.mono_ns(),
            place,
            at: frame_at - place.offset(),
            pg,
            key: change.key.clone(),
            body: change.row.as_ref().map_or(BodyRef::None, |row| row.body.clone()),
        });
    }

    /// Reads back what is old enough. To be called about once a second.
    ///
    /// # Errors
    /// `Failed` when the store is being shut down; of the device when it fails as a whole.
    pub async fn read_back(&self) -> Result<(), StoreError> {
        loop {
            self.check_going()?;
            let due_ns = self.0.env.mono_ns().saturating_sub(AGE_NS);
            let due = {
                let mut waiting = self.0.scrub.fresh.waiting.borrow_mut();
                let is_due = waiting.front().is_some_and(|fresh| fresh.written_ns <= due_ns);
                if is_due { waiting.pop_front() } else { None }
            };
            let Some(fresh) = due else { return Ok(()) };
            if let Some((volume, offset)) = self.bad_place_of_fresh(&fresh).await? {
                let damage = self.damage_at(DamageKind::FreshWrite, volume, offset);
                self.note_damage(Damage { pg: Some(fresh.pg), key: fresh.key, ..damage });
            }
            self.0.scrub.update(|stats| stats.read_back += 1);
        }
    }

    async fn bad_place_of_fresh(
        &self,
        fresh: &Fresh,
    ) -> Result<Option<(stria_base::VolumeId, u64)>, StoreError> {
        let place = fresh.place;
        for _ in 0..BLOCK_READS_MAX {
            let disk = self.0.volumes.disk(place.volume)?.clone();
            let end = place.geometry.segment_bytes();
            let mut window = Window::new(&self.0.env, &disk, place, end).one_read_at_a_time();
            window.skip_to(fresh.at);
            let begun_ns = self.0.env.mono_ns();
            let frame = match window.frame().await {
                // Without a buffer there is no load to spare: this sample is left out.
                Err(StoreError::NoBuffer) => return Ok(None),
                frame => frame?,
            };
            self.rest(window.data().len() as u64, self.0.env.mono_ns() - begun_ns, false).await;
            if frame.is_some() {
                return self.bad_place_in_body(fresh.pg, &fresh.key, &fresh.body).await;
            }
        }
        let is_there = self.0.mine[0].has_log(place.segment, place.generation);
        Ok(is_there.then(|| (place.volume, place.offset() + fresh.at)))
    }
}
