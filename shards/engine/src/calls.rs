//! What may be asked of a PG's owner core: one plain value per call, the same whether it comes from a
//! task of that core or over a message ring.
//!
//! Invariant: a call carries descriptors and reference-counted buffers, never a body by value (D7).

use std::sync::Arc;

use bytes::Bytes;
use stria_base::{BucketId, DataId, Hlc, PgId};
use stria_env::Env;
use stria_store::{
    Extent, ExtentBody, Grant, LogSegment, NamedSpace, NewBody, Progress, SpaceWindow, StoreError,
};

use crate::{
    engine::Engine,
    error::EngineError,
    keys::UploadId,
    list::{ListEntry, ListQuery},
    object::{ObjectMeta, Version, VersionSelector, Versioning},
    precondition::WriteCondition,
    version_list::{VersionEntry, VersionQuery},
};

/// A bucket's key and the PG it falls into.
#[derive(Clone, Debug)]
pub struct Place {
    /// The PG.
    pub pg: PgId,
    /// The bucket's incarnation.
    pub bucket: BucketId,
    /// The object key.
    pub key: Bytes,
}

/// A multipart upload of a key.
#[derive(Clone, Debug)]
pub struct UploadPlace {
    /// The key it will become.
    pub place: Place,
    /// The upload.
    pub id: UploadId,
}

/// A typed call: what it answers and how it runs on the owner core.
pub trait Operation: Into<Call> {
    /// Its answer.
    type Output;
    /// Runs it on the owner core.
    fn run<E: Env>(self, engine: &Engine<E>) -> impl Future<Output = Self::Output>;
    /// Unwraps the answer that came back over a ring.
    ///
    /// # Panics
    /// When the reply is of another call: replies are matched by number, so that is a bug.
    fn output(reply: Reply) -> Self::Output;
}

/// An answer, and what it is when the volume of the PG's rows is missing.
trait Answer: Sized {
    /// `None` for calls that do no harm then.
    fn absent(error: StoreError) -> Option<Self>;
}

impl<T> Answer for Result<T, EngineError> {
    fn absent(error: StoreError) -> Option<Self> {
        Some(Err(error.into()))
    }
}

impl Answer for () {
    fn absent(_: StoreError) -> Option<Self> {
        None
    }
}

impl Answer for Progress {
    fn absent(_: StoreError) -> Option<Self> {
        // A store with a missing volume is settled, or it would not have opened.
        Some(Self::Moved)
    }
}

impl Answer for Result<NamedSpace, StoreError> {
    fn absent(_: StoreError) -> Option<Self> {
        None
    }
}

impl Answer for Result<(), StoreError> {
    fn absent(_: StoreError) -> Option<Self> {
        // The store below knows best which rows it has.
        None
    }
}

