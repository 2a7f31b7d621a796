//! Event time: when records happened, and how far it has come.

mod generator;
mod step;
mod watermarks;

pub use generator::{Bounded, Custom, Generates, WatermarkGenerator};
pub use step::TimestampsStep;
pub use watermarks::{IntoWatermarks, Watermarks};
