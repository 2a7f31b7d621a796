//! A thread that waits for sockets in the name of tasks.
//!
//! It holds one entry for each socket that somebody waits for, and none for the others: a full job stops asking, and the
//! peer's window closes. A bell, the second end of a pair of sockets, brings it back when the entries have changed.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use levada_core::sync::Mutex;
use levada_core::{Clock, Moment, Wake};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::thread::{self, Joined};

/// Watches sockets on a thread of its own, which ends when this value is dropped.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    thread: Option<Joined>,
}

/// The place of a socket among those that are watched.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Ticket(u64);

struct Shared {
    state: Mutex<State>,
    bell: UnixStream,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    awaited: BTreeMap<Ticket, Awaited>,
    tickets: u64,
    ended: bool,
}

#[derive(Clone)]
struct Awaited {
    socket: Arc<dyn AsFd + Send + Sync>,
    flags: PollFlags,
    deadline: Moment,
    waker: Arc<dyn Wake>,
}

impl Watcher {
    pub(super) fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            bell,
            clock,
        });
        let watched = Arc::clone(&shared);
        let thread = thread::start("levada-network".to_owned(), move || watched.run(&heard));
        Ok(Self {
            shared,
            thread: Some(thread.map_err(io::Error::other)?),
        })
    }

    /// Wakes once, when the socket is ready or at the deadline; takes the place of what the ticket stood for.
    pub(super) fn watch(
        &self,
        ticket: &mut Option<Ticket>,
        socket: Arc<dyn AsFd + Send + Sync>,
        flags: PollFlags,
        deadline: Moment,
        waker: &Arc<dyn Wake>,
    ) {
        let mut state = self.shared.state.lock();
        let ticket = *ticket.get_or_insert_with(|| {
            state.tickets += 1;
            Ticket(state.tickets)
        });
        let awaited = Awaited {
            socket,
            flags,
            deadline,
            waker: Arc::clone(waker),
        };
        let same = |before: Awaited| before.flags == flags && before.deadline == deadline;
        // The thread looks at the entries again only if it must: a task that looks twice pays for one bell.
        if !state.awaited.insert(ticket, awaited).is_some_and(same) {
            drop(state);
            self.shared.ring();
        }
    }

    /// Watches no longer.
    pub(super) fn forget(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            // The thread may hold the socket while it waits, and with it the connection.
            self.shared.state.lock().awaited.remove(&ticket);
            self.shared.ring();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.ring();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

impl Shared {
    fn ring(&self) {
        // A bell that cannot take another byte is ringing.
        let _ = (&self.bell).write(&[1]);
    }

    fn run(&self, heard: &UnixStream) {
        loop {
            let state = self.state.lock();
            if state.ended {
                return;
            }
            let awaited: Vec<_> = state
                .awaited
                .iter()
                .map(|(ticket, awaited)| (*ticket, awaited.clone()))
                .collect();
            drop(state);
            let ready = self.wait(heard, &awaited);
            self.wake(ready);
        }
    }

    /// Waits until a socket is ready, a deadline has come, or the bell rings.
    fn wait(&self, heard: &UnixStream, awaited: &[(Ticket, Awaited)]) -> Vec<Ticket> {
        let mut polled = vec![PollFd::new(heard, PollFlags::IN)];
        polled.extend(
            awaited
                .iter()
                .map(|(_, one)| PollFd::from_borrowed_fd(one.socket.as_fd(), one.flags)),
        );
        let earliest = awaited.iter().map(|(_, one)| one.deadline).min();
        let timeout = match earliest {
            None | Some(Moment::NEVER) => None,
            Some(deadline) => {
                let left = deadline - self.clock.now();
                // A timespec holds 292 billion years of seconds.
                Some(Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                })
            }
        };
        // Signals and errors alike: everybody who waits looks again, which is allowed to be for nothing.
        let failed = rustix::event::poll(&mut polled, timeout.as_ref()).is_err();
        let mut bytes = [0; 64];
        while matches!((&*heard).read(&mut bytes), Ok(n) if n == bytes.len()) {}
        let now = self.clock.now();
        polled[1..]
            .iter()
            .zip(awaited)
            .filter(|(polled, (_, one))| {
                failed || !polled.revents().is_empty() || one.deadline <= now
            })
            .map(|(_, (ticket, _))| *ticket)
            .collect()
    }

    fn wake(&self, ready: Vec<Ticket>) {
        let mut state = self.state.lock();
        let woken: Vec<_> = ready
            .into_iter()
            .filter_map(|ticket| state.awaited.remove(&ticket))
            .collect();
        drop(state);
        // Whoever is woken may ask to be woken again.
        for awaited in woken {
            awaited.waker.wake();
        }
    }
}
