//! Job programs under 80 lines each: `cargo run --release --example word_count`.
