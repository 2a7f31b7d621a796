//! The events file.
//!
//! Little-endian, without a header, records back to back. A `str` is its length in bytes as a `u32`, and its bytes in UTF-8.
//!
//! | tag `u8` | fields in their order |
//! |---|---|
//! | 0, person | `u64` id, `str` name, `str` email, `str` credit card, `str` city, `str` state, `u64` date and time, `str` extra |
//! | 1, auction | `u64` id, `str` item name, `str` description, `u64` initial bid, `u64` reserve, `u64` date and time, `u64` expires, `u64` seller, `u64` category, `str` extra |
//! | 2, bid | `u64` auction, `u64` bidder, `u64` price, `str` channel, `str` url, `u64` date and time, `str` extra |

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::event::{Auction, Bid, Event, Person};

/// Reads all events of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Event>, FileError> {
    let bytes = fs::read(path).map_err(|error| FileError::new(path, Fault::Io(error)))?;
    decode(&bytes).map_err(|fault| FileError::new(path, fault))
}

/// Writes a file of these events.
pub(crate) fn write(path: &Path, events: impl IntoIterator<Item = Event>) -> Result<(), FileError> {
    write_all(path, events).map_err(|error| FileError::new(path, Fault::Io(error)))
}

fn write_all(path: &Path, events: impl IntoIterator<Item = Event>) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for event in events {
        encode(&event, &mut file)?;
    }
    file.flush()
}

/// Writes one event.
pub(crate) fn encode(event: &Event, out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[event.tag()])?;
    match event {
        Event::Person(person) => {
            number(person.id, out)?;
            text(&person.name, out)?;
            text(&person.email, out)?;
            text(&person.credit_card, out)?;
            text(&person.city, out)?;
            text(&person.state, out)?;
            number(person.date_time, out)?;
            text(&person.extra, out)
        }
        Event::Auction(auction) => {
            number(auction.id, out)?;
            text(&auction.item_name, out)?;
            text(&auction.description, out)?;
            number(auction.initial_bid, out)?;
            number(auction.reserve, out)?;
            number(auction.date_time, out)?;
            number(auction.expires, out)?;
            number(auction.seller, out)?;
            number(auction.category, out)?;
            text(&auction.extra, out)
        }
        Event::Bid(bid) => {
            number(bid.auction, out)?;
            number(bid.bidder, out)?;
            number(bid.price, out)?;
            text(&bid.channel, out)?;
            text(&bid.url, out)?;
            number(bid.date_time, out)?;
            text(&bid.extra, out)
        }
    }
}

fn number(number: u64, out: &mut impl Write) -> io::Result<()> {
    out.write_all(&number.to_le_bytes())
}

fn text(text: &str, out: &mut impl Write) -> io::Result<()> {
    let length = u32::try_from(text.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a text of 4 GiB or more"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(text.as_bytes())
}

fn decode(bytes: &[u8]) -> Result<Vec<Event>, Fault> {
    let mut rest = Rest { bytes, at: 0 };
    // Events are smaller in the file than in memory, two hundred bytes on average.
    let mut events = Vec::with_capacity(bytes.len() / 200);
    while rest.at < bytes.len() {
        events.push(rest.event()?);
    }
    events.shrink_to_fit();
    Ok(events)
}

/// What has not been decoded yet.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    fn event(&mut self) -> Result<Event, Fault> {
        let begin = self.at;
        match self.array::<1>()? {
            [0] => Ok(Event::Person(self.person()?)),
            [1] => Ok(Event::Auction(self.auction()?)),
            [2] => Ok(Event::Bid(self.bid()?)),
            [tag] => Err(Fault::Tag { tag, at: begin }),
        }
    }

    fn person(&mut self) -> Result<Person, Fault> {
        Ok(Person {
            id: self.number()?,
            name: self.text()?,
            email: self.text()?,
            credit_card: self.text()?,
            city: self.text()?,
            state: self.text()?,
            date_time: self.number()?,
            extra: self.text()?,
        })
    }

    fn auction(&mut self) -> Result<Auction, Fault> {
        Ok(Auction {
            id: self.number()?,
            item_name: self.text()?,
            description: self.text()?,
            initial_bid: self.number()?,
            reserve: self.number()?,
            date_time: self.number()?,
            expires: self.number()?,
            seller: self.number()?,
            category: self.number()?,
            extra: self.text()?,
        })
    }

    fn bid(&mut self) -> Result<Bid, Fault> {
        Ok(Bid {
            auction: self.number()?,
            bidder: self.number()?,
            price: self.number()?,
            channel: self.text()?,
            url: self.text()?,
            date_time: self.number()?,
            extra: self.text()?,
        })
    }

    fn number(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, Fault> {
        let length = u32::from_le_bytes(self.array()?);
        let at = self.at;
        let bytes = self.take(length as usize)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Fault::Text { at }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<&[u8], Fault> {
        let rest = &self.bytes[self.at..];
        if rest.len() < length {
            return Err(Fault::Truncated {
                at: self.at,
                expected: length,
                found: rest.len(),
            });
        }
        self.at += length;
        Ok(&rest[..length])
    }
}

/// Why an events file cannot be read or written.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    Io(io::Error),
    Tag {
        tag: u8,
        at: usize,
    },
    Text {
        at: usize,
    },
    Truncated {
        at: usize,
        expected: usize,
        found: usize,
    },
}

impl FileError {
    fn new(path: &Path, fault: Fault) -> Self {
        Self {
            path: path.to_owned(),
            fault,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "events file {}: ", self.path.display())?;
        match &self.fault {
            Fault::Io(error) => error.fmt(f),
            Fault::Tag { tag, at } => {
                write!(f, "expected a tag of 0, 1 or 2 at byte {at}, found {tag}")
            }
            Fault::Text { at } => write!(f, "the text at byte {at} is not UTF-8"),
            Fault::Truncated {
                at,
                expected,
                found,
            } => write!(
                f,
                "it is cut off: expected {expected} more bytes at byte {at}, found {found}"
            ),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate;

    fn bytes(events: &[Event]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for event in events {
            encode(event, &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn events_are_read_as_they_were_written() {
        let events: Vec<_> = generate::events(500, generate::BASE_TIME).collect();
        assert_eq!(decode(&bytes(&events)).unwrap(), events);
        assert_eq!(decode(&[]).unwrap(), []);
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_but_between_two_events_is_refused() {
        let events: Vec<_> = generate::events(5, generate::BASE_TIME).collect();
        let whole = bytes(&events);
        let ends: Vec<_> = (0..=5).map(|count| bytes(&events[..count]).len()).collect();
        for length in 0..=whole.len() {
            match decode(&whole[..length]) {
                Ok(read) => assert_eq!(ends[read.len()], length),
                Err(Fault::Truncated { at, .. }) => {
                    assert!(at <= length && !ends.contains(&length), "{length}");
                }
                Err(other) => panic!("{length}: {other:?}"),
            }
        }
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let mut unknown = bytes(&generate::events(1, 0).collect::<Vec<_>>());
        let place = unknown.len();
        unknown.push(7);
        let fault = decode(&unknown).unwrap_err();
        let error = FileError::new(Path::new("events"), fault);
        let expected =
            format!("events file events: expected a tag of 0, 1 or 2 at byte {place}, found 7");
        assert_eq!(error.to_string(), expected);

        let mut wrong = bytes(&generate::events(1, 0).collect::<Vec<_>>());
        wrong[13] = 0xff;
        assert!(matches!(decode(&wrong), Err(Fault::Text { at: 13 })));
    }
}
