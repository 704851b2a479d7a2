//! One transient, delegated scope for a whole run; our own processes move in.
//!
//! ```text
//! for each bus:  connect ── is a systemd on it, does it know us by our pid? ──▶ next bus | OtherPids
//!                   │          (none on any, but a user manager runs: it is on its way to the last one)
//!                   │ yes
//! listen for JobRemoved                  before the call: a fast job would end unheard
//!                   │
//! StartTransientUnit ── UnitExists ──▶ next name     ── unknown property ──▶ once more with the least
//!                   │ job                            ── anything else    ──▶ Denied, Refused
//! JobRemoved(job) ── not "done" ──▶ JobFailed
//!                   │ done
//! /proc/PID/cgroup shows the unit ── no ──▶ NotMoved
//!                   │ yes
//!                 Scope
//! ```
//!
//! One call a run, never one a test: it costs milliseconds. The scope ends with its last process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use zbus::zvariant::{OwnedObjectPath, Value};
use zbus::{Connection, DBusError, Proxy, connection, fdo};

use super::bus::{self, Bus, View};
use super::refusal::{Refusal, ScopeError, Tried, judge};

pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";

/// The whole conversation. A busy emulated machine takes one second; a hung manager should not take more.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a user manager may take to come to its bus, which whoever connects first has started: a tenth of a second.
const COMING: Duration = Duration::from_secs(3);

/// Between SIGTERM and SIGKILL when systemd stops the scope; its default is 90 s.
const STOP: Duration = Duration::from_secs(1);

/// Names of one process that are tried: its own earlier scopes may still be around.
const NAMES: u32 = 8;

/// What is asked of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeRequest {
    /// Who moves in: ourselves and the guardian. All threads of each come along.
    pub pids: Vec<u32>,
    /// Shown by `systemctl status`.
    pub description: String,
    /// Where the scope is to stand; systemd's default (`app.slice`, `system.slice`) if `None`.
    pub slice: Option<String>,
}

/// A scope that we are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `sandtest-PID.scope`.
    pub unit: String,
    /// Who gave it.
    pub bus: Bus,
}

/// Asks systemd for a delegated scope, and returns once the processes are in it.
///
/// Blocks; must not be called from within an async runtime.
pub fn enter_scope(request: ScopeRequest) -> Result<Scope, ScopeError> {
    // A runtime of our own, on this thread, gone when we return. zbus is built with async-io as well (cgroups-rs
    // turns it on) and would start a thread for it if no tokio runtime were entered when it connects.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ScopeError::Setup(error.to_string()))?;
    let scope = runtime.block_on(async {
        let conversation = tokio::time::timeout(PATIENCE, converse(&request));
        conversation.await.unwrap_or(Err(ScopeError::TimedOut { after: PATIENCE }))
    })?;
    for pid in &request.pids {
        let path = format!("/proc/{pid}/cgroup");
        let found = fs::read_to_string(&path).unwrap_or_else(|error| format!("{path}: {error}"));
        if !shows(&found, &scope.unit) {
            return Err(ScopeError::NotMoved { pid: *pid, unit: scope.unit, found: found.trim().to_owned() });
        }
    }
    Ok(scope)
}

async fn converse(request: &ScopeRequest) -> Result<Scope, ScopeError> {
    let (connection, bus) = connect_to_any().await?;
    ask(&connection, bus, request).await
}

