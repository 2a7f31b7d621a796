//! Writes checkpoints to disk: one file for the blocks of all tasks, then the manifest.
//!
//! It is a state machine without a thread, as the coordinator is: one thread drives both ends in production, the simulator
//! calls it between two polls.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use levada_checkpoint::{
    Block as OnDisk, BlockKind, CheckpointError, DataFile, Directory, FileEntry, Manifest,
};
use levada_core::disk::Disk;
use levada_core::{Clock, Moment};

use crate::checkpoint::block::{Block, Load, ToWriter};
use crate::task::Report;

/// A checkpoint begins.
pub(crate) struct Start {
    pub(crate) number: u64,
    /// A directory of its own, for a savepoint.
    pub(crate) savepoint: Option<PathBuf>,
    /// The files on which it is based.
    pub(crate) base: Vec<FileEntry>,
}

/// A checkpoint that is durable.
#[derive(Clone, Debug)]
pub(crate) struct Durable {
    pub(crate) manifest: Manifest,
    /// Where its manifest is.
    pub(crate) path: PathBuf,
    /// Syncs, one after the other.
    pub(crate) syncs: u32,
    /// How long those took, in nanoseconds.
    pub(crate) sync_nanos: u64,
}

/// Writes what tasks hand on.
pub struct CheckpointWriter {
    directory: Arc<Directory>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    run: Arc<str>,
    attempt: u32,
    retained: usize,
    messages: Receiver<ToWriter>,
    load: Arc<Load>,
    reports: Sender<Report>,
    open: Option<Open>,
}

/// The checkpoint that is being written.
struct Open {
    start: Start,
    /// That of a savepoint.
    directory: Arc<Directory>,
    file: DataFile,
    counts: Counts,
}

/// What was counted on the way.
#[derive(Default)]
struct Counts {
    /// By operator: rows and bytes of keyed state.
    keyed: BTreeMap<String, (u64, u64)>,
    /// By edge: bytes in flight.
    in_flight: BTreeMap<String, (u64, u64)>,
}

impl CheckpointWriter {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another thing, and it is made once"
    )]
    pub(crate) fn new(
        directory: Arc<Directory>,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        run: Arc<str>,
        attempt: u32,
        retained: usize,
        messages: Receiver<ToWriter>,
        load: Arc<Load>,
        reports: Sender<Report>,
    ) -> Self {
        Self {
            directory,
            disk,
            clock,
            run,
            attempt,
            retained,
            messages,
            load,
            reports,
            open: None,
        }
    }

    /// Writes until nobody sends any more.
    pub fn run(mut self) {
        while let Ok(message) = self.messages.recv() {
            self.take(message);
        }
        self.discard();
    }

    /// Writes what has been sent; false if that is nothing.
    pub fn work(&mut self) -> bool {
        let mut any = false;
        while let Ok(message) = self.messages.try_recv() {
            any = true;
            self.take(message);
        }
        any
    }

    fn take(&mut self, message: ToWriter) {
        match message {
            ToWriter::Start(start) => {
                self.discard();
                let number = start.number;
                match self.begin(start) {
                    Ok(open) => self.open = Some(open),
                    Err(error) => self.fail(number, error),
                }
            }
            ToWriter::Block(number, block) => {
                let bytes = block.payload.len() as u64;
                if self.is_open(number)
                    && let Err(error) = self.append(&block)
                {
                    self.fail(number, error);
                }
                self.load.done(bytes);
            }
            ToWriter::Finish(manifest) if self.is_open(manifest.number) => {
                let number = manifest.number;
                match self.finish(*manifest) {
                    Ok(durable) => self.report(number, Ok(durable)),
                    Err(error) => self.fail(number, error),
                }
                self.retain();
            }
            ToWriter::Finish(_) => {}
            ToWriter::Discard(number) => {
                if self.is_open(number) {
                    self.discard();
                }
            }
        }
    }

    fn is_open(&self, number: u64) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.start.number == number)
    }

    fn begin(&self, start: Start) -> Result<Open, CheckpointError> {
        let directory = match &start.savepoint {
            None => Arc::clone(&self.directory),
            Some(dir) => Arc::new(Directory::open_empty(Arc::clone(&self.disk), dir)?),
        };
        let file = directory.create(start.number, &self.run, self.attempt)?;
        Ok(Open {
            start,
            directory,
            file,
            counts: Counts::default(),
        })
    }

    fn append(&mut self, block: &Block) -> Result<(), CheckpointError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        open.counts.count(block);
        open.file.append(&OnDisk {
            kind: block.kind,
            name: &block.name,
            from: block.from,
            to: block.to,
            payload: &block.payload,
        })?;
        Ok(())
    }

    fn finish(&mut self, mut manifest: Manifest) -> Result<Durable, CheckpointError> {
        let open = self.open.take().expect("only the open one is finished");
        open.counts.write(&mut manifest);
        let begin = self.clock.now();
        let own = open.file.finish()?;
        manifest.files = open.start.base;
        manifest.files.push(own.clone());
        match open.directory.publish(&manifest) {
            Ok(published) => Ok(Durable {
                manifest,
                path: published.path,
                syncs: 1 + published.syncs,
                sync_nanos: self.nanos_since(begin),
            }),
            Err(error) => {
                // Unless it may count after a crash: then its data must be there too.
                if !matches!(error, CheckpointError::Undecided { .. }) {
                    let _ = open.directory.discard(&own);
                }
                Err(error)
            }
        }
    }

    fn nanos_since(&self, begin: Moment) -> u64 {
        self.clock.now().nanos_since(begin)
    }

    /// Removes what is not needed any more; what cannot be removed is tried again with the next checkpoint.
    fn retain(&self) {
        if let Err(error) = self.directory.retain(self.retained) {
            tracing::warn!("checkpoints that are not needed any more stay: {error}");
        }
    }

    fn fail(&mut self, number: u64, error: CheckpointError) {
        self.discard();
        self.report(number, Err(Arc::new(error)));
    }

    fn report(&self, number: u64, result: Result<Durable, Arc<CheckpointError>>) {
        let result = result.map(Box::new);
        let _ = self.reports.try_send(Report::Written(number, result));
    }

    /// Gives up the checkpoint that is being written; its file goes with it.
    fn discard(&mut self) {
        self.open = None;
    }
}

impl Counts {
    fn count(&mut self, block: &Block) {
        let of_kind = match block.kind {
            BlockKind::Keyed => &mut self.keyed,
            BlockKind::Channel => &mut self.in_flight,
            _ => return,
        };
        if !of_kind.contains_key(&*block.name) {
            of_kind.insert(block.name.to_string(), (0, 0));
        }
        if let Some((records, bytes)) = of_kind.get_mut(&*block.name) {
            *records += block.records;
            *bytes += block.payload.len() as u64;
        }
    }

    fn write(&self, manifest: &mut Manifest) {
        for operator in &mut manifest.operators {
            let (rows, bytes) = self.keyed.get(&operator.name).copied().unwrap_or_default();
            operator.keyed_rows = rows;
            operator.keyed_bytes = bytes;
        }
        for edge in &mut manifest.edges {
            let (records, bytes) = self.in_flight.get(&edge.name).copied().unwrap_or_default();
            edge.records = records;
            edge.bytes = bytes;
        }
    }
}
