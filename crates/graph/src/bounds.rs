//! How many bytes each exchange may hold, and how buffers are made to fit into one budget.
//!
//! The buffers of an exchange, with `routes` lists of channels at each producer:
//!
//! | where | buffers |
//! |---|---|
//! | open, being filled | 1 per route |
//! | sealed, waiting for a credit | `queue_max` per route |
//! | spent, back at their maker | `spare_max` per producer |
//! | exclusive credits | `exclusive` per channel; a broadcast shares its batches, so per producer |
//! | floating credits | `floating` per gate; of a broadcast at most once per producer |
//!
//! A gate belongs to one edge and one consuming subtask.

use std::fmt;

use levada_core::Origin;
use serde::Serialize;

use crate::graph::Pattern;

/// Sizes of buffers and numbers of credits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct BufferOptions {
    /// Memory for all batches of the process, in bytes.
    pub memory: u64,
    /// The bytes at which a batch is sealed, if the memory allows.
    pub batch_bytes: usize,
    /// The records at which a batch is sealed.
    pub batch_records_max: usize,
    /// Credits that each channel owns, if the memory allows.
    pub exclusive: u32,
    /// Credits that each gate lends to the channels with a backlog.
    pub floating: u32,
    /// Sealed batches that may wait for a credit, per route.
    pub queue_max: u32,
}

impl Default for BufferOptions {
    /// Flink's numbers, with a record bound beside the byte bound and a short queue at the sender.
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            batch_bytes: 32 << 10,
            // Of the smallest records, so that every full batch has its bytes: an entry has its timestamp at least.
            batch_records_max: 4_096,
            exclusive: 2,
            floating: 8,
            queue_max: 1,
        }
    }
}

/// The smallest batch that is planned: below it the price of a hand-over is paid for a few records.
pub(crate) const BATCH_BYTES_MIN: usize = 1 << 10;

const _: () = assert!(
    BATCH_BYTES_MIN < 32 << 10,
    "the default leaves room to shrink"
);

/// The shape of an exchange, as far as its buffers are concerned.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) from: Origin,
    pub(crate) to: Origin,
    pub(crate) pattern: Pattern,
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
}

/// What an exchange may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Bound {
    /// The bytes at which a batch is sealed.
    pub batch_bytes: usize,
    /// The records at which a batch is sealed.
    pub batch_records_max: usize,
    /// Credits that each channel owns.
    pub exclusive: u32,
    /// Credits that each gate lends.
    pub floating: u32,
    /// Sealed batches that may wait for a credit, per route.
    pub queue_max: u32,
    /// Spent batches that each producer keeps.
    pub spare_max: usize,
    /// Batches that the exchange holds at most.
    pub buffers: u64,
    /// Bytes that the exchange holds at most, overdraft of large records apart.
    pub bytes: u64,
}

impl Shape {
    pub(crate) fn channels(&self) -> u64 {
        match self.pattern {
            Pattern::Pointwise => self.producers as u64,
            Pattern::Rescale => self.producers.max(self.consumers) as u64,
            _ => self.producers as u64 * self.consumers as u64,
        }
    }

    fn routes(&self) -> usize {
        match self.pattern {
            Pattern::Pointwise | Pattern::Broadcast => 1,
            Pattern::Rescale => self.consumers.div_ceil(self.producers),
            _ => self.consumers,
        }
    }

    fn spare_max(&self) -> usize {
        let channels = match self.pattern {
            Pattern::Pointwise => 1,
            Pattern::Rescale => self.consumers.div_ceil(self.producers),
            _ => self.consumers,
        };
        channels.max(4)
    }

    fn buffers(&self, options: &BufferOptions) -> u64 {
        let producers = self.producers as u64;
        let per_producer =
            self.routes() as u64 * (1 + u64::from(options.queue_max)) + self.spare_max() as u64;
        let (exclusive, gates) = match self.pattern {
            // The batches that a slow reader holds are the same ones that the others have already read.
            Pattern::Broadcast => (producers, producers.min(self.consumers as u64)),
            _ => (self.channels(), self.consumers as u64),
        };
        producers * per_producer
            + exclusive * u64::from(options.exclusive)
            + gates * u64::from(options.floating)
    }

    fn bound(&self, options: &BufferOptions) -> Bound {
        let buffers = self.buffers(options);
        Bound {
            batch_bytes: options.batch_bytes,
            batch_records_max: options.batch_records_max,
            exclusive: options.exclusive,
            floating: options.floating,
            queue_max: options.queue_max,
            spare_max: self.spare_max(),
            buffers,
            bytes: buffers * options.batch_bytes as u64,
        }
    }
}

