//! What becomes of a record that cannot be read, processed or written.

/// What becomes of a record that cannot be read, processed or written.
///
/// The third way, a side stream of what went wrong, changes the type of the records: connectors and calls offer it as a
/// method of its own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnError {
    /// The job fails, with the record's place in the input.
    #[default]
    Fail,
    /// The record is left out and counted (`records_skipped`); the first one of each subtask is logged.
    Skip,
}
