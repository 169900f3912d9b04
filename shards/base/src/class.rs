//! What a caller may do about an error. Every error enum of the workspace answers `class()`.

/// The five classes of failure. They drive logging (only `Corrupt` and `Bug` are ERROR) and the choice
/// between a 4xx, a 503 and a 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request is wrong; repeating it unchanged fails again.
    Client,
    /// Nothing is wrong with the request; later it may succeed.
    Retry,
    /// Stored bytes failed verification. Never served; a human must look.
    Corrupt,
    /// No room: disk, memory budget or a configured limit.
    Full,
    /// A broken invariant of ours.
    Bug,
}
