//! Files in and out.

mod compression;
mod csv;
mod decode;
mod line_index;
mod lines;
mod parts;
mod pattern;
mod selection;
mod sink;
mod source;
mod window;

pub use csv::{CsvFiles, CsvPosition, CsvReader, csv};
pub use decode::{Decode, Fault, Json, Text};
pub use lines::Lines;
pub use pattern::Patterns;
pub use sink::{Files, files};
pub use source::{JsonLines, LineFiles, Range, TextFiles, jsonl, text_files};
