//! What a job commits: lines that say by themselves whether they are whole.

/// A result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    /// No two results of a job have the same.
    pub(crate) identity: String,
    /// What was computed.
    pub(crate) payload: u64,
    /// Rows of a lane have a rising number.
    pub(crate) lane: u64,
    pub(crate) number: u64,
}

impl Row {
    pub(crate) fn new(identity: String, payload: u64, lane: u64, number: u64) -> Self {
        Self {
            identity,
            payload,
            lane,
            number,
        }
    }

    /// A row of no order.
    pub(crate) fn alone(identity: String, payload: u64) -> Self {
        Self::new(identity, payload, 0, 0)
    }

    pub(crate) fn to_line(&self) -> String {
        let text = format!(
            "{} {} {} {}",
            self.identity, self.payload, self.lane, self.number
        );
        format!("{text} {:08x}", checksum(&text))
    }

    /// The row of a line; none if it is not exactly what [`to_line`](Self::to_line) makes.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (text, sum) = line.rsplit_once(' ')?;
        if sum != format!("{:08x}", checksum(text)) {
            return None;
        }
        let mut words = text.split(' ');
        let row = Self {
            identity: words.next()?.to_owned(),
            payload: words.next()?.parse().ok()?,
            lane: words.next()?.parse().ok()?,
            number: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(row)
    }
}

/// FNV-1a.
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_changed_is_no_row() {
        let row = Row::new("7/3".to_owned(), 12, 7, 3);
        let line = row.to_line();
        assert_eq!(Row::parse(&line), Some(row));
        for end in 0..line.len() {
            assert_eq!(Row::parse(&line[..end]), None);
        }
        assert_eq!(Row::parse(&line.replacen('7', "8", 1)), None);
    }
}