/// Fits the exchanges into the memory: first the batches shrink to their share, then the exclusive credits go.
pub(crate) fn fit(shapes: &[Shape], options: &BufferOptions) -> Result<Vec<Bound>, Shortage> {
    let total = |options: &BufferOptions| -> u64 {
        shapes.iter().map(|shape| shape.buffers(options)).sum()
    };
    let mut fitted = *options;
    loop {
        let buffers = total(&fitted).max(1);
        let share = usize::try_from(options.memory / buffers).unwrap_or(usize::MAX);
        fitted.batch_bytes = options.batch_bytes.min(share);
        let smallest = BATCH_BYTES_MIN.min(options.batch_bytes);
        if fitted.batch_bytes >= smallest {
            return Ok(shapes.iter().map(|shape| shape.bound(&fitted)).collect());
        }
        // A gate needs one buffer, exclusive or floating, so the last exclusive one stays where none floats.
        if fitted.exclusive == 0 || (fitted.exclusive == 1 && fitted.floating == 0) {
            fitted.batch_bytes = smallest;
            return Err(Shortage {
                memory: options.memory,
                needed: buffers * smallest as u64,
                batch_bytes: smallest,
                edges: shapes
                    .iter()
                    .map(|shape| (shape.clone(), shape.bound(&fitted)))
                    .collect(),
            });
        }
        fitted.exclusive -= 1;
    }
}

/// Why a job does not fit into its buffer memory, edge by edge.
#[derive(Debug)]
pub struct Shortage {
    memory: u64,
    needed: u64,
    batch_bytes: usize,
    edges: Vec<(Shape, Bound)>,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the exchanges need at least {} of buffer memory, with batches of only {}, but `--buffer-memory` is {}:",
            Bytes(self.needed),
            Bytes(self.batch_bytes as u64),
            Bytes(self.memory)
        )?;
        for (shape, bound) in &self.edges {
            write!(
                f,
                "\n  {} -> {}: {} x {} subtasks ({}), {} channels, {} buffers, {}",
                shape.from.name(),
                shape.to.name(),
                shape.producers,
                shape.consumers,
                shape.pattern,
                shape.channels(),
                bound.buffers,
                Bytes(bound.bytes)
            )?;
        }
        f.write_str("\nraise `--buffer-memory`, or lower the parallelism")
    }
}

/// Bytes as people read them: `1.5 KiB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        let mut unit = 0;
        let mut scale = 1024u64;
        if self.0 < scale {
            return write!(f, "{} B", self.0);
        }
        while unit + 1 < UNITS.len() && self.0 / scale >= 1024 {
            scale *= 1024;
            unit += 1;
        }
        #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
        let value = self.0 as f64 / scale as f64;
        if self.0.is_multiple_of(scale) {
            write!(f, "{} {}", self.0 / scale, UNITS[unit])
        } else {
            write!(f, "{value:.1} {}", UNITS[unit])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;

    fn shape(pattern: Pattern, producers: usize, consumers: usize) -> Shape {
        let origin = Origin::new("x", Location::caller());
        Shape {
            from: origin.clone(),
            to: origin,
            pattern,
            producers,
            consumers,
        }
    }

    #[test]
    fn a_bound_counts_every_buffer() {
        let options = BufferOptions::default();
        let check = |pattern, producers, consumers, buffers: u64| {
            let bound = shape(pattern, producers, consumers).bound(&options);
            assert_eq!(
                bound.buffers, buffers,
                "{pattern} {producers} x {consumers}"
            );
            assert_eq!(bound.bytes, buffers * (32 << 10));
        };
        check(Pattern::Pointwise, 1, 1, 1 + 1 + 4 + 2 + 8);
        check(Pattern::Pointwise, 3, 3, 3 * (1 + 1 + 4 + 2 + 8));
        check(Pattern::Rescale, 2, 5, 2 * (3 * 2 + 4) + 5 * 2 + 5 * 8);
        check(Pattern::Rescale, 5, 2, 5 * (2 + 4) + 5 * 2 + 2 * 8);
        check(Pattern::Hash, 2, 2, 2 * (2 * 2 + 4) + 4 * 2 + 2 * 8);
        check(Pattern::Broadcast, 1, 5, 2 + 5 + 2 + 8);
    }

    #[test]
    fn many_channels_shrink_batches_then_credits() {
        let mut options = BufferOptions::default();
        let shapes = [shape(Pattern::Hash, 32, 32)];
        let fit = |options: &BufferOptions| fit(&shapes, options).map(|bounds| bounds[0]);
        assert_eq!(fit(&options).unwrap().batch_bytes, 32 << 10);
        options.memory = 32 << 20;
        let bound = fit(&options).unwrap();
        assert!(bound.batch_bytes < 32 << 10 && bound.exclusive == 2);
        assert!(bound.bytes <= options.memory);
        options.memory = 5 << 20;
        let bound = fit(&options).unwrap();
        assert!(bound.exclusive < 2);
        assert!(bound.bytes <= options.memory);
        options.memory = 1 << 20;
        let shortage = fit(&options).unwrap_err().to_string();
        assert!(shortage.contains("--buffer-memory` is 1 MiB"), "{shortage}");
        assert!(shortage.contains("1024 channels"), "{shortage}");
    }

    #[test]
    fn bytes_read_well() {
        let check = |bytes, text| assert_eq!(Bytes(bytes).to_string(), text);
        check(0, "0 B");
        check(1_023, "1023 B");
        check(1 << 10, "1 KiB");
        check(1_536, "1.5 KiB");
        check(256 << 20, "256 MiB");
        check(1 << 50, "1024 TiB");
    }
}
