//! The conversation with systemd, held with a systemd of our own making on a private bus: what can't be had from
//! a real one on demand. It moves nobody, so that the best end here is `NotMoved`.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(missing_docs, reason = "the interface macro makes methods without any")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use sandtest::systemd::{ScopeRequest, enter_scope};
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, OwnedObjectPath, OwnedValue};

/// How the manager behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Obliging,
    /// Has this many of our names already.
    NamesTaken(usize),
    /// Knows only the oldest properties.
    Old,
    Denying,
    /// Takes the job and fails it.
    Failing,
}

/// Unit and names of the properties.
type Call = (String, Vec<String>);
type Calls = Arc<Mutex<Vec<Call>>>;

struct Manager {
    manner: Manner,
    calls: Calls,
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop")]
enum Refusal {
    #[zbus(error)]
    ZBus(zbus::Error),
    #[zbus(name = "systemd1.UnitExists")]
    UnitExists(String),
    #[zbus(name = "DBus.Error.PropertyReadOnly")]
    PropertyReadOnly(String),
    #[zbus(name = "DBus.Error.AccessDenied")]
    AccessDenied(String),
}

type Properties = Vec<(String, OwnedValue)>;

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    async fn start_transient_unit(
        &self,
        name: String,
        _mode: String,
        properties: Properties,
        _auxiliary: Vec<(String, Properties)>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, Refusal> {
        let names: Vec<String> = properties.into_iter().map(|(name, _)| name).collect();
        let call = {
            let mut calls = self.calls.lock().unwrap();
            calls.push((name.clone(), names.clone()));
            calls.len()
        };
        match self.manner {
            Manner::NamesTaken(count) if call <= count => return Err(Refusal::UnitExists("taken".into())),
            Manner::Old if names.iter().any(|n| n == "OOMPolicy") => {
                let words = "Cannot set property OOMPolicy, or unknown property.";
                return Err(Refusal::PropertyReadOnly(words.into()));
            }
            Manner::Denying => return Err(Refusal::AccessDenied("not you".into())),
            _ => {}
        }
        let job = |id: u32| ObjectPath::try_from(format!("/org/freedesktop/systemd1/job/{id}")).unwrap();
        // Someone else's job that fails, and ours before the call has even returned.
        Manager::job_removed(&emitter, 1, job(1), "other.service", "failed").await?;
        let result = if self.manner == Manner::Failing { "failed" } else { "done" };
        Manager::job_removed(&emitter, 2, job(2), &name, result).await?;
        Ok(job(2).into())
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

/// A private bus; gone with the value.
struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    fn start() -> Option<Bus> {
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Some(Bus { daemon, address: address.trim().to_owned() })
    }

    /// Tries to enter a scope, in a process of its own: the bus is chosen by the environment.
    fn enter(&self) -> String {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["the_other_end", "--exact", "--ignored", "--nocapture"])
            .envs([("DBUS_SYSTEM_BUS_ADDRESS", &self.address), ("DBUS_SESSION_BUS_ADDRESS", &self.address)])
            .env_remove("XDG_RUNTIME_DIR")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|line| line.split_once("RESULT ")).expect(&text).1.to_owned()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
#[ignore = "run by the others, in a process of its own"]
fn the_other_end() {
    let pids = vec![std::process::id()];
    let answer =
        enter_scope(ScopeRequest { pids, description: "a run".into(), slice: Some("x.slice".into()) });
    let _ = writeln!(std::io::stdout(), "\nRESULT {answer:?}");
}

/// What came of it, and what systemd was asked. `None` where there is no bus to be had.
fn talk(test: &str, manner: Manner) -> Option<(String, Vec<Call>)> {
    let Some(bus) = Bus::start() else {
        // Past libtest's capture.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no dbus-daemon");
        return None;
    };
    let calls = Calls::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let manager = Manager { manner, calls: Arc::clone(&calls) };
    let _connection = runtime.block_on(async {
        zbus::connection::Builder::address(bus.address.as_str())
            .and_then(|b| b.name("org.freedesktop.systemd1"))
            .and_then(|b| b.serve_at("/org/freedesktop/systemd1", manager))
            .unwrap()
            .build()
            .await
            .unwrap()
    });
    let answer = bus.enter();
    let calls = calls.lock().unwrap().clone();
    Some((answer, calls))
}

#[test]
fn done_is_believed_only_when_the_kernel_agrees() {
    let Some((answer, calls)) = talk("done_is_believed_only_when_the_kernel_agrees", Manner::Obliging) else {
        return;
    };
    assert!(answer.starts_with("Err(NotMoved"), "{answer}");
    let asked = [
        "PIDs",
        "Delegate",
        "TasksMax",
        "Description",
        "CollectMode",
        "TimeoutStopUSec",
        "OOMPolicy",
        "Slice",
    ];
    assert_eq!(calls[0].1, asked);
}

#[test]
fn a_taken_name_is_followed_by_the_next() {
    let Some((_, calls)) = talk("a_taken_name_is_followed_by_the_next", Manner::NamesTaken(2)) else {
        return;
    };
    let units: Vec<&str> = calls.iter().map(|(unit, _)| unit.as_str()).collect();
    let [first, second, third] = units.as_slice() else { panic!("{units:?}") };
    let stem = first.strip_suffix(".scope").unwrap();
    assert_eq!((*second, *third), (&*format!("{stem}-2.scope"), &*format!("{stem}-3.scope")));
}

#[test]
fn names_run_out_in_the_end() {
    let Some((answer, calls)) = talk("names_run_out_in_the_end", Manner::NamesTaken(usize::MAX)) else {
        return;
    };
    assert!(answer.starts_with("Err(Refused"), "{answer}");
    assert_eq!(calls.len(), 8);
}

#[test]
fn an_old_systemd_is_asked_once_more_for_less() {
    let Some((answer, calls)) = talk("an_old_systemd_is_asked_once_more_for_less", Manner::Old) else {
        return;
    };
    assert!(answer.starts_with("Err(NotMoved"), "{answer}");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].1, ["PIDs", "Delegate", "TasksMax"]);
}

#[test]
fn a_closed_door_and_a_failed_job_are_different_ends() {
    let test = "a_closed_door_and_a_failed_job_are_different_ends";
    let Some((denied, _)) = talk(test, Manner::Denying) else { return };
    assert!(denied.starts_with("Err(Denied"), "{denied}");
    let Some((failed, _)) = talk(test, Manner::Failing) else { return };
    assert!(failed.starts_with("Err(JobFailed") && failed.contains("\"failed\""), "{failed}");
}

#[test]
fn a_bus_without_a_systemd_is_passed_over() {
    let Some(bus) = Bus::start() else {
        let _ = writeln!(std::io::stderr(), "SKIPPED a_bus_without_a_systemd_is_passed_over: no dbus-daemon");
        return;
    };
    let answer = bus.enter();
    // With a user manager beside it, that one is found, and takes us.
    assert!(answer.starts_with("Ok(") || answer.contains("no systemd on it"), "{answer}");
}
