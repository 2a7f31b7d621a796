//! Ports of this machine.

use std::fs;
use std::net::TcpListener;

use crate::await_until;

/// A port that nobody listens on.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    address.port()
}

/// Waits until somebody listens on a port. It does not connect: a listener may serve its first peer only.
///
/// # Panics
/// If nobody does for half a minute.
#[track_caller]
pub fn await_listener(port: u16) {
    const LISTENING: &str = "0A";
    let suffix = format!(":{port:04X}");
    await_until("somebody listens", || {
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        sockets.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().unwrap_or_default();
            local.ends_with(&suffix) && fields.nth(1) == Some(LISTENING)
        })
    });
}
