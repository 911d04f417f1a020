//! What each program of kmslab does with its arguments and with the files that somebody names.

mod arguments;
pub mod file;

pub use arguments::parse;
