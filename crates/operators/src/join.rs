//! Joins that are not windows: rows of two inputs that have the same key, for as long as both are kept.
//!
//! ```text
//!                     ┌ first:  row row row …
//!  key ── one entry ──┤                          a record is kept on its own side, then it
//!                     └ second: row row …        goes through the rows of the other side
//! ```
//!
//! One operator does all of them; a [rule] says which rows a record meets and when a row is gone. A record meets the
//! rows of the other side in the order in which they came. It may meet very many, so it can be held up between any two of
//! them: then it is in hand (`hand.rs`), which is state too.

mod hand;
mod kept;
mod node;
mod operator;
mod output;
mod rows;
pub mod rule;
mod sides;

pub use node::JoinNode;
