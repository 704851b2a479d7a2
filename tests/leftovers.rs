//! What a job leaves behind is found, named and, where it was the job's own, removed. Through the real binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// What one leaves in shared memory another's run would be told of: they take turns.
static TURN: Mutex<()> = Mutex::new(());

struct Scene {
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// A run's end: its events and what it said.
struct Ran {
    events: Vec<Value>,
    err: String,
    code: i32,
}

impl Scene {
    fn new() -> Scene {
        let turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        Scene { folder, _turn: turn }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is in the TMPDIR that sandtest is given.
    fn in_tmp(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
        command.args(["exec", "--json", "events"]).args(arguments).current_dir(self.folder.path());
        command.env("XDG_STATE_HOME", self.path("state")).env("TMPDIR", self.path("tmp")).env_remove("CI");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn start(&self, jobs: &[&str], options: &[&str]) -> Child {
        let mut list = fs::File::create(self.path("jobs")).unwrap();
        for job in jobs {
            writeln!(list, "{}", shell_words::join(["sh", "-c", job])).unwrap();
        }
        self.command(&["--jobs-from", "jobs", "--no-fail-fast"]).args(options).spawn().unwrap()
    }

    /// Runs shell commands as jobs, one after the other.
    fn run(&self, jobs: &[&str]) -> Ran {
        self.ended(self.start(jobs, &["-j1"]))
    }

    fn ended(&self, child: Child) -> Ran {
        let output = child.wait_with_output().unwrap();
        let text = fs::read_to_string(self.path("events")).unwrap();
        let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let events = all.into_iter().filter(|event| event["event"] == "attempt-finished").collect();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        Ran { events, err, code: output.status.code().unwrap() }
    }
}

/// A file in shared memory that is gone at the end of the test, however that comes.
struct Shm(PathBuf);

impl Shm {
    fn new(name: &str) -> Shm {
        Shm(format!("/dev/shm/sandtest-{name}-{}", std::process::id()).into())
    }

    fn shown(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Shm {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whoever else uses this machine may make objects, too: those of ours, by name.
fn objects(event: &Value, name: &str) -> Vec<Value> {
    let all = event["left_objects"].as_array().unwrap();
    all.iter().filter(|object| object["name"].as_str().unwrap().contains(name)).cloned().collect()
}

#[test]
fn a_job_that_leaves_nothing_is_told_of_nothing() {
    let scene = Scene::new();
    let tidy = "f=$(mktemp); d=$(mktemp -d); echo x > $d/y; rm -r $f $d";
    let ran = scene.run(&["true", tidy, "test -d $TMPDIR && test -z \"$(ls -A $TMPDIR)\"", tidy]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for event in &ran.events {
        assert_eq!((&event["left_files"], &event["left_memory"]), (&Value::Null, &Value::Null), "{event}");
    }
    assert!(!ran.err.contains("LEAK") && !ran.err.contains("TMPDIR ("), "{}", ran.err);
    assert_eq!(scene.in_tmp(), Vec::<PathBuf>::new());
}

#[test]
fn files_in_a_jobs_own_tmpdir_are_named_and_removed() {
    let scene = Scene::new();
    let leave = "mkdir $TMPDIR/sub $TMPDIR/empty; head -c 8192 /dev/zero > $TMPDIR/sub/a; touch $TMPDIR/b; chmod 0 $TMPDIR/sub";
    let clean = "test -z \"$(ls -A $TMPDIR)\"";
    let ran = scene.run(&[leave, clean, clean]);
    assert_eq!(ran.code, 0, "the next has an empty one: {}", ran.err);
    let files = &ran.events[0]["left_files"];
    assert_eq!(
        (files["count"].as_u64(), files["bytes"].as_u64(), &files["kept"]),
        (Some(3), Some(8192), &Value::Null)
    );
    assert_eq!(files["first"], serde_json::json!(["b", "empty/", "sub/a"]));
    assert_eq!(ran.events[1]["left_files"], Value::Null);
    assert!(ran.err.contains("1 attempt left files in the TMPDIR, such as b: removed"), "{}", ran.err);
    let ran = scene.ended(scene.start(&[leave], &["--leak", "fail"]));
    assert_eq!(ran.code, 100, "{}", ran.err);
    let told = "left 3 files in its TMPDIR (8 KiB): b, empty/, sub/a; removed.";
    assert!(ran.err.contains(told) && ran.err.contains("LEAK"), "{}", ran.err);
    assert_eq!(scene.in_tmp(), Vec::<PathBuf>::new());
}

#[test]
fn jobs_beside_each_other_have_each_their_own() {
    let scene = Scene::new();
    let job = "echo $TMPDIR >> places; test $(stat -c %a $TMPDIR) = 700 || exit 3; \
        while [ $(wc -l < places) -lt 2 ]; do sleep 0.01; done";
    let ran = scene.ended(scene.start(&[job, job], &["-j2"]));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let places = fs::read_to_string(scene.path("places")).unwrap();
    let places: Vec<&str> = places.lines().collect();
    assert_ne!(places[0], places[1]);
    assert!(
        places.iter().all(|place| Path::new(place).starts_with(scene.path("tmp").canonicalize().unwrap()))
    );
}

#[test]
fn one_command_keeps_the_tmpdir_that_it_was_given() {
    let scene = Scene::new();
    let status = scene.command(&["--", "sh", "-c", "touch $TMPDIR/stays"]).status().unwrap();
    assert!(status.success());
    assert_eq!(scene.in_tmp(), [scene.path("tmp/stays")]);
}

#[test]
fn without_a_place_for_it_jobs_have_the_inherited_one() {
    let scene = Scene::new();
    fs::write(scene.path("jobs"), "sh -c 'echo $TMPDIR > place'\n").unwrap();
    let mut command = scene.command(&["--jobs-from", "jobs"]);
    let output = command.env("TMPDIR", "/no/such/folder").output().unwrap();
    assert!(output.status.success());
    // Not there, so it is made in /tmp.
    assert!(fs::read_to_string(scene.path("place")).unwrap().starts_with("/tmp/sandtest-"));
}

#[test]
fn what_a_killed_sandtest_made_is_swept_by_the_next() {
    let scene = Scene::new();
    let mut child =
        scene.start(&["mkdir $TMPDIR/sub; echo x > $TMPDIR/sub/file; touch up; exec sleep 60"], &["-j1"]);
    wait_until("the job is up", || scene.path("up").exists());
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert_eq!(scene.in_tmp().len(), 1, "what a kill leaves");
    // Not ours, and so not touched.
    fs::create_dir(scene.path("tmp/sandtest-other")).unwrap();
    let ran = scene.run(&["true"]);
    assert!(ran.err.contains("was interrupted; what it left is removed"), "{}", ran.err);
    assert_eq!(scene.in_tmp(), [scene.path("tmp/sandtest-other")]);
}

#[test]
fn what_we_killed_had_no_time_to_tidy_up() {
    let scene = Scene::new();
    let job = "trap '' TERM; touch $TMPDIR/file; while :; do sleep 0.1; done";
    let ran = scene.ended(scene.start(&[job], &["--timeout", "500ms", "--grace", "100ms"]));
    assert_eq!(
        (&ran.events[0]["outcome"], &ran.events[0]["left_files"]),
        (&Value::from("timeout"), &Value::Null)
    );
    assert_eq!(scene.in_tmp(), Vec::<PathBuf>::new());
}

/// As root only, in a mount namespace of its own: the whole run is inside, so that nothing is mounted outside.
#[test]
fn nothing_is_removed_through_a_mount() {
    let scene = Scene::new();
    let can = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no mount namespace can be made here");
        return;
    }
    fs::create_dir_all(scene.path("precious/folder")).unwrap();
    fs::write(scene.path("precious/folder/file"), "dear").unwrap();
    let job = format!(
        "mkdir -p $TMPDIR/a/mnt && touch $TMPDIR/a/file && mount --bind {} $TMPDIR/a/mnt",
        scene.path("precious").display()
    );
    let over = "mount -t tmpfs -o size=64k none $TMPDIR && touch $TMPDIR/hidden";
    let jobs = [shell_words::join(["sh", "-c", &job]), shell_words::join(["sh", "-c", over])].join("\n");
    fs::write(scene.path("jobs"), jobs).unwrap();
    let exec = scene.command(&["-j1", "--no-fail-fast", "--jobs-from", "jobs"]);
    let mut inside = Command::new("unshare");
    inside.args(["-m", "--propagation", "private"]).arg(exec.get_program()).args(exec.get_args());
    inside.current_dir(scene.folder.path()).stdin(Stdio::null()).stderr(Stdio::piped());
    for (name, value) in exec.get_envs() {
        if let Some(value) = value {
            inside.env(name, value);
        }
    }
    let ran = scene.ended(inside.spawn().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(fs::read_to_string(scene.path("precious/folder/file")).unwrap(), "dear");
    for event in &ran.events {
        let kept = event["left_files"]["kept"].as_str().unwrap();
        assert!(kept.contains("is mounted in it"), "{kept}");
        let mounts = objects(event, "sandtest-");
        assert_eq!(
            (mounts.len(), &mounts[0]["kind"], &mounts[0]["certain"]),
            (1, &"mount".into(), &true.into()),
            "{event}"
        );
    }
    assert!(ran.err.contains("umount "), "{}", ran.err);
    // The mounts went with the namespace: the next start removes the rest, and nothing else.
    assert_eq!(scene.in_tmp().len(), 1);
    scene.run(&["true"]);
    assert_eq!(scene.in_tmp(), Vec::<PathBuf>::new());
    assert_eq!(fs::read_to_string(scene.path("precious/folder/file")).unwrap(), "dear");
}

#[test]
fn files_in_shared_memory_are_told_once_and_stay() {
    let (scene, shm) = (Scene::new(), Shm::new("once"));
    let ran = scene.run(&[&format!("head -c 1000000 /dev/zero > {}", shm.shown()), "true", "true"]);
    let found = objects(&ran.events[0], shm.shown());
    assert_eq!(found.len(), 1, "{}", ran.events[0]);
    assert_eq!(
        (&found[0]["kind"], &found[0]["bytes"], &found[0]["certain"]),
        (&"shm-file".into(), &1_000_000.into(), &true.into())
    );
    assert!(ran.events[1..].iter().all(|event| objects(event, shm.shown()).is_empty()), "told again");
    assert!(shm.0.exists() && ran.err.contains(&format!("rm -r {}", shm.shown())), "{}", ran.err);
    let tier = fs::read_to_string(scene.path("events")).unwrap();
    let memory = ran.events[0]["left_memory"].as_u64();
    match tier.contains("\"isolation\":\"cgroup\"") || tier.contains("\"isolation\":\"hybrid\"") {
        true => assert!(memory.is_some_and(|bytes| (900_000..1_500_000).contains(&bytes)), "{memory:?}"),
        false => assert_eq!(memory, None),
    }
    assert_eq!(ran.events[1]["left_memory"], Value::Null);
}

#[test]
fn what_stays_is_a_failure_that_no_second_try_takes_back() {
    let (scene, shm) = (Scene::new(), Shm::new("stays"));
    let child = scene.start(&[&format!("echo x > {}", shm.shown())], &["--leak", "fail", "--retries", "2"]);
    let ran = scene.ended(child);
    let verdicts: Vec<&str> = ran.events.iter().filter_map(|event| event["verdict"].as_str()).collect();
    assert_eq!((verdicts, ran.events.len()), (vec!["leak"], 1), "{}", ran.err);
}

#[test]
fn what_another_may_have_made_waits_for_its_end_and_is_no_certainty() {
    let (scene, kept, used) = (Scene::new(), Shm::new("kept"), Shm::new("used"));
    // The second ends while the first still uses its own, and has left nothing itself.
    let first = format!(
        "echo x > {used}; echo x > {kept}; touch made; while [ ! -e over ]; do sleep 0.01; done; rm {used}",
        used = used.shown(),
        kept = kept.shown()
    );
    let child = scene.start(&[&first, "while [ ! -e made ]; do sleep 0.01; done"], &["-j2"]);
    let ended =
        || fs::read_to_string(scene.path("events")).is_ok_and(|text| text.contains("attempt-finished"));
    wait_until("the second has ended", ended);
    fs::write(scene.path("over"), "").unwrap();
    let ran = scene.ended(child);
    assert!(objects(&ran.events[0], "/dev/shm/sandtest-").is_empty(), "{}", ran.events[0]);
    let found = objects(&ran.events[1], "/dev/shm/sandtest-");
    assert_eq!(
        (found.len(), &found[0]["name"], &found[0]["certain"]),
        (1, &kept.shown().into(), &false.into())
    );
    assert!(ran.err.contains("left by it or by one that ran beside it"), "{}", ran.err);
    assert!(!ran.err.contains("LEAK"), "{}", ran.err);
}

#[test]
fn what_somebody_else_has_in_use_was_not_left() {
    let (scene, shm) = (Scene::new(), Shm::new("foreign"));
    let child = scene.start(&["touch up; while [ ! -e over ]; do sleep 0.01; done"], &["-j1"]);
    wait_until("the job is up", || scene.path("up").exists());
    let holder = fs::File::create(&shm.0).unwrap();
    let mut user = Command::new("sleep").arg("60").stdin(holder).spawn().unwrap();
    fs::write(scene.path("over"), "").unwrap();
    let ran = scene.ended(child);
    user.kill().unwrap();
    user.wait().unwrap();
    assert!(objects(&ran.events[0], shm.shown()).is_empty(), "{}", ran.events[0]);
}

#[test]
fn system_v_objects_are_told_with_the_numbers_that_ipcrm_takes() {
    let scene = Scene::new();
    let ran = scene.run(&["ipcmk -M 4096 > ids; ipcmk -S 2 >> ids; ipcmk -Q >> ids", "true"]);
    let made = fs::read_to_string(scene.path("ids")).unwrap();
    let ids: Vec<&str> = made.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    Command::new("ipcrm").args(["-m", ids[0], "-s", ids[1], "-q", ids[2]]).status().unwrap();
    let all = ran.events[0]["left_objects"].as_array().unwrap();
    let told: BTreeMap<&str, &str> = all
        .iter()
        .map(|object| (object["kind"].as_str().unwrap(), object["name"].as_str().unwrap()))
        .collect();
    let wanted = BTreeMap::from([("sysv-shm", ids[0]), ("sysv-sem", ids[1]), ("sysv-msg", ids[2])]);
    assert!(wanted.iter().all(|(kind, id)| told.get(kind) == Some(id)), "{told:?}, made {wanted:?}");
    assert!(ran.err.contains(&format!("ipcrm -m {}", ids[0])), "{}", ran.err);
}

/// Listens on TCP and on a unix socket, says where, and leaves a child that does so, too.
const LISTENER: &str = r#"
import os, socket, time
tcp, unix = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
unix.bind("socket"); unix.listen()
open("port", "w").write(str(tcp.getsockname()[1]))
if os.fork() == 0: time.sleep(60)
"#;

#[test]
fn a_process_left_behind_is_named_with_its_command_line_and_its_sockets() {
    let scene = Scene::new();
    fs::write(scene.path("listener.py"), LISTENER).unwrap();
    let ran = scene.run(&["exec python3 listener.py"]);
    let port = fs::read_to_string(scene.path("port")).unwrap();
    let left = &ran.events[0]["left_behind"][0];
    assert!(left["command"].as_str().unwrap().ends_with("python3 listener.py"), "{left}");
    assert_eq!(left["listening"], serde_json::json!([format!("tcp 127.0.0.1:{port}"), "unix socket"]));
    assert!(ran.err.contains(&format!("listening on tcp 127.0.0.1:{port}, unix socket")), "{}", ran.err);
}