/// Declares the calls: the two enums, the conversions and the dispatch, from one list.
macro_rules! calls {
    ($($name:ident => $output:ty, $run:ident;)*) => {
        /// Any call, as it travels.
        #[derive(Debug)]
        pub enum Call { $(#[doc = concat!("[`", stringify!($name), "`]")] $name($name),)* }
        /// Any answer, as it travels.
        #[derive(Debug)]
        pub enum Reply { $(#[doc = concat!("Answers [`", stringify!($name), "`]")] $name($output),)* }
        impl Call {
            /// Runs it on the owner core.
            pub async fn run<E: Env>(self, engine: &Engine<E>) -> Reply {
                match self { $(Self::$name(call) => Reply::$name(call.run(engine).await),)* }
            }
        }
        $(
            impl From<$name> for Call { fn from(call: $name) -> Self { Self::$name(call) } }
            impl Operation for $name {
                type Output = $output;
                async fn run<E: Env>(self, engine: &Engine<E>) -> Self::Output {
                    if let Err(error) = engine.store().check_present()
                        && let Some(answer) = <$output as Answer>::absent(error)
                    {
                        return answer;
                    }
                    engine.$run(self).await
                }
                fn output(reply: Reply) -> Self::Output {
                    match reply {
                        Reply::$name(output) => output,
                        other => panic!("a reply to {} was {other:?}", stringify!($name)),
                    }
                }
            }
        )*
    };
}

calls! {
    Lookup => Result<Found, EngineError>, lookup;
    FindPart => Result<FoundPart, EngineError>, find_part;
    Unpin => (), unpin;
    Allocate => Result<Grant, EngineError>, allocate;
    Release => (), release;
    PutObject => Result<Written, EngineError>, put_object;
    DeleteObject => Result<Deleted, EngineError>, delete_object;
    PutVersion => Result<Written, EngineError>, put_version;
    DeleteVersion => Result<Deleted, EngineError>, delete_version;
    ListVersions => Result<(Vec<VersionEntry>, bool), EngineError>, list_versions;
    Amend => Result<Option<Version>, EngineError>, amend;
    CreateUpload => Result<(), EngineError>, create_upload;
    FindUpload => Result<ObjectMeta, EngineError>, find_upload;
    PutPart => Result<Written, EngineError>, put_part;
    ListParts => Result<PartsPage, EngineError>, list_parts;
    CompleteUpload => Result<Written, EngineError>, complete_upload;
    AbortUpload => Result<(), EngineError>, abort_upload;
    List => Result<(Vec<ListEntry>, bool), EngineError>, list;
    ListUploads => Result<UploadsPage, EngineError>, list_uploads;
    SealBucket => Result<bool, EngineError>, seal_bucket;
    UnsealBucket => (), unseal_bucket;
    PurgeBucket => Result<(), EngineError>, purge_bucket;
    Relocate => Result<(), StoreError>, relocate;
    AskProgress => Progress, ask_progress;
    NameSpace => Result<NamedSpace, StoreError>, name_space;
}

/// Finds a version of a key.
#[derive(Debug)]
pub struct Lookup {
    /// The key.
    pub place: Place,
    /// Which version.
    pub version: VersionSelector,
    /// Whether the caller will read the body: then its space is pinned until [`Unpin`].
    pub body: bool,
}

/// The answer to [`Lookup`].
#[derive(Debug)]
pub struct Found {
    /// Everything but the bytes.
    pub meta: ObjectMeta,
    /// When it was sequenced.
    pub hlc: Hlc,
    /// The bytes, or where they are.
    pub body: FoundBody,
    /// To be given back with [`Unpin`].
    pub pin: Option<Pin>,
}

/// A body as its owner core hands it out.
#[derive(Clone, Debug)]
pub enum FoundBody {
    /// Not asked for, or the object is empty.
    None,
    /// Here it is, verified.
    Bytes(Bytes),
    /// To be read by the accepting core through its own queue.
    Extents(Arc<ExtentBody>),
    /// In the parts of a completed upload: ask for each with [`FindPart`].
    Parts,
}

/// What keeps a body's space from being reused while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// One body.
    Data(DataId),
    /// The parts of a completed upload.
    Parts(UploadId),
}

/// Finds the body of one part of a multipart object or upload.
#[derive(Debug)]
pub struct FindPart {
    /// The key.
    pub place: Place,
    /// The upload it came from.
    pub id: UploadId,
    /// Its number.
    pub number: u16,
}

/// The answer to [`FindPart`].
#[derive(Debug)]
pub struct FoundPart {
    /// Size, ETag and checksum of the part.
    pub meta: ObjectMeta,
    /// Its bytes.
    pub body: FoundBody,
}

/// Gives a pin back. Nobody waits for the answer.
#[derive(Debug)]
pub struct Unpin {
    /// The pin.
    pub pin: Pin,
}

/// Asks for space on this core's volume.
#[derive(Debug)]
pub struct Allocate {
    /// How many bytes.
    pub bytes: u64,
}

/// Gives space back that no row names.
#[derive(Debug)]
pub struct Release {
    /// The space.
    pub extents: Vec<Extent>,
}

/// Puts an object whose large body, if any, is already durable in extents.
#[derive(Debug)]
pub struct PutObject {
    /// The key.
    pub place: Place,
    /// Everything but the bytes; `modified_ms` is set at sequencing.
    pub meta: ObjectMeta,
    /// The bytes.
    pub body: NewBody,
    /// What must hold.
    pub condition: WriteCondition,
}

/// A durable write.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// When it was sequenced.
    pub hlc: Hlc,
    /// Last-Modified, milliseconds since 1970.
    pub modified_ms: u64,
    /// Its version, where the key has versions.
    pub version: Option<Version>,
}

/// As [`PutObject`], in a bucket with versions.
#[derive(Debug)]
pub struct PutVersion {
    /// The key.
    pub place: Place,
    /// Everything but the bytes; `modified_ms` and `version` are set at sequencing.
    pub meta: ObjectMeta,
    /// The bytes.
    pub body: NewBody,
    /// What must hold of the current version.
    pub condition: WriteCondition,
    /// Not `Off`.
    pub mode: Versioning,
}

/// Puts a delete marker, or removes one version for good.
#[derive(Debug)]
pub struct DeleteVersion {
    /// The key.
    pub place: Place,
    /// What must hold of the version that goes, or of the current one.
    pub condition: WriteCondition,
    /// `Current` puts a marker; others go for good.
    pub version: VersionSelector,
    /// Not `Off` when a marker is to be put.
    pub mode: Versioning,
}

/// Lists the versions in those of the bucket's PGs that this core owns.
#[derive(Debug)]
pub struct ListVersions {
    /// The bucket.
    pub bucket: BucketId,
    /// PGs of this core.
    pub pgs: Vec<PgId>,
    /// What to list.
    pub query: VersionQuery,
}

/// Deletes the object of a key that has no versions.
#[derive(Debug)]
pub struct DeleteObject {
    /// The key.
    pub place: Place,
    /// What must hold.
    pub condition: WriteCondition,
}

/// The answer to [`DeleteObject`].
#[derive(Clone, Copy, Debug)]
pub struct Deleted {
    /// Whether there was something to delete.
    pub existed: bool,
    /// The version that went, or that the marker got.
    pub version: Option<Version>,
    /// Whether that is a delete marker.
    pub is_delete_marker: bool,
}

/// Changes what is kept beside a version of a key. Body and Last-Modified stay.
#[derive(Debug)]
pub struct Amend {
    /// The key.
    pub place: Place,
    /// Which version.
    pub version: VersionSelector,
    /// What is changed.
    pub amendment: Amendment,
}

/// What [`Amend`] changes.
#[derive(Debug)]
pub enum Amendment {
    /// Replaces the tags; in the wire's stored form, empty for none. Refused when the access control list is not
    /// the one the request was allowed by.
    Tags {
        /// The list the request was judged by.
        judged: Box<[u8]>,
        /// The new tags.
        tags: Box<[u8]>,
    },
    /// Replaces the access control list, in the wire's stored form. Refused in the same way.
    Acl {
        /// The list the request was judged by.
        judged: Box<[u8]>,
        /// The new one.
        acl: Box<[u8]>,
    },
}

/// Starts a multipart upload.
#[derive(Debug)]
pub struct CreateUpload {
    /// Where.
    pub upload: UploadPlace,
    /// What the object will have: headers, user metadata, class, checksum asked for.
    pub meta: ObjectMeta,
}

/// What an upload was started with.
#[derive(Debug)]
pub struct FindUpload {
    /// Which.
    pub upload: UploadPlace,
}

/// Puts a part.
#[derive(Debug)]
pub struct PutPart {
    /// Of which upload.
    pub upload: UploadPlace,
    /// Its number, `1..=10000`.
    pub number: u16,
    /// Size, ETag, checksum.
    pub meta: ObjectMeta,
    /// The bytes.
    pub body: NewBody,
}

/// Lists uploaded parts.
#[derive(Debug)]
pub struct ListParts {
    /// Of which upload.
    pub upload: UploadPlace,
    /// Only numbers above this.
    pub after: u16,
    /// Most parts wanted.
    pub parts_max: usize,
}

/// One uploaded part.
#[derive(Clone, Debug)]
pub struct PartEntry {
    /// Its number.
    pub number: u16,
    /// The row's sequence number: a part uploaded again has another.
    pub seq: u64,
    /// Size, ETag, time, checksum.
    pub meta: ObjectMeta,
}

/// The answer to [`ListParts`].
#[derive(Debug)]
pub struct PartsPage {
    /// What the upload was started with.
    pub upload: ObjectMeta,
    /// The parts in order.
    pub parts: Vec<PartEntry>,
    /// Whether more follow.
    pub more: bool,
}

/// A part Complete picked, as [`ListParts`] showed it.
#[derive(Clone, Copy, Debug)]
pub struct PickedPart {
    /// Its number.
    pub number: u16,
    /// The row's sequence number then.
    pub seq: u64,
    /// Its size.
    pub bytes: u64,
}

/// Makes an object of parts: one atomic record.
#[derive(Debug)]
pub struct CompleteUpload {
    /// Which.
    pub upload: UploadPlace,
    /// The parts in order.
    pub parts: Vec<PickedPart>,
    /// The object: size, ETag and checksum are the caller's arithmetic over the parts.
    pub meta: ObjectMeta,
    /// What must hold of the key.
    pub condition: WriteCondition,
    /// What the bucket does with versions.
    pub mode: Versioning,
}

/// Drops an upload and its parts.
#[derive(Debug)]
pub struct AbortUpload {
    /// Which.
    pub upload: UploadPlace,
}

/// Lists objects in those of the bucket's PGs that this core owns.
#[derive(Debug)]
pub struct List {
    /// The bucket.
    pub bucket: BucketId,
    /// PGs of this core.
    pub pgs: Vec<PgId>,
    /// What to list.
    pub query: ListQuery,
}

/// Lists uploads in progress.
#[derive(Debug)]
pub struct ListUploads {
    /// The bucket.
    pub bucket: BucketId,
    /// PGs of this core.
    pub pgs: Vec<PgId>,
    /// Only keys that start with this.
    pub prefix: Box<[u8]>,
    /// Only uploads above this key, or of this key above the upload.
    pub after: Option<(Box<[u8]>, Option<UploadId>)>,
    /// Most uploads wanted.
    pub uploads_max: usize,
}

/// One upload in progress.
#[derive(Clone, Debug)]
pub struct UploadEntry {
    /// The key it will become.
    pub key: Box<[u8]>,
    /// The upload.
    pub id: UploadId,
    /// What it was started with.
    pub meta: ObjectMeta,
}

/// The answer to [`ListUploads`].
#[derive(Debug)]
pub struct UploadsPage {
    /// Sorted by key, then id.
    pub uploads: Vec<UploadEntry>,
    /// Whether more follow.
    pub more: bool,
}

/// Refuses further writes to a bucket on this core; answers whether it holds no object here.
#[derive(Debug)]
pub struct SealBucket {
    /// The bucket.
    pub bucket: BucketId,
}

/// Takes a seal back: the bucket was not empty elsewhere.
#[derive(Debug)]
pub struct UnsealBucket {
    /// The bucket.
    pub bucket: BucketId,
}

/// Drops what a deleted bucket left: uploads in progress and their parts.
#[derive(Debug)]
pub struct PurgeBucket {
    /// The bucket.
    pub bucket: BucketId,
}

/// Rewrites this core's rows out of a log segment another core wants to free.
#[derive(Debug)]
pub struct Relocate {
    /// The segment.
    pub segment: LogSegment,
}

/// Asks how far this core has come with its checkpoints since the store was opened.
#[derive(Debug)]
pub struct AskProgress;

/// Asks what this core's rows name in a window of a volume.
#[derive(Debug)]
pub struct NameSpace {
    /// The window.
    pub window: SpaceWindow,
}
