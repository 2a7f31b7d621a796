//! A PostgreSQL server, behind a session for each writer.
//!
//! A session is a task of its writer's own thread: a current-thread runtime that is driven while the writer waits, and by
//! nothing else. So there is no thread to start, and a cancel ends every wait. Names of hosts are resolved by the thread
//! itself, since the runtime would start another one for it.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use levada_core::BoxError;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::DbError;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};

use super::claim;
use super::database::{
    Claimed, Column, Connection, Database, Fault, Found, Outcome, Refusal, Shape,
};
use super::error::{PostgresError, cut};
use super::queries::{
    ALIKE, CLAIM, COLUMNS, COUNT, HOLDER, NOTE, REMOVE, SET_UP, STAY, TABLE, UNIQUE,
};
use super::staging::Epoch;
use super::statement::{Statement, Table};

/// How long a connection may take, unless the connection string says so.
const CONNECT_SECONDS: u64 = 10;

/// How long a peer may be silent before it counts as gone, unless the connection string says so.
const SILENCE_SECONDS: u64 = 30;

/// How long the server may take to hear that a statement is no longer wanted.
const CANCEL_SECONDS: u64 = 2;

/// A server, by its connection string.
#[derive(Clone)]
pub struct Server {
    connection: String,
    password: Option<String>,
    cancelled: Arc<watch::Sender<bool>>,
}

/// A session with a [`Server`].
pub struct Session {
    client: Client,
    /// The statement that was written last, with its text.
    prepared: Option<(String, tokio_postgres::Statement)>,
    cancelled: watch::Receiver<bool>,
    runtime: Runtime,
}

/// One way to reach the server.
struct Address {
    host: Host,
    ip: Option<IpAddr>,
    port: u16,
}

impl Server {
    pub(super) fn new(connection: String) -> Self {
        Self {
            connection,
            password: None,
            cancelled: Arc::new(watch::Sender::new(false)),
        }
    }

    pub(super) fn with_password(self, password: String) -> Self {
        Self {
            password: Some(password),
            ..self
        }
    }

    fn config(&self) -> Result<Config, PostgresError> {
        let text = &self.connection;
        let mut config: Config = text.parse().map_err(|error: tokio_postgres::Error| {
            // What cannot be parsed may be a piece of a password.
            let secret = text.contains("password") || text.contains('@');
            let reason = std::error::Error::source(&error).filter(|_| !secret);
            PostgresError::BadAddress {
                reason: reason.map(ToString::to_string),
            }
        })?;
        let bad = |reason: &str| PostgresError::BadAddress {
            reason: Some(reason.to_owned()),
        };
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(bad("it names no host"));
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(bad("sslmode=require, but there is no TLS"));
        }
        if let Some(password) = &self.password {
            config.password(password);
        }
        Ok(config)
    }
}

impl Database for Server {
    type Connection = Session;

    fn connect(&self) -> Result<Session, Fault> {
        let config = self
            .config()
            .map_err(|error| Fault::Lasting(error.into()))?;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| Fault::Passing(error.into()))?;
        let mut last: Option<Fault> = None;
        for address in addresses(&config).map_err(Fault::Passing)? {
            let mut cancelled = self.cancelled.subscribe();
            let config = reaching(&config, &address);
            let connecting = async {
                let (client, connection) = config.connect(NoTls).await?;
                // It ends with the client; its error is the client's next one too.
                tokio::spawn(async move {
                    let _ = connection.await;
                });
                Ok(client)
            };
            match runtime.block_on(unless(&mut cancelled, connecting)) {
                None => return Err(Fault::Cancelled),
                Some(Ok(client)) => {
                    return Ok(Session {
                        client,
                        prepared: None,
                        cancelled,
                        runtime,
                    });
                }
                Some(Err(error)) => last = Some(connect_fault(error)),
            }
        }
        Err(last.unwrap_or_else(|| Fault::Passing("its host has no address".into())))
    }

    fn place(&self) -> String {
        let Ok(config) = self.config() else {
            return "an unknown place".to_owned();
        };
        let mut place = String::new();
        for (i, host) in config.get_hosts().iter().enumerate() {
            if i > 0 {
                place.push(',');
            }
            match host {
                Host::Tcp(name) => place.push_str(name),
                Host::Unix(path) => place.push_str(&path.to_string_lossy()),
            }
            place.push_str(&format!(":{}", port(&config, i)));
        }
        if let Some(name) = config.get_dbname() {
            place.push('/');
            place.push_str(name);
        }
        place
    }

    fn pause(&self, delay: Duration) {
        let mut cancelled = self.cancelled.subscribe();
        let Ok(runtime) = Builder::new_current_thread().enable_time().build() else {
            return;
        };
        runtime.block_on(async {
            // A cancel ends it.
            let _ = unless(&mut cancelled, tokio::time::sleep(delay)).await;
        });
    }

    fn begin(&self) {
        self.cancelled.send_replace(false);
    }

    fn cancel(&self) {
        self.cancelled.send_replace(true);
    }
}

