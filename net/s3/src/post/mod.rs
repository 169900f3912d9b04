//! Uploads by browser forms (POST Object): the form as it arrives, and the policy it is held to.
//!
//! Invariant: a form is used only after its policy allowed every field of it. Any core, sans I/O. Owner:
//! `net/s3`. Source: AWS S3 API reference, "POST Object" and "Creating a POST policy".

mod form;
mod policy;
#[cfg(test)]
mod tests;

pub use form::{Form, FormFile, FormReader};
pub use policy::{PolicyInput, check_policy};