/// A connection to the first bus that has a systemd on it.
pub(super) async fn connect_to_any() -> Result<(Connection, Bus), ScopeError> {
    let uid = nix::unistd::geteuid().as_raw();
    let view = View { uid, variable: &|name| std::env::var(name).ok(), exists: &Path::exists };
    let mut tried = Vec::new();
    let candidates = bus::candidates(&view);
    let later = candidates.last().filter(|_| bus::manager_runs(&view));
    let now = candidates.iter().map(|bus| (bus, Duration::ZERO));
    for (bus, patience) in now.chain(later.map(|bus| (bus, COMING))) {
        match connect(bus, patience).await {
            Ok(connection) => return Ok((connection, bus.clone())),
            Err(Unfit::Pids { theirs }) => {
                return Err(ScopeError::OtherPids { ours: std::process::id(), theirs });
            }
            Err(Unfit::Bus(answer)) => tried.push(Tried { bus: bus.clone(), answer }),
        }
    }
    tried.dedup();
    Err(ScopeError::NoBus { uid, tried, manager_without_bus: bus::manager_without_bus(&view) })
}

/// Why a bus can't be used.
enum Unfit {
    Bus(String),
    Pids { theirs: u32 },
}

impl<E: std::fmt::Display> From<E> for Unfit {
    fn from(error: E) -> Unfit {
        Unfit::Bus(error.to_string())
    }
}

async fn connect(bus: &Bus, patience: Duration) -> Result<Connection, Unfit> {
    let connection = connection::Builder::address(bus.address.as_str())?.build().await?;
    let daemon = fdo::DBusProxy::new(&connection).await?;
    let name = connection.unique_name().ok_or("gave us no name")?.clone();
    let (found, pid) = tokio::join!(
        // `dbus-run-session` makes buses without one.
        daemon.name_has_owner(SYSTEMD.try_into()?),
        daemon.get_connection_unix_process_id(name.into_inner().into()),
    );
    if !found? && !comes(&daemon, patience).await? {
        return Err(Unfit::Bus("no systemd on it".to_owned()));
    }
    // In a container with a PID namespace of its own our number is some other process of the host.
    match pid {
        Ok(theirs) if theirs != std::process::id() => Err(Unfit::Pids { theirs }),
        Err(_) => Err(Unfit::Pids { theirs: 0 }),
        Ok(_) => Ok(connection),
    }
}

/// Whether systemd comes to this bus within `patience`.
async fn comes(daemon: &fdo::DBusProxy<'_>, patience: Duration) -> Result<bool, Unfit> {
    if patience.is_zero() {
        return Ok(false);
    }
    let mut owners = daemon.receive_name_owner_changed_with_args(&[(0, SYSTEMD)]).await?;
    // It may have come before we listened.
    if daemon.name_has_owner(SYSTEMD.try_into()?).await? {
        return Ok(true);
    }
    // It had none, so the first change is its coming.
    Ok(tokio::time::timeout(patience, owners.next()).await.is_ok_and(|change| change.is_some()))
}

