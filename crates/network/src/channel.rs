//! One channel of an outbox: credits, and what waits for them.

use std::collections::VecDeque;
use std::sync::Arc;

use levada_core::Exchange;
use levada_core::codec::CodecError;

use crate::batch::{Batch, Control, Element};
use crate::gate::Port;
use crate::gauge::ChannelGauge;
use crate::in_flight::Saved;

/// A channel, as its sender has it.
pub(crate) struct Channel<T> {
    pub(crate) port: Port<T>,
    pub(crate) route: usize,
    pub(crate) credits: u32,
    pub(crate) queue: VecDeque<Element<T>>,
    /// Batches in the queue.
    pub(crate) backlog: u32,
    /// The number of the next batch that is sealed.
    pub(crate) sequence: u64,
    /// The last barrier, and the number of the first batch behind it.
    pub(crate) barrier: (u64, u64),
    pub(crate) gauge: Arc<ChannelGauge>,
}

impl<T> Channel<T> {
    pub(crate) fn enqueue_batch(&mut self, batch: Batch<T>) {
        self.sequence += 1;
        self.backlog += 1;
        self.queue.push_back(Element::Batch(batch));
    }

    pub(crate) fn enqueue_control(&mut self, control: Control) {
        match (control, self.queue.back_mut()) {
            (Control::Watermark(later), Some(Element::Control(Control::Watermark(earlier)))) => {
                *earlier = later;
            }
            _ => self.queue.push_back(Element::Control(control)),
        }
    }

    /// The number of the first batch that has not been delivered.
    pub(crate) fn first_queued(&self) -> u64 {
        self.sequence - u64::from(self.backlog)
    }

    /// Saves what waits before a barrier, and takes the barrier out if it waits too.
    pub(crate) fn save_queue(&mut self, barrier: u64) -> Result<Saved, CodecError>
    where
        T: Exchange,
    {
        let mut saved = Saved::new();
        let before = self.barrier.1;
        let is_it = |element: &Element<T>| matches!(element, Element::Control(Control::Barrier(number)) if *number == barrier);
        let end = self.queue.iter().position(is_it);
        for element in self.queue.iter().take(end.unwrap_or(self.queue.len())) {
            match element {
                Element::Batch(batch) if batch.sequence >= before => break,
                Element::Batch(batch) => saved.add(batch.entries(), batch.watermark())?,
                Element::Control(Control::Watermark(watermark)) => saved.add_watermark(*watermark),
                Element::Control(_) => {}
            }
        }
        if let Some(end) = end {
            self.queue.remove(end);
        }
        Ok(saved)
    }

    pub(crate) fn pump(&mut self) {
        while let Some(element) = self.queue.pop_front() {
            match element {
                Element::Control(control) => self.port.control(control),
                Element::Batch(batch) => {
                    if self.credits == 0 {
                        self.credits += self.port.announce(self.backlog);
                    }
                    if self.credits == 0 {
                        self.queue.push_front(Element::Batch(batch));
                        return;
                    }
                    self.credits -= 1;
                    self.backlog -= 1;
                    self.credits += self.port.deliver(batch, self.backlog);
                }
            }
        }
    }
}
