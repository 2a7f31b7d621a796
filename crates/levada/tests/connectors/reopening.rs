//! A source whose readers are opened again and again where the one before stopped.

use std::sync::Arc;

use levada::{BoxError, Intake, Reader, ReaderContext, Source, SourceContext, Status, Timestamp};

/// Opens a new reader after every few records.
pub(crate) struct Reopening<S> {
    source: Arc<S>,
    every: usize,
}

impl<S> Reopening<S> {
    pub(crate) fn new(source: S, every: usize) -> Self {
        let source = Arc::new(source);
        Self { source, every }
    }
}

impl<S: Source> Source for Reopening<S> {
    type Out = S::Out;
    type Split = S::Split;
    type Reader = Reopened<S>;

    fn splits(&self, context: &SourceContext) -> Result<Vec<S::Split>, BoxError> {
        self.source.splits(context)
    }

    fn open(
        &self,
        split: S::Split,
        position: Option<<S::Reader as Reader>::Position>,
        context: &ReaderContext,
    ) -> Result<Reopened<S>, BoxError> {
        Ok(Reopened {
            reader: self.source.open(split.clone(), position, context)?,
            source: Arc::clone(&self.source),
            split,
            every: self.every,
            context: context.clone(),
        })
    }

    fn commits(&self) -> bool {
        self.source.commits()
    }

    fn commit(
        &self,
        read: &[(S::Split, <S::Reader as Reader>::Position)],
        context: &ReaderContext,
    ) -> Result<(), BoxError> {
        self.source.commit(read, context)
    }
}

pub(crate) struct Reopened<S: Source> {
    source: Arc<S>,
    split: S::Split,
    reader: S::Reader,
    every: usize,
    context: ReaderContext,
}

impl<S: Source> Reader for Reopened<S> {
    type Out = S::Out;
    type Position = <S::Reader as Reader>::Position;

    fn read(&mut self, intake: &mut impl Intake<S::Out>) -> Result<Status, BoxError> {
        let left = self.every;
        let mut few = Few { intake, left };
        let status = self.reader.read(&mut few)?;
        if few.left == 0 && status == Status::More {
            let position = Some(self.reader.position());
            self.reader = self
                .source
                .open(self.split.clone(), position, &self.context)?;
        }
        Ok(status)
    }

    fn position(&self) -> Self::Position {
        self.reader.position()
    }
}

/// Takes a few records.
struct Few<'a, I> {
    intake: &'a mut I,
    left: usize,
}

impl<T, I: Intake<T>> Intake<T> for Few<'_, I> {
    fn push_at(&mut self, record: T, timestamp: Timestamp) {
        self.left -= 1;
        self.intake.push_at(record, timestamp);
    }

    fn room(&self) -> usize {
        self.left.min(self.intake.room())
    }
}