async fn ask(connection: &Connection, bus: Bus, request: &ScopeRequest) -> Result<Scope, ScopeError> {
    let refused = |unit: &str, error: &zbus::Error| ScopeError::Refused {
        unit: unit.to_owned(),
        message: words(error).1,
    };
    let first = unit_name(1);
    let manager =
        Proxy::new(connection, SYSTEMD, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
            .await
            .map_err(|error| refused(&first, &error))?;
    let mut removed = manager.receive_signal("JobRemoved").await.map_err(|error| refused(&first, &error))?;

    let (mut number, mut least) = (1, false);
    let (unit, job) = loop {
        let unit = unit_name(number);
        let auxiliary: Vec<(&str, Vec<(&str, Value<'_>)>)> = Vec::new();
        let call = (unit.as_str(), "fail", properties(request, least), auxiliary);
        let error = match manager.call::<_, _, OwnedObjectPath>("StartTransientUnit", &call).await {
            Ok(job) => break (unit, job),
            Err(error) => error,
        };
        let (name, message) = words(&error);
        match judge(&name, &message) {
            Refusal::NameTaken if number < NAMES => number += 1,
            Refusal::UnknownProperty if !least => least = true,
            Refusal::Denied => return Err(ScopeError::Denied { bus, message }),
            _ => return Err(ScopeError::Refused { unit, message }),
        }
    };
    // When the call returns, we have usually not moved yet: the job has.
    while let Some(signal) = removed.next().await {
        let body = signal.body();
        let (_, path, _, result): (u32, OwnedObjectPath, String, String) =
            body.deserialize().map_err(|error| refused(&unit, &error))?;
        match (path == job, result.as_str()) {
            (false, _) => continue,
            (true, "done") => return Ok(Scope { unit, bus }),
            (true, _) => return Err(ScopeError::JobFailed { unit, result }),
        }
    }
    Err(ScopeError::Refused { unit, message: "the bus closed before the job ended".to_owned() })
}

/// `sandtest-PID.scope`, then `sandtest-PID-2.scope` and so on.
fn unit_name(number: u32) -> String {
    match (std::process::id(), number) {
        (pid, 1) => format!("sandtest-{pid}.scope"),
        (pid, number) => format!("sandtest-{pid}-{number}.scope"),
    }
}

fn properties(request: &ScopeRequest, least: bool) -> Vec<(&'static str, Value<'_>)> {
    let mut properties = vec![
        ("PIDs", Value::from(request.pids.clone())),
        // All controllers that the manager has itself; a list (DelegateControllers) adds nothing to that.
        ("Delegate", Value::from(true)),
        // Its default puts a pids.max on the scope, above every limit of ours.
        ("TasksMax", Value::from(u64::MAX)),
    ];
    if !least {
        properties.extend([
            ("Description", Value::from(request.description.as_str())),
            ("CollectMode", Value::from("inactive-or-failed")),
            ("TimeoutStopUSec", Value::from(STOP.as_micros() as u64)),
            // An OOM kill inside is an outcome of a test, never the end of the run.
            ("OOMPolicy", Value::from("continue")),
        ]);
        properties.extend(request.slice.as_deref().map(|slice| ("Slice", Value::from(slice))));
    }
    properties
}

/// Name and text of a D-Bus error.
pub(super) fn words(error: &zbus::Error) -> (String, String) {
    match error {
        zbus::Error::MethodError(name, text, _) => {
            (name.to_string(), text.clone().unwrap_or_else(|| name.to_string()))
        }
        zbus::Error::FDO(error) => (error.name().to_string(), error.to_string()),
        other => (String::new(), other.to_string()),
    }
}

/// Whether a `/proc/PID/cgroup` stands in the unit: on the v2 line, or on systemd's own v1 line.
fn shows(cgroup: &str, unit: &str) -> bool {
    cgroup
        .lines()
        .filter_map(|line| {
            line.strip_prefix("0::").or_else(|| line.split_once(":name=systemd:").map(|(_, p)| p))
        })
        .any(|path| path.split('/').any(|part| part == unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_in_the_unit_or_below_it() {
        let unit = "sandtest-7.scope";
        assert!(shows("0::/user.slice/user@1.service/app.slice/sandtest-7.scope\n", unit));
        assert!(shows("0::/../../app.slice/sandtest-7.scope/supervisor\n", unit));
        assert!(shows("4:memory:/x\n1:name=systemd:/system.slice/sandtest-7.scope\n0::/\n", unit));
    }

    #[test]
    fn a_process_elsewhere_is_not_taken_for_moved() {
        for cgroup in ["", "0::/\n", "0::/a/sandtest-77.scope\n", "4:memory:/sandtest-7.scope\n0::/x\n"] {
            assert!(!shows(cgroup, "sandtest-7.scope"), "{cgroup:?}");
        }
    }

    #[test]
    fn an_older_systemd_gets_what_it_can_not_do_without() {
        let request =
            ScopeRequest { pids: vec![7], description: "a run".into(), slice: Some("sandtest.slice".into()) };
        let names = |least| properties(&request, least).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(true), ["PIDs", "Delegate", "TasksMax"]);
        assert!(names(false).contains(&"Slice"));
        assert!(
            !properties(&ScopeRequest { slice: None, ..request }, false).iter().any(|(n, _)| *n == "Slice")
        );
    }
}
