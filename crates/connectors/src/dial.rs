//! Making a connection to a host that may have several addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use levada_core::Wake;
use levada_core::net::{Connection, Network, Ready};

/// The default for how long each address has to answer.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Tries one address after the other.
pub(crate) struct Dial {
    addresses: Vec<SocketAddr>,
    /// The address to try after the one that is being tried.
    next: usize,
    trying: Option<Box<dyn Connection>>,
    time_limit: Duration,
}

impl Dial {
    pub(crate) fn new(addresses: Vec<SocketAddr>, time_limit: Duration) -> Self {
        assert!(!addresses.is_empty(), "a host has an address");
        Self {
            addresses,
            next: 0,
            trying: None,
            time_limit,
        }
    }

    /// Goes on. None if an answer is awaited; then the waker is woken when it has come.
    pub(crate) fn poll(
        &mut self,
        network: &dyn Network,
        waker: &Arc<dyn Wake>,
    ) -> io::Result<Option<Box<dyn Connection>>> {
        loop {
            match self.advance(network, waker) {
                // The error of the last address is told.
                Err(_) if self.next < self.addresses.len() => self.trying = None,
                other => return other,
            }
        }
    }

    fn advance(
        &mut self,
        network: &dyn Network,
        waker: &Arc<dyn Wake>,
    ) -> io::Result<Option<Box<dyn Connection>>> {
        let mut connection = match self.trying.take() {
            Some(connection) => connection,
            None => {
                let address = self.addresses[self.next];
                self.next += 1;
                network.connect(address, self.time_limit)?
            }
        };
        if connection.is_connected()? {
            return Ok(Some(connection));
        }
        connection.wake_when(Ready::Write, waker)?;
        self.trying = Some(connection);
        Ok(None)
    }
}
