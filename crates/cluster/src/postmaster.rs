use std::fs::{File, read_to_string};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::error::Tried;
use crate::guardian::Guardian;
use crate::home::Home;
use crate::privileges::Runner;
use crate::{Binaries, Cluster, Error, Options, find_binaries};

/// The bootstrap superuser of every private cluster.
pub const ADMIN: &str = "ordermesh";

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

// reliability.md 5: nothing may sit in a transaction; WAL sized so that a burst does not force checkpoints.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("cluster_name", "ordermesh"),
    ("max_connections", "300"),
    ("shared_buffers", "256MB"),
    ("wal_level", "replica"),
    ("max_wal_size", "2GB"),
    ("checkpoint_timeout", "15min"),
    ("synchronous_commit", "on"),
    ("idle_in_transaction_session_timeout", "5s"),
    // Below the roles' lock_timeout, so that a deadlock shows as one (and is retried) before a wait runs out.
    ("deadlock_timeout", "200ms"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("random_page_cost", "1.1"),
    // A plan made while a table was empty is kept until the table is analyzed (docs/adr/0009): ten seconds, not a minute.
    ("autovacuum_naptime", "10s"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
    ("log_lock_waits", "on"),
];

impl Cluster {
    /// Starts the cluster of a directory, creating it when there is none; returns when it takes connections.
    ///
    /// # Errors
    /// Any [`Error`]; each names its fix.
    pub fn start(options: &Options) -> Result<Self, Error> {
        Self::start_with(options, &[])
    }

    /// The same with settings of PostgreSQL that take the place of ours, such as `ssl` or `listen_addresses`.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with(options: &Options, settings: &[(&str, &str)]) -> Result<Self, Error> {
        let binaries = find_binaries()?;
        let runner = Runner::choose()?;
        let (home, lock) = Home::open(options.root.as_deref(), &runner)?;
        stop_orphan(&home)?;
        if !home.data().join("PG_VERSION").exists() {
            init(&binaries, &runner, &home)?;
        }
        let server = spawn(&binaries, &runner, &home, options.fsync, settings)?;
        let guardian = Guardian::post(&home, server.id())?;
        let mut cluster = Self { home, server: Some(server), guardian: Some(guardian), _lock: lock };
        cluster.await_ready()?;
        Ok(cluster)
    }

    /// Stops the server, at most half a minute; a temporary directory is removed.
    pub fn stop(mut self) {
        self.end();
    }

    /// Removes a cluster and its directory; false when there is none.
    ///
    /// # Errors
    /// [`Error::InUse`] while another process has it.
    pub fn erase(root: &Path) -> Result<bool, Error> {
        if !Home::is_one(root) {
            return Ok(false);
        }
        let (home, _lock) = Home::open(Some(root), &Runner::choose()?)?;
        stop_orphan(&home)?;
        std::fs::remove_dir_all(&home.root).tried(|| format!("remove {}", home.root.display()))?;
        Ok(true)
    }

    /// Leaves a temporary directory where it is, for somebody to look at.
    ///
    /// # Errors
    /// When the mark cannot be written.
    pub fn keep(&self) -> Result<(), Error> {
        let mark = self.home.kept();
        File::create(&mark).map(drop).tried(|| format!("create {}", mark.display()))
    }

    /// Process id of the server, for whoever measures it.
    pub fn postmaster_pid(&self) -> Option<u32> {
        read_to_string(self.home.pid_file()).ok()?.lines().next()?.trim().parse().ok()
    }

    fn await_ready(&mut self) -> Result<(), Error> {
        let end = Instant::now() + START_LIMIT;
        let pid_file = self.home.pid_file();
        while Instant::now() < end {
            let server = self.server.as_mut().expect("a starting cluster has a server");
            if server.try_wait().tried(|| "look after postgres".to_owned())?.is_some() {
                break;
            }
            // The eighth line says how far the server is.
            if read_to_string(&pid_file).is_ok_and(|text| text.lines().nth(7).is_some_and(|s| s.trim() == "ready")) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(Error::NotStarted { log: self.home.log(), tail: tail(&self.home.log()) })
    }

    fn end(&mut self) {
        // First the guardian: later it could signal a stranger that got the server's number.
        if let Some(guardian) = self.guardian.take() {
            guardian.dismiss();
        }
        if let Some(mut server) = self.server.take() {
            end_child(&mut server);
            let socket = self.home.socket();
            if !socket.starts_with(&self.home.root) {
                let _gone_already = std::fs::remove_dir_all(socket);
            }
        }
        self.home.remove();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}

fn init(binaries: &Binaries, runner: &Runner, home: &Home) -> Result<(), Error> {
    // What an interrupted initdb left has no PG_VERSION at the end and is refused by the next one.
    if home.data().exists() {
        std::fs::remove_dir_all(home.data()).tried(|| format!("clear {}", home.data().display()))?;
    }
    let mut command = binaries.program("initdb");
    command.args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--username", ADMIN, "--pgdata"]);
    command.arg(home.data()).current_dir(&home.root);
    runner.step_down(&mut command);
    let output = command.output().tried(|| "run initdb".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Init { output: last_lines(&String::from_utf8_lossy(&output.stderr)) })
}

fn spawn(
    binaries: &Binaries,
    runner: &Runner,
    home: &Home,
    fsync: bool,
    settings: &[(&str, &str)],
) -> Result<Child, Error> {
    let log = File::create(home.log()).tried(|| format!("create {}", home.log().display()))?;
    let errors = log.try_clone().tried(|| "share the log".to_owned())?;
    let mut command = binaries.program("postgres");
    command.arg("-D").arg(home.data()).arg("-k").arg(home.socket());
    // Of two values of a setting the server takes the last.
    for (name, value) in SETTINGS.iter().chain(settings) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    if !fsync {
        command.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
    }
    // A group of its own: Ctrl-C in the terminal must reach it after we have drained, not before.
    command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(&home.root).process_group(0);
    command.env_remove("PGOPTIONS").env_remove("PGPORT");
    runner.step_down(&mut command);
    command.spawn().tried(|| "start postgres".to_owned())
}

fn end_child(server: &mut Child) {
    let pid = Pid::from_child(server);
    for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
        let _gone_already = kill_process(pid, signal);
        let end = Instant::now() + STOP_LIMIT;
        while Instant::now() < end {
            if !matches!(server.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Stops the server of a process that was killed before it could.
pub(crate) fn stop_orphan(home: &Home) -> Result<(), Error> {
    let pid_file = home.pid_file();
    let Ok(text) = read_to_string(&pid_file) else { return Ok(()) };
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw) else {
        return Ok(());
    };
    if !serves(pid, &home.data()) {
        // The number belongs to somebody else now, and PostgreSQL would refuse to start because of it.
        return std::fs::remove_file(&pid_file).tried(|| format!("remove {}", pid_file.display()));
    }
    for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
        let _gone_already = kill_process(pid, signal);
        let end = Instant::now() + STOP_LIMIT;
        while Instant::now() < end {
            if !serves(pid, &home.data()) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }
    Err(Error::InUse(home.root.clone()))
}

fn serves(pid: Pid, data: &Path) -> bool {
    if test_kill_process(pid).is_err() {
        return false;
    }
    // Zombies have an empty command line. Where there is no /proc the number has to do.
    match std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())) {
        Ok(line) => String::from_utf8_lossy(&line).contains(&*data.to_string_lossy()),
        Err(_) => !Path::new("/proc/self").exists(),
    }
}

fn tail(log: &Path) -> String {
    last_lines(&read_to_string(log).unwrap_or_default())
}

fn last_lines(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}