impl Session {
    fn query(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Fault> {
        let answer = self.client.query(sql, parameters);
        wait(&self.runtime, &self.client, &mut self.cancelled, answer)
    }

    fn execute(&mut self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, Fault> {
        let answer = self.client.execute(sql, parameters);
        wait(&self.runtime, &self.client, &mut self.cancelled, answer)
    }

    fn simple(&mut self, sql: &str) -> Result<(), Fault> {
        let answer = self.client.batch_execute(sql);
        wait(&self.runtime, &self.client, &mut self.cancelled, answer)
    }

    /// The statement of that text, prepared once.
    fn prepare(&mut self, sql: String) -> Result<tokio_postgres::Statement, Fault> {
        if let Some((text, prepared)) = &self.prepared
            && *text == sql
        {
            return Ok(prepared.clone());
        }
        let answer = self.client.prepare(&sql);
        let prepared = wait(&self.runtime, &self.client, &mut self.cancelled, answer)?;
        self.prepared = Some((sql, prepared.clone()));
        Ok(prepared)
    }
}

impl Connection for Session {
    fn look(&mut self, table: &Table) -> Result<Found, Fault> {
        let rows = self.query(TABLE, &[&table.quoted()])?;
        let Some(row) = rows.first() else {
            let alike = self.query(ALIKE, &[&table.name(), &table.schema()])?;
            let alike = alike.first().map(|row| row.get(0));
            return Ok(Found::Nothing { alike });
        };
        let oid: u32 = row.get(0);
        let (can_insert, can_update) = (row.get(1), row.get(2));
        let columns = self.query(COLUMNS, &[&oid])?;
        let columns = columns.iter().map(|row| Column {
            name: row.get(0),
            kind: row.get(1),
            required: row.get(2),
            generated: row.get(3),
        });
        let columns = columns.collect();
        let unique = self.query(UNIQUE, &[&oid])?;
        Ok(Found::Shape(Shape {
            columns,
            unique: unique.iter().map(|row| row.get(0)).collect(),
            can_insert,
            can_update,
        }))
    }

    fn write(&mut self, statement: &Statement, rows: &str) -> Result<(), Fault> {
        let prepared = self.prepare(statement.sql())?;
        let parameters: [&(dyn ToSql + Sync); 1] = [&rows];
        let answer = self.client.execute(&prepared, &parameters);
        wait(&self.runtime, &self.client, &mut self.cancelled, answer)?;
        Ok(())
    }

    fn set_up(&mut self) -> Result<(), Fault> {
        self.simple(SET_UP)
    }

    fn claim(&mut self, sink: &str) -> Result<Claimed, Fault> {
        let number = claim::number(sink);
        let taken = self.query(CLAIM, &[&number])?;
        if taken.first().is_some_and(|row| row.get(0)) {
            self.simple(STAY)?;
            return Ok(Claimed::Ours);
        }
        let holder = self.query(HOLDER, &[&number])?;
        let holder = holder.first().map(|row| row.get(0));
        Ok(Claimed::Other { holder })
    }

    fn stage(
        &mut self,
        statement: &Statement,
        Epoch {
            sink,
            run,
            subtask,
            number,
        }: &Epoch,
        part: i64,
        rows: &str,
    ) -> Result<(), Fault> {
        let prepared = self.prepare(statement.staging())?;
        let parameters: [&(dyn ToSql + Sync); 6] = [sink, run, subtask, number, &part, &rows];
        let answer = self.client.execute(&prepared, &parameters);
        wait(&self.runtime, &self.client, &mut self.cancelled, answer)?;
        Ok(())
    }

    fn publish(
        &mut self,
        statement: &Statement,
        Epoch {
            sink,
            run,
            subtask,
            number,
        }: &Epoch,
        parts: i64,
    ) -> Result<Outcome, Fault> {
        // A second one that runs at the same time waits here for the first one's end.
        self.simple("BEGIN")?;
        let is_new = self.execute(NOTE, &[sink, run, subtask, number])? > 0;
        if !is_new {
            self.simple("ROLLBACK")?;
            return Ok(Outcome::WasDone);
        }
        let found = self.query(COUNT, &[sink, run, subtask, number])?;
        let found: i64 = found.first().map_or(0, |row| row.get(0));
        if found != parts {
            self.simple("ROLLBACK")?;
            return Ok(Outcome::Missing { found });
        }
        let publication = statement.publication();
        for part in 0..parts {
            self.execute(&publication, &[sink, run, subtask, number, &part])?;
        }
        self.execute(REMOVE, &[sink, run, subtask, number])?;
        self.simple("COMMIT")?;
        Ok(Outcome::Done)
    }

    fn discard(&mut self, sink: &str, forget: bool) -> Result<(), Fault> {
        self.execute("DELETE FROM levada_staged WHERE sink = $1", &[&sink])?;
        if forget {
            self.execute("DELETE FROM levada_epochs WHERE sink = $1", &[&sink])?;
        }
        Ok(())
    }

    fn convert(&mut self, statement: &Statement, column: &str, row: &str) -> Result<(), Fault> {
        self.query(&statement.conversion(column), &[&row])?;
        Ok(())
    }
}

/// Waits for an answer, unless the job is cancelled. Then the server is told that nobody wants the answer any more: the
/// statement may be waiting for a lock, and would be carried out when it gets it.
fn wait<T>(
    runtime: &Runtime,
    client: &Client,
    cancelled: &mut watch::Receiver<bool>,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Fault> {
    if let Some(answer) = runtime.block_on(unless(cancelled, answer)) {
        return answer.map_err(fault);
    }
    let token = client.cancel_token();
    let limit = Duration::from_secs(CANCEL_SECONDS);
    // A server that does not hear it finds out when it answers.
    let _ =
        runtime.block_on(async { tokio::time::timeout(limit, token.cancel_query(NoTls)).await });
    Err(Fault::Cancelled)
}

/// What comes of the work, or none if the job is cancelled first.
async fn unless<T>(
    cancelled: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut stop = pin!(cancelled.wait_for(|cancelled| *cancelled));
    let mut work = pin!(work);
    poll_fn(|context| match stop.as_mut().poll(context) {
        // The sender lives as long as the sink, so this is no error.
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => work.as_mut().poll(context).map(Some),
    })
    .await
}

/// All ways to reach the server, in the order of the connection string.
fn addresses(config: &Config) -> Result<Vec<Address>, BoxError> {
    let ips = config.get_hostaddrs();
    let hosts = config.get_hosts();
    let mut addresses = Vec::new();
    let mut failed = None;
    for i in 0..hosts.len().max(ips.len()) {
        let port = port(config, i);
        let ip = ips.get(i).copied();
        let host = match (hosts.get(i), ip) {
            (Some(host), _) => host.clone(),
            (None, Some(ip)) => Host::Tcp(ip.to_string()),
            (None, None) => continue,
        };
        match &host {
            Host::Tcp(name) if ip.is_none() => match (name.as_str(), port).to_socket_addrs() {
                Ok(found) => addresses.extend(found.map(|address| Address {
                    host: host.clone(),
                    ip: Some(address.ip()),
                    port,
                })),
                Err(error) => failed = Some(format!("{name} has no address: {error}")),
            },
            _ => addresses.push(Address { host, ip, port }),
        }
    }
    match failed {
        Some(failed) if addresses.is_empty() => Err(failed.into()),
        _ => Ok(addresses),
    }
}

/// The port of a host: its own, the one for all, or the usual one.
fn port(config: &Config, host: usize) -> u16 {
    let ports = config.get_ports();
    *ports.get(host).or(ports.first()).unwrap_or(&5_432)
}

/// The same settings for one address only.
fn reaching(settings: &Config, address: &Address) -> Config {
    let mut config = Config::new();
    match &address.host {
        Host::Tcp(name) => config.host(name),
        Host::Unix(path) => config.host_path(path),
    };
    if let Some(ip) = address.ip {
        config.hostaddr(ip);
    }
    config.port(address.port).ssl_mode(SslMode::Disable);
    if let Some(user) = settings.get_user() {
        config.user(user);
    }
    if let Some(password) = settings.get_password() {
        config.password(password);
    }
    if let Some(name) = settings.get_dbname() {
        config.dbname(name);
    }
    if let Some(options) = settings.get_options() {
        config.options(options);
    }
    let seconds = Duration::from_secs;
    let usual = Config::new().get_keepalives_idle();
    let idle = settings.get_keepalives_idle();
    let silence = settings.get_tcp_user_timeout().copied();
    config
        .application_name(settings.get_application_name().unwrap_or("levada"))
        .target_session_attrs(settings.get_target_session_attrs())
        .channel_binding(settings.get_channel_binding())
        .connect_timeout(
            settings
                .get_connect_timeout()
                .copied()
                .unwrap_or(seconds(CONNECT_SECONDS)),
        )
        .tcp_user_timeout(silence.unwrap_or(seconds(SILENCE_SECONDS)))
        .keepalives(settings.get_keepalives())
        .keepalives_idle(if idle == usual {
            seconds(SILENCE_SECONDS)
        } else {
            idle
        });
    if let Some(interval) = settings.get_keepalives_interval() {
        config.keepalives_interval(interval);
    }
    if let Some(retries) = settings.get_keepalives_retries() {
        config.keepalives_retries(retries);
    }
    config
}

fn connect_fault(error: tokio_postgres::Error) -> Fault {
    if error.as_db_error().is_some() {
        return fault(error);
    }
    // Refused, timed out, reset: the server may come. Else the settings are wrong.
    let source = std::error::Error::source(&error);
    let passing =
        error.is_closed() || source.is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
    if passing {
        Fault::Passing(error.into())
    } else {
        Fault::Lasting(error.into())
    }
}

fn fault(error: tokio_postgres::Error) -> Fault {
    match error.as_db_error() {
        Some(said) => classify(refusal(said)),
        None => Fault::Passing(error.into()),
    }
}

fn refusal(said: &DbError) -> Box<Refusal> {
    Box::new(Refusal {
        code: said.code().code().to_owned(),
        message: cut(said.message()),
        detail: said.detail().map(cut),
        column: said.column().map(str::to_owned),
        constraint: said.constraint().map(str::to_owned),
    })
}

/// What follows from an SQLSTATE (PostgreSQL's manual, appendix A).
fn classify(refusal: Box<Refusal>) -> Fault {
    let code = refusal.code.clone();
    match code.as_str() {
        "21000" => return Fault::SameRow(refusal),
        // Serialization, deadlock, lock timeout, statement timeout, a standby, a pooler's other session.
        "40001" | "40P01" | "55P03" | "57014" | "25006" | "26000" => {
            return Fault::Passing(refusal.into());
        }
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        // Connections, resources, an operator's shutdown, the system.
        "08" | "53" | "57" | "58" => Fault::Passing(refusal.into()),
        // Data, constraints, `WITH CHECK OPTION`, limits of a row, a trigger's own error.
        "22" | "23" | "44" | "54" | "P0" => Fault::Row(refusal),
        _ => Fault::Lasting(refusal.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_sqlstate_means() {
        let check = |code: &str, expect: &str| {
            let refusal = Refusal {
                code: code.to_owned(),
                ..Refusal::default()
            };
            let fault = format!("{:?}", classify(Box::new(refusal)));
            assert!(fault.starts_with(expect), "{code}: {fault}");
        };
        check("21000", "SameRow");
        check("22P02", "Row");
        check("23505", "Row");
        check("P0001", "Row");
        check("40P01", "Passing");
        check("53300", "Passing");
        check("57P01", "Passing");
        check("42703", "Lasting");
        check("42P01", "Lasting");
        check("42501", "Lasting");
        check("", "Lasting");
    }

    #[test]
    fn a_place_has_no_password() {
        let check = |text: &str, expect: &str| {
            let server = Server::new(text.to_owned()).with_password("hush".to_owned());
            assert_eq!(server.place(), expect, "{text}");
        };
        check(
            "host=a,b port=1,2 user=u password=hush dbname=d",
            "a:1,b:2/d",
        );
        check("postgresql://u:hush@[::1]:7/d", "::1:7/d");
        check("host=/run/pg dbname=d", "/run/pg:5432/d");
        check("host=a password=h ush", "an unknown place");
    }

    #[test]
    fn what_cannot_be_parsed_does_not_show_a_password() {
        let check = |text: &str, expect: &str| {
            let error = Server::new(text.to_owned())
                .config()
                .unwrap_err()
                .to_string();
            assert!(error.contains(expect), "{text}: {error}");
            assert!(!error.contains("hush"), "{text}: {error}");
        };
        check("host=a password=my hush", "cannot be understood");
        check("postgresql://u:hush@h:port/d", "cannot be understood");
        check("host=a prot=5", "unknown option `prot`");
        check("dbname=d", "it names no host");
        check("host=a sslmode=require", "there is no TLS");
    }

    #[test]
    fn every_host_is_an_address() {
        let config: Config = "host=127.0.0.1,/run/pg port=7".parse().unwrap();
        let found: Vec<_> = addresses(&config)
            .unwrap()
            .into_iter()
            .map(|address| (address.ip.map(|ip| ip.to_string()), address.port))
            .collect();
        assert_eq!(found, [(Some("127.0.0.1".to_owned()), 7), (None, 7)]);
    }
}
