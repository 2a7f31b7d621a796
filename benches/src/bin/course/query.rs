//! The queries of the course.

use std::fmt;

use clap::ValueEnum;

/// A query.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Query {
    /// Every event, as it is
    Q0,
    /// Bids in another currency
    Q1,
    /// Bids in some auctions
    Q2,
    /// Auctions of a category, with sellers of some states
    Q3,
    /// The winning bids of each category
    Q4,
    /// The auctions with the most bids, in sliding windows
    Q5,
    /// The highest bids, in tumbling windows
    Q7,
    /// New persons who sell at once, in tumbling windows
    Q8,
    /// Bids per session of a bidder
    Q11,
    /// A running count and sum per bidder
    Keyed,
}

impl Query {
    /// Whether its result depends on the order in which events come, where they come without a bound for their lateness.
    pub(crate) fn needs_order(self) -> bool {
        match self {
            Self::Q0 | Self::Q1 | Self::Q2 | Self::Q3 | Self::Keyed => false,
            Self::Q4 | Self::Q5 | Self::Q7 | Self::Q8 | Self::Q11 => true,
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self
            .to_possible_value()
            .expect("every query can be named on the command line");
        f.write_str(value.get_name())
    }
}
