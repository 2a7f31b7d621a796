//! Compares what was committed with what must be.

use std::collections::BTreeMap;

use crate::left::{Output, Part};
use crate::row::Row;

/// What is wrong with an output.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Fault {
    /// It must be there and is not.
    Lost,
    /// It is there more than once.
    Duplicate,
    /// It must not be there.
    Phantom,
    /// What is there is something else, or no row.
    Corrupt,
    /// It comes before one that it follows.
    Reordered,
    /// It is in the directory and is no committed part.
    LeftBehind,
}

/// The faults, with one line for each.
pub(crate) type Verdict = Vec<(Fault, String)>;

/// Judges an output. `runs` are in the order in which they were started; `is_ordered` says whether the rows of a lane must
/// have the order of their numbers.
pub(crate) fn judge(
    expected: &BTreeMap<String, Row>,
    output: &Output,
    runs: &[String],
    is_ordered: bool,
) -> Verdict {
    let mut verdict = Verdict::new();
    let hidden = output.hidden.iter().map(|part| format!("hidden {part:?}"));
    let foreign = output.foreign.iter().cloned();
    verdict.extend(hidden.chain(foreign).map(|name| (Fault::LeftBehind, name)));

    let mut found: BTreeMap<&str, &Part> = BTreeMap::new();
    let mut lanes: BTreeMap<u64, u64> = BTreeMap::new();
    let rows = rows(output, runs, &mut verdict);
    for (part, row) in &rows {
        match expected.get(&row.identity) {
            None => verdict.push((Fault::Phantom, format!("{row:?} in {part:?}"))),
            Some(expected) if expected != row => {
                let text = format!("{row:?} in {part:?}, expected {expected:?}");
                verdict.push((Fault::Corrupt, text));
            }
            Some(_) => {}
        }
        if let Some(first) = found.insert(&row.identity, part) {
            let text = format!("{row:?} in {first:?} and {part:?}");
            verdict.push((Fault::Duplicate, text));
        } else if is_ordered
            && let Some(before) = lanes.insert(row.lane, row.number)
            && before > row.number
        {
            let text = format!("{row:?} in {part:?} follows number {before}");
            verdict.push((Fault::Reordered, text));
        }
    }
    for (identity, row) in expected {
        if !found.contains_key(identity.as_str()) {
            verdict.push((Fault::Lost, format!("{row:?}")));
        }
    }
    verdict
}

/// All rows, in the order in which they were committed: run after run, in each epoch after epoch.
fn rows<'a>(output: &'a Output, runs: &[String], verdict: &mut Verdict) -> Vec<(&'a Part, Row)> {
    let place = |part: &Part| runs.iter().position(|run| *run == part.run);
    let mut parts: Vec<_> = output.committed.iter().collect();
    parts.sort_by_key(|(part, _)| (place(part), part.epoch, part.subtask));
    let mut rows = Vec::new();
    for (part, text) in parts {
        if !text.ends_with('\n') {
            verdict.push((Fault::Corrupt, format!("{part:?} does not end with a line")));
        }
        for line in text.lines() {
            match Row::parse(line) {
                Some(row) => rows.push((part, row)),
                None => verdict.push((Fault::Corrupt, format!("{line:?} in {part:?}"))),
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u64) -> Row {
        Row::new(number.to_string(), 10 * number, 0, number)
    }

    fn part(run: &str, epoch: u64) -> Part {
        Part {
            run: run.to_owned(),
            subtask: 0,
            epoch,
        }
    }

    /// The faults in parts of these rows; each is a run with its epochs, of which the rows 0 to 3 are expected.
    fn faults(parts: &[(&str, u64, &[Row])]) -> Vec<Fault> {
        let expected = (0..4).map(|number| (number.to_string(), row(number)));
        let mut output = Output::default();
        for (run, epoch, rows) in parts {
            let text = rows.iter().map(|row| row.to_line() + "\n").collect();
            output.committed.insert(part(run, *epoch), text);
        }
        // In the order of their start.
        let runs = ["b".to_owned(), "a".to_owned()];
        let verdict = judge(&expected.collect(), &output, &runs, true);
        verdict.into_iter().map(|(fault, _)| fault).collect()
    }

    #[test]
    fn every_fault_is_found() {
        let rows: Vec<_> = (0..4).map(row).collect();
        assert_eq!(faults(&[("b", 0, &rows[..2]), ("b", 1, &rows[2..])]), []);
        assert_eq!(faults(&[("b", 7, &rows[..2]), ("a", 0, &rows[2..])]), []);
        assert_eq!(faults(&[("b", 0, &rows[..3])]), [Fault::Lost]);
        assert_eq!(
            faults(&[("b", 0, &rows), ("a", 0, &rows[3..])]),
            [Fault::Duplicate]
        );
        assert_eq!(
            faults(&[("b", 0, &rows), ("a", 0, &[row(4)])]),
            [Fault::Phantom]
        );
        assert_eq!(
            faults(&[("a", 0, &rows[..2]), ("b", 0, &rows[2..])]),
            [Fault::Reordered]
        );
        let mut corrupt = rows;
        corrupt[1].payload = 0;
        assert_eq!(faults(&[("b", 0, &corrupt)]), [Fault::Corrupt]);
    }

    #[test]
    fn a_torn_line_and_what_was_not_committed_are_found() {
        let mut output = Output::default();
        let line = row(0).to_line();
        let torn = line[..line.len() - 1].to_owned();
        output.committed.insert(part("a", 0), torn);
        output.hidden.insert(part("a", 1));
        let verdict = judge(&BTreeMap::new(), &output, &["a".to_owned()], false);
        let faults: Vec<_> = verdict.into_iter().map(|(fault, _)| fault).collect();
        assert_eq!(faults, [Fault::LeftBehind, Fault::Corrupt, Fault::Corrupt]);
    }
}
