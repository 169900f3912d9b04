//! The copies of superblock, device map and manifest: each is read, and one that does not verify is written
//! again from what the others, or memory, prove.
//!
//! Invariant: nothing is written over a copy while another that counts is being written: the caller holds the
//! turns of both writers, or the whole volume offline. A copy is rewritten alone and flushed before the next.
//! Runs on the owner core of the volume.

use stria_base::VolumeId;
use stria_env::Env;

use crate::{
    error::StoreError,
    manifest::ManifestRef,
    map::{DeviceMap, SLOT_OFFSETS},
    scrub::{Damage, DamageKind},
    store::Store,
    superblock::{self, COPY_OFFSETS, VolumeInfo},
    volume::{read_padded, write_padded},
    volumes::Volumes,
};

/// A copy that has not the bytes it should have.
#[derive(Debug)]
pub(crate) struct BadCopy {
    pub(crate) kind: DamageKind,
    pub(crate) offset: u64,
    /// What it is; nothing when it cannot be read.
    pub(crate) found: Vec<u8>,
    /// What it should be.
    bytes: Vec<u8>,
}

/// What a volume's header should say.
pub(crate) struct Header<'a> {
    pub(crate) info: &'a VolumeInfo,
    pub(crate) map: &'a DeviceMap,
    /// Where the manifest lies and its bytes.
    pub(crate) manifest: Option<(ManifestRef, Vec<u8>)>,
}

/// The copies that are not what `header` says, and the bytes that were compared.
pub(crate) async fn bad_copies<E: Env>(
    volumes: &Volumes<E>,
    header: &Header<'_>,
) -> Result<(Vec<BadCopy>, u64), StoreError> {
    let (uuid, volume) = (header.info.identity.store_uuid, header.info.identity.volume);
    let mut wanted: Vec<(DamageKind, u64, Vec<u8>)> = Vec::new();
    for (copy, offset) in COPY_OFFSETS.into_iter().enumerate() {
        let bytes = superblock::encode(header.info, copy as u32).to_vec();
        wanted.push((DamageKind::Superblock, offset, bytes));
    }
    let map = header.map.encode(uuid, volume);
    wanted.extend(SLOT_OFFSETS.map(|offset| (DamageKind::Map, offset, map.clone())));
    if let Some((named, bytes)) = &header.manifest {
        wanted.extend(named.offsets.map(|offset| (DamageKind::Manifest, offset, bytes.clone())));
    }
    let (mut bad, mut compared) = (Vec::new(), 0);
    for (kind, offset, bytes) in wanted {
        compared += bytes.len() as u64;
        let found = read_patiently(volumes, volume, offset, bytes.len()).await?;
        if found != bytes {
            bad.push(BadCopy { kind, offset, found, bytes });
        }
    }
    Ok((bad, compared))
}

async fn read_patiently<E: Env>(
    volumes: &Volumes<E>,
    volume: VolumeId,
    offset: u64,
    bytes: usize,
) -> Result<Vec<u8>, StoreError> {
    const RETRY_NS: u64 = 1_000_000;
    loop {
        match read_padded(&volumes.env, volumes.disk(volume)?, volume, offset, bytes).await {
            Ok(found) => return Ok(found),
            Err(StoreError::Io { .. }) => return Ok(Vec::new()),
            Err(StoreError::NoBuffer) => volumes.env.sleep(RETRY_NS).await,
            Err(other) => return Err(other),
        }
    }
}

/// Writes a copy as it should be.
pub(crate) async fn rewrite<E: Env>(
    volumes: &Volumes<E>,
    volume: VolumeId,
    copy: &BadCopy,
) -> Result<(), StoreError> {
    write_padded(volumes, volume, copy.offset, &copy.bytes).await?;
    volumes.flush(volume).await
}

impl<E: Env> Store<E> {
    /// Checks the copies of superblock, map and manifest on this core's volumes and repairs them.
    pub(crate) async fn scrub_headers(&self) -> Result<(), StoreError> {
        for (nth, volume) in self.0.mine.iter().enumerate() {
            let turn = self.0.checkpoints.take_turn().await;
            let writer = volume.take_map_writer().await;
            self.check_going()?;
            if self.is_failed() {
                // A superblock may be half written, and nothing is written any more.
                return Ok(());
            }
            let begun_ns = self.0.env.mono_ns();
            let (info, map) = (volume.info(), volume.map());
            let manifest = self.held_manifest(nth);
            let header = Header { info: &info, map: &map, manifest };
            let (bad, compared) = bad_copies(&self.0.volumes, &header).await?;
            let mut found: Vec<Damage> = Vec::new();
            for copy in &bad {
                // A device that refuses the write keeps a bad copy; the next pass says so again.
                let is_repaired = rewrite(&self.0.volumes, volume.id, copy).await.is_ok();
                // A crash in the middle of writing the map leaves one slot behind the other until it is written next.
                let is_left_over = copy.kind == DamageKind::Map
                    && !volume.has_written_map()
                    && DeviceMap::decode(&copy.found, volume.uuid, volume.id).is_some();
                if is_left_over {
                    continue;
                }
                found.push(Damage { is_repaired, ..self.damage_at(copy.kind, volume.id, copy.offset) });
            }
            drop((turn, writer));
            found.into_iter().for_each(|damage| self.note_damage(damage));
            self.rest(compared, self.0.env.mono_ns() - begun_ns, false).await;
        }
        Ok(())
    }
}
