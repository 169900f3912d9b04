//! A row as the index keeps it in memory: one string of bytes, numbers as short as they are.
//!
//! Invariant: what [`pack`] wrote [`RowView::of`] reads; these bytes never leave the process. Owned by one core.

use std::sync::Arc;

use stria_base::{DataId, Hlc, VolumeId};

use crate::{
    leaf::{put_number, take_number},
    row::{BodyRef, ExtentBody, Home, InlineRef, Row},
};

const NONE: u8 = 0;
const INLINE: u8 = 1;
const EXTENTS: u8 = 2;

/// A row of the index, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    /// Number of the change that made it, in its PG.
    pub seq: u64,
    /// When.
    pub hlc: Hlc,
    /// The caller's metadata.
    pub meta: &'a [u8],
    /// Where its record lies.
    pub home: Home,
    body: BodyView<'a>,
}

#[derive(Clone, Copy, Debug)]
enum BodyView<'a> {
    None,
    Inline(InlineRef),
    Extents(&'a Arc<ExtentBody>),
    /// Extents, described as in a record.
    Described(&'a [u8]),
}

impl RowView<'_> {
    /// Where its body is. Cheap but for extents, whose description is decoded.
    ///
    /// # Panics
    /// Never: only bodies that were decoded before get here.
    #[must_use]
    pub fn body(&self) -> BodyRef {
        match self.body {
            BodyView::None => BodyRef::None,
            BodyView::Inline(inline) => BodyRef::Inline(inline),
            BodyView::Extents(body) => BodyRef::Extents(body.clone()),
            BodyView::Described(bytes) => {
                BodyRef::Extents(Arc::new(ExtentBody::decode(bytes).expect("encoded by this process")))
            }
        }
    }

    /// Whether its body lies in extents.
    #[must_use]
    pub fn has_extents(&self) -> bool {
        matches!(self.body, BodyView::Extents(_) | BodyView::Described(_))
    }

    /// A copy of its own.
    #[must_use]
    pub fn to_row(&self) -> Row {
        let Self { seq, hlc, meta, home, .. } = *self;
        Row { seq, hlc, meta: meta.into(), body: self.body(), home }
    }
}

impl Row {
    /// As the index shows it.
    #[must_use]
    pub fn view(&self) -> RowView<'_> {
        let body = match &self.body {
            BodyRef::None => BodyView::None,
            BodyRef::Inline(inline) => BodyView::Inline(*inline),
            BodyRef::Extents(body) => BodyView::Extents(body),
        };
        RowView { seq: self.seq, hlc: self.hlc, meta: &self.meta, home: self.home, body }
    }
}

/// Appends a row.
///
/// # Panics
/// When an inline body lies on another volume than its record.
pub(crate) fn pack(row: &RowView<'_>, out: &mut Vec<u8>) {
    out.push(match row.body {
        BodyView::None => NONE,
        BodyView::Inline(_) => INLINE,
        BodyView::Extents(_) | BodyView::Described(_) => EXTENTS,
    });
    out.extend_from_slice(&row.hlc.0.to_le_bytes());
    let Home { volume, segment, bytes } = row.home;
    for number in [row.seq, volume.0.into(), segment.into(), bytes.into(), row.meta.len() as u64] {
        put_number(out, number);
    }
    out.extend_from_slice(row.meta);
    match row.body {
        BodyView::None => {}
        BodyView::Inline(inline) => {
            assert_eq!(inline.volume, volume, "an inline body lies in its record");
            out.extend_from_slice(&inline.id.0.to_le_bytes());
            out.extend_from_slice(&inline.crc.to_le_bytes());
            put_number(out, inline.bytes.into());
            put_number(out, inline.offset);
        }
        BodyView::Extents(body) => out.extend_from_slice(&body.encode()),
        BodyView::Described(bytes) => out.extend_from_slice(bytes),
    }
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> &'a [u8; N] {
    let (taken, rest) = bytes.split_first_chunk::<N>().expect("packed by this process");
    *bytes = rest;
    taken
}

impl<'a> RowView<'a> {
    /// A row without a body.
    pub(crate) fn bare(seq: u64, hlc: Hlc, meta: &'a [u8], home: Home) -> Self {
        Self { seq, hlc, meta, home, body: BodyView::None }
    }

    /// With a body in its record.
    pub(crate) fn with_inline(self, inline: InlineRef) -> Self {
        Self { body: BodyView::Inline(inline), ..self }
    }

    /// With a body in extents, of a description that was decoded once.
    pub(crate) fn with_described(self, bytes: &'a [u8]) -> Self {
        Self { body: BodyView::Described(bytes), ..self }
    }

    /// Of bytes [`pack`] wrote.
    pub(crate) fn of(mut bytes: &'a [u8]) -> Self {
        let [kind] = *take::<1>(&mut bytes);
        let hlc = Hlc(u64::from_le_bytes(*take(&mut bytes)));
        let seq = take_number(&mut bytes);
        let volume = VolumeId(take_number(&mut bytes) as u16);
        let (segment, home_bytes) = (take_number(&mut bytes) as u32, take_number(&mut bytes) as u32);
        let meta_bytes = take_number(&mut bytes) as usize;
        let (meta, mut rest) = bytes.split_at(meta_bytes);
        let body = match kind {
            NONE => BodyView::None,
            INLINE => {
                let id = DataId(u128::from_le_bytes(*take(&mut rest)));
                let crc = u32::from_le_bytes(*take(&mut rest));
                let (bytes, offset) = (take_number(&mut rest) as u32, take_number(&mut rest));
                BodyView::Inline(InlineRef { id, volume, bytes, crc, offset })
            }
            _ => BodyView::Described(rest),
        };
        Self { seq, hlc, meta, home: Home { volume, segment, bytes: home_bytes }, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Extent;

    #[test]
    fn a_row_comes_back_as_it_was() {
        let home = Home { volume: VolumeId(300), segment: 70_000, bytes: 1130 };
        let inline = InlineRef {
            id: DataId(u128::MAX - 5),
            volume: VolumeId(300),
            bytes: 1024,
            crc: 0xdead_beef,
            offset: 1 << 44,
        };
        let extents = ExtentBody {
            id: DataId(9),
            bytes: 70_000,
            block_log2: 16,
            extents: vec![Extent { volume: VolumeId(1), offset: 1 << 22, bytes: 73_728 }],
            crcs: vec![1, 2],
        };
        for body in [BodyRef::None, BodyRef::Inline(inline), BodyRef::Extents(Arc::new(extents))] {
            let row = Row { seq: u64::MAX, hlc: Hlc(77), meta: Box::from(&b"meta"[..]), body, home };
            let mut bytes = Vec::new();
            pack(&row.view(), &mut bytes);
            let back = RowView::of(&bytes);
            assert_eq!(format!("{:?}", back.to_row()), format!("{row:?}"));
            assert_eq!(format!("{:?}", row.view().to_row()), format!("{row:?}"));
            assert_eq!(back.has_extents(), matches!(row.body, BodyRef::Extents(_)));
        }
    }
}
