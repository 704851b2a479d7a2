//! GNU make's jobserver, with the real tools: make, cargo and ninja as they are installed here.
//!
//! How many ran at once is told by the jobs themselves: each writes down when it began and when it ended.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

struct Scene(TempDir);

/// So many were to run at once. A busy machine may have one less at any moment, and never one more.
fn about(most: usize, wanted: usize) {
    assert!(most <= wanted && most + 1 >= wanted, "{most} at once, where {wanted} may");
}

/// Past libtest's capture.
fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene(TempDir::new().unwrap());
        // A command that takes a while, and says so.
        let work = "#!/bin/sh\necho + >> LOG\nsleep ${1:-0.2}\necho - >> LOG\n";
        scene.write("work", &work.replace("LOG", scene.path("log").to_str().unwrap()), 0o755);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        for name in ["MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS", "MAKELEVEL", "CI"] {
            command.env_remove(name);
        }
        command.current_dir(self.0.path()).env("XDG_STATE_HOME", self.path("state"));
        command.env("SANDTEST", env!("CARGO_BIN_EXE_sandtest")).stdin(Stdio::null());
        command
    }

    fn exec(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_sandtest"));
        command.arg("exec").args(arguments);
        command
    }

    /// How many `work` there were at most at once, and in all.
    fn worked(&self) -> (usize, usize) {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let (mut now, mut most, mut all) = (0_usize, 0, 0);
        for line in log.lines() {
            match line {
                "+" => (now, all) = (now + 1, all + 1),
                _ => now -= 1,
            }
            most = most.max(now);
        }
        assert_eq!(now, 0, "some did not end: {log}");
        let _ = fs::remove_file(self.path("log"));
        (most, all)
    }

    /// A list of jobs, each of them `work`.
    fn jobs(&self, count: usize) -> &str {
        self.write("jobs", &format!("{}\n", self.path("work").display()).repeat(count), 0o644);
        "jobs"
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A make's own end of a jobserver in the old style: `tokens` in a pipe that the child inherits.
struct Server {
    read: File,
    write: File,
    tokens: Vec<u8>,
}

impl Server {
    /// Tokens of different kinds: each is to come back as it was.
    fn new(tokens: &[u8]) -> Server {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut write = File::from(write);
        write.write_all(tokens).unwrap();
        Server { read: read.into(), write, tokens: tokens.to_vec() }
    }

    fn tell(&self, command: &mut Command) {
        let (read, write) = (self.read.as_raw_fd(), self.write.as_raw_fd());
        command.env("MAKEFLAGS", format!(" -j4 --jobserver-auth={read},{write}"));
        // SAFETY: between fork and exec nothing else is done than to clear two flags.
        #[allow(unsafe_code, reason = "descriptors for a child")]
        unsafe {
            command.pre_exec(move || {
                for fd in [read, write] {
                    libc::fcntl(fd, libc::F_SETFD, 0);
                }
                Ok(())
            });
        }
    }

    /// Whether all tokens are there, as they were.
    fn has_all(&mut self) -> bool {
        let lying = rustix::io::ioctl_fionread(&self.read).unwrap();
        if lying != self.tokens.len() as u64 {
            return false;
        }
        let mut tokens = vec![0; self.tokens.len()];
        self.read.read_exact(&mut tokens).unwrap();
        self.write.write_all(&tokens).unwrap();
        tokens.sort_unstable();
        tokens == self.tokens
    }
}

fn eventually(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A build in Python that knows the rules: a token for each `work` beyond the first.
const BUILD: &str = r#"
import os, re, subprocess, sys
path = re.search(r"--jobserver-auth=fifo:(\S+)", os.environ["MAKEFLAGS"])[1]
fifo = os.open(path, os.O_RDWR)
left, running, most = int(sys.argv[1]), [], 0
while left or running:
    if left and not running:
        running.append((subprocess.Popen(["./work", sys.argv[2]]), None)); left -= 1
    os.set_blocking(fifo, False)
    while left:
        try: token = os.read(fifo, 1)
        except BlockingIOError: break
        running.append((subprocess.Popen(["./work", sys.argv[2]]), token)); left -= 1
    for one in [one for one in running if one[0].poll() is not None]:
        running.remove(one)
        if one[1]: os.write(fifo, one[1])
    import time; time.sleep(0.002)
"#;

#[test]
fn a_build_in_a_job_has_the_places_of_the_run() {
    let scene = Scene::new();
    scene.write("build.py", BUILD, 0o644);
    for (jobs, most) in [("1", 1), ("2", 2), ("5", 5)] {
        text(
            &scene
                .exec(&["--jobserver", "-j", jobs, "--", "python3", "build.py", "20", "0.1"])
                .output()
                .unwrap(),
        );
        let (found, all) = scene.worked();
        about(found, most);
        assert_eq!(all, 20, "-j {jobs}");
    }
    let runs = fs::read_dir(scene.path("state/sandtest/runs")).unwrap();
    assert!(runs.flatten().all(|run| !run.path().join("jobserver").exists()), "fifos are left");
}

#[test]
fn two_builds_share_them_and_a_job_that_waits_goes_first() {
    let scene = Scene::new();
    scene.write("build.py", BUILD, 0o644);
    scene.write("jobs", &"python3 build.py 12 0.1\n".repeat(3), 0o644);
    text(&scene.exec(&["--jobserver", "-j", "4", "--jobs-from", "jobs"]).output().unwrap());
    let (most, all) = scene.worked();
    assert_eq!(all, 36);
    assert!((3..=4).contains(&most), "{most} at once, of 4 places for 3 builds");
}

#[test]
fn a_build_that_is_killed_takes_no_token_along() {
    let scene = Scene::new();
    scene.write("build.py", BUILD, 0o644);
    // Takes one, and dies.
    let thief = "import os, re, signal, time\n\
                 fifo = os.open(re.search(r'fifo:(\\S+)', os.environ['MAKEFLAGS'])[1], os.O_RDWR)\n\
                 os.read(fifo, 1)\n\
                 os.kill(os.getpid(), signal.SIGKILL)\n";
    scene.write("thief.py", thief, 0o644);
    scene.write("jobs", "python3 thief.py\npython3 build.py 12 0.1\n", 0o644);
    let output =
        scene.exec(&["--jobserver", "-j", "4", "--no-fail-fast", "--jobs-from", "jobs"]).output().unwrap();
    assert_eq!(output.status.code(), Some(100), "{output:?}");
    let (most, all) = scene.worked();
    about(most, 4);
    assert_eq!(all, 12);
}

#[test]
fn cargo_builds_with_the_places_that_it_is_given() {
    let scene = Scene::new();
    let crates: Vec<String> = (0..6).map(|number| format!("c{number}")).collect();
    for name in &crates {
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        scene.write(&format!("{name}/Cargo.toml"), &manifest, 0o644);
        scene.write(&format!("{name}/src/lib.rs"), "", 0o644);
    }
    scene.write("Cargo.toml", &format!("[workspace]\nresolver = \"2\"\nmembers = {crates:?}\n"), 0o644);
    // Each rustc that compiles something, as long as it does.
    let wrapper = format!(
        "#!/bin/sh\ncase \"$*\" in *\\ --crate-name\\ c*) {} 0.3 ;; esac\nexec \"$@\"\n",
        scene.path("work").display()
    );
    scene.write("rustc", &wrapper, 0o755);
    for (jobs, most) in [("1", 1), ("3", 3)] {
        let mut command =
            scene.exec(&["--jobserver", "-j", jobs, "--", env!("CARGO"), "build", "--offline", "-q"]);
        command.env("RUSTC_WRAPPER", scene.path("rustc")).env("CARGO_TARGET_DIR", scene.path(jobs));
        text(&command.output().unwrap());
        let (found, all) = scene.worked();
        about(found, most);
        assert_eq!(all, 6, "-j {jobs}");
    }
}

#[test]
fn ninja_builds_with_the_places_that_it_is_given() {
    let scene = Scene::new();
    let ninja = std::env::var_os("NINJA").map_or_else(|| "ninja".into(), PathBuf::from);
    let version = Command::new(&ninja).arg("--version").output();
    let version =
        version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(1), Some(13)) {
        let why = format!("needs ninja 1.13 ($NINJA, or on the path), found {version:?}");
        return skip("ninja_builds_with_the_places_that_it_is_given", &why);
    }
    let rules: String = (0..12).map(|number| format!("build o{number}: work\n")).collect();
    scene.write("build.ninja", &format!("rule work\n  command = ./work 0.1\n{rules}"), 0o644);
    for (jobs, most) in [("1", 1), ("4", 4)] {
        text(&scene.exec(&["--jobserver", "-j", jobs, "--"]).arg(&ninja).output().unwrap());
        let (found, all) = scene.worked();
        about(found, most);
        assert_eq!(all, 12, "-j {jobs}");
    }
}

#[test]
fn under_a_make_no_more_run_than_it_gives_places() {
    let scene = Scene::new();
    let list = scene.jobs(8);
    // Two at once, each of which could run eight.
    let makefile = format!("all: one two\none two:\n\t+$(SANDTEST) exec -j8 --jobs-from {list}\n");
    scene.write("Makefile", &makefile, 0o644);
    for (jobs, places) in [("-j2", 2), ("-j3", 3), ("-j6", 6)] {
        let told = text(&scene.command("make").arg(jobs).output().unwrap());
        let (most, all) = scene.worked();
        assert_eq!(all, 16, "{told}");
        about(most, places);
        // make counts its tokens at the end.
        assert!(!told.contains("jobserver tokens"), "{told}");
        assert!(!told.contains("jobs at once are not held"), "{told}");
    }
}

#[test]
fn a_line_without_a_plus_is_told_of_and_done_without() {
    let scene = Scene::new();
    let list = scene.jobs(2);
    scene.write("Makefile", &format!("all:\n\t@$(SANDTEST) exec -j2 --jobs-from {list}\n"), 0o644);
    let told = text(&scene.command("make").arg("-j2").output().unwrap());
    assert!(told.contains("put + in front of the recipe's line"), "{told}");
    assert_eq!(scene.worked(), (2, 2));
}

#[test]
fn under_make_n_nothing_is_run() {
    let scene = Scene::new();
    let list = scene.jobs(2);
    scene.write("Makefile", &format!("all:\n\t+@$(SANDTEST) exec --jobs-from {list}\n"), 0o644);
    let told = text(&scene.command("make").arg("-n").output().unwrap());
    assert!(told.contains("make -n: nothing is run"), "{told}");
    assert_eq!(scene.worked(), (0, 0));
}

#[test]
fn jobs_are_told_of_no_jobserver_that_they_do_not_have() {
    let scene = Scene::new();
    let server = Server::new(b"+");
    let show = "echo \"[$MAKEFLAGS][$CARGO_MAKEFLAGS]\"";
    let mut command = scene.exec(&["--", "sh", "-c", show]);
    server.tell(&mut command);
    assert!(
        text(&command.env("CARGO_MAKEFLAGS", "-j --jobserver-fds=3,4").output().unwrap()).starts_with("[][]")
    );
    // One with a name is theirs as well, and they have a place of it.
    let fifo = scene.path("outer");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let flags = format!(" -j4 --jobserver-auth=fifo:{}", fifo.display());
    let told = text(&scene.exec(&["--", "sh", "-c", show]).env("MAKEFLAGS", &flags).output().unwrap());
    assert!(told.starts_with(&format!("[{flags}]")), "{told}");
    // Other flags stay.
    let told = text(&scene.exec(&["--", "sh", "-c", show]).env("MAKEFLAGS", "ks -j2").output().unwrap());
    assert!(told.starts_with("[ks -j2]"), "{told}");
}

#[test]
fn tokens_come_back_as_they_were_at_the_end_and_at_a_kill() {
    let scene = Scene::new();
    let list = scene.jobs(6).to_owned();
    let mut server = Server::new(b"+,-");
    let start = |server: &Server, seconds: &str| -> Child {
        let work = format!("{} {seconds}\n", scene.path("work").display()).repeat(6);
        scene.write("jobs", &work, 0o644);
        let mut command = scene.exec(&["-j8", "--jobs-from", &list]);
        server.tell(&mut command);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    assert!(start(&server, "0.1").wait().unwrap().success());
    assert_eq!(scene.worked(), (4, 6), "one place is its own");
    assert!(server.has_all());
    let mut killed = start(&server, "60");
    let began = || fs::read_to_string(scene.path("log")).is_ok_and(|log| log.lines().count() == 4);
    eventually("four at once", 10, began);
    assert!(!server.has_all());
    killed.kill().unwrap();
    killed.wait().unwrap();
    eventually("tokens are lost", 2, || server.has_all());
}

#[test]
fn what_nobody_can_use_is_given_back() {
    let scene = Scene::new();
    // Each needs more than half of the budget: one runs at a time, however many places there are.
    let profile = "name: small\nextends: native\nbudget: {memory_max: 1GiB, reserve: 0}\n";
    scene.write("small.yaml", profile, 0o644);
    scene.write("jobs", &format!("memory:600M {} 3\n", scene.path("work").display()).repeat(2), 0o644);
    let mut server = Server::new(b"+++");
    let mut command = scene.exec(&["-p", "./small.yaml", "-j4", "--jobs-from", "jobs"]);
    server.tell(&mut command);
    let mut run = command.stderr(Stdio::null()).spawn().unwrap();
    let log = || fs::read_to_string(scene.path("log")).unwrap_or_default();
    eventually("one at once", 10, || log().lines().count() == 1);
    eventually("tokens are held that nobody uses", 2, || server.has_all());
    assert_eq!(log().lines().count(), 1, "it was not for the first one's end");
    assert!(run.wait().unwrap().success());
    assert_eq!(scene.worked(), (1, 2));
    assert!(server.has_all());
}
