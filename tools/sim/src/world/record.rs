//! What drives hold at the instants that matter, for looking at every state a power cut can leave.
//!
//! Invariant: between two snapshots unflushed writes only grow in number. One is taken just before a write or a
//! flush makes something durable, so what it can leave includes what any instant since the last could. Runs on
//! the simulator's thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::disk::{MediaRef, Page};

/// A write that a cut may lose.
#[derive(Clone)]
pub struct Loose {
    /// The drive.
    pub disk: usize,
    /// The first page it writes.
    pub first_page: usize,
    /// What it writes.
    pub pages: Vec<Page>,
}

/// What one drive holds for certain.
#[derive(Clone, Default)]
pub struct DiskImage {
    /// By number; `None` reads as zeros.
    pub pages: Vec<Option<Page>>,
    /// Its length, bytes.
    pub len_bytes: u64,
}

/// All drives at one instant.
#[derive(Clone)]
pub struct Snapshot {
    /// What was promised by then, as the recorder was told.
    pub mark: (usize, usize),
    /// What is there for certain.
    pub disks: Vec<DiskImage>,
    /// What may be there too, in the order of issue.
    pub loose: Vec<Loose>,
}

/// Takes snapshots of a group of drives.
#[derive(Default)]
pub struct Recorder {
    media: RefCell<Vec<MediaRef>>,
    mark: Cell<(usize, usize)>,
    is_on: Cell<bool>,
    snapshots: RefCell<Vec<Snapshot>>,
}

impl Recorder {
    /// A recorder that is switched off.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    pub(super) fn add(&self, media: MediaRef) {
        self.media.borrow_mut().push(media);
    }

    /// Notes what is promised from now on.
    pub fn set_mark(&self, mark: (usize, usize)) {
        self.mark.set(mark);
    }

    /// Switches it on or off; what it has is kept.
    pub fn switch(&self, on: bool) {
        self.is_on.set(on);
    }

    /// Takes a snapshot, when it is on.
    pub fn snap(&self) {
        if !self.is_on.get() {
            return;
        }
        let (mut disks, mut loose) = (Vec::new(), Vec::new());
        for (disk, media) in self.media.borrow().iter().enumerate() {
            let (image, unflushed) = media.state();
            disks.push(image);
            loose.extend(unflushed.map(|(first_page, pages)| Loose { disk, first_page, pages }));
        }
        self.snapshots.borrow_mut().push(Snapshot { mark: self.mark.get(), disks, loose });
    }

    /// The snapshots since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Snapshot> {
        self.snapshots.take()
    }
}
