//! Text files in and out.

mod lines;
mod pattern;
mod sink;
mod source;

pub use lines::Lines;
pub use pattern::Patterns;
pub use sink::{Files, files};
pub use source::{TextFiles, text_files};
