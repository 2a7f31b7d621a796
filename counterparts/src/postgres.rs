//! A PostgreSQL server of the test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::{await_until, free_port, tool};

/// A server with a data directory of its own, on a Unix socket. It is killed when this is dropped, and its files go with it.
///
/// PostgreSQL does not run as root, so then it runs as `nobody`.
#[derive(Debug)]
pub struct Postgres {
    /// Holds the data and the socket.
    dir: TempDir,
    bin: PathBuf,
    port: u16,
    /// None while it is down.
    server: Option<Child>,
}

impl Postgres {
    /// Makes a database and starts its server.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("levada-pg-")
            .tempdir_in("/tmp")
            .expect("there is room for a database in /tmp");
        // The server's own user must get in.
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(dir.path(), open).expect("the directory is ours");
        let mut postgres = Self {
            dir,
            bin: bin(),
            port: free_port(),
            server: None,
        };
        let made = postgres
            .command("initdb")
            .args([
                "--auth=trust",
                "--username=levada",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .arg("-D")
            .arg(postgres.data())
            .output()
            .expect("initdb can be started");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        postgres.restart();
        postgres
    }

    /// Starts the server again after [`kill`](Postgres::kill), and waits until it takes connections.
    ///
    /// # Panics
    /// If it does not.
    pub fn restart(&mut self) {
        assert!(self.server.is_none(), "one server at a time");
        let log = fs::File::create(self.dir.path().join("log")).expect("the directory is ours");
        let server = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-p")
            .arg(self.port.to_string())
            .arg("-k")
            .arg(self.dir.path())
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=20",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.server = Some(server.expect("postgres can be started"));
        await_until("PostgreSQL takes connections", || {
            let ended = self
                .server
                .as_mut()
                .and_then(|server| server.try_wait().ok()?);
            assert!(ended.is_none(), "PostgreSQL has ended: {}", self.log());
            self.psql("SELECT 1").is_ok()
        });
    }

    /// Kills the server and all of its processes at once (SIGKILL): what is not committed is lost.
    ///
    /// # Panics
    /// If it is not running.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("the server runs");
        // Its backends end by themselves when their postmaster has gone, but not at once: they are killed first.
        let children = format!("/proc/{0}/task/{0}/children", server.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        let _ = server.kill();
        let _ = server.wait();
        for child in children.split_whitespace() {
            let _ = Command::new("kill")
                .args(["-9", child])
                .stderr(Stdio::null())
                .status();
        }
        await_until("the backends have gone", || {
            children
                .split_whitespace()
                .all(|child| !Path::new("/proc").join(child).exists() || is_zombie(child))
        });
        // A server that is killed leaves its lock behind, and another one would have to find out that it is stale.
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// The connection string.
    #[must_use]
    pub fn address(&self) -> String {
        format!(
            "host={} port={} user=levada dbname=postgres",
            self.dir.path().display(),
            self.port
        )
    }

    /// The connection string by TCP.
    #[must_use]
    pub fn tcp_address(&self) -> String {
        format!(
            "host=localhost port={} user=levada dbname=postgres",
            self.port
        )
    }

    /// Makes a user who may do everything, with this password.
    ///
    /// # Panics
    /// If the server refuses it.
    pub fn add_user(&self, user: &str, password: &str) {
        self.sql(&format!(
            "CREATE ROLE \"{user}\" SUPERUSER LOGIN PASSWORD '{password}'"
        ));
        let file = self.data().join("pg_hba.conf");
        let rules = fs::read_to_string(&file).expect("initdb has made it");
        let rules = format!("local all \"{user}\" scram-sha-256\n{rules}");
        fs::write(&file, rules).expect("the directory is ours");
        self.sql("SELECT pg_reload_conf()");
        await_until("the server knows the rule", || {
            let refused = self
                .client()
                .arg("-w")
                .args(["-U", user, "-c", "SELECT 1"])
                .output();
            refused.is_ok_and(|refused| !refused.status.success())
        });
    }

    /// Runs SQL, and returns what `psql` prints: a line for each row, its columns divided by `|`.
    ///
    /// # Panics
    /// If the server refuses it.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        match self.psql(sql) {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    /// A session of `psql` that reads its statements from its standard input.
    ///
    /// # Panics
    /// If `psql` cannot be started.
    #[must_use]
    pub fn session(&self) -> Child {
        self.client()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql can be started")
    }

    fn psql(&self, sql: &str) -> Result<String, String> {
        let output = self.client().args(["-c", sql]).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn client(&self) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "levada",
            "-d",
            "postgres",
            "-h",
        ])
        .arg(self.dir.path())
        .arg("-p")
        .arg(self.port.to_string());
        psql
    }

    /// One of the server's programs, as a user that it runs as.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new(tool("setpriv", "util-linux"));
        command
            .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"])
            .arg(program)
            .current_dir(self.dir.path());
        command
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.kill();
        }
    }
}

/// Where Debian puts the newest server's programs.
fn bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let bins = versions.filter_map(|version| {
        let version = version.ok()?;
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let bin = version.path().join("bin");
        bin.join("initdb").is_file().then_some((number, bin))
    });
    match bins.max() {
        Some((_, bin)) => bin,
        None => panic!("`initdb` is missing: apt-get install postgresql"),
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn is_zombie(process: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(process).join("stat"));
    stat.is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z'))
    })
}
