//! Shared by all programs of kmslab: parsing arguments and reading files named by a user.

mod arguments;
pub mod file;

pub use arguments::parse;
