//! What stands in front of a driver's tests, both as the program that a run puts there and as `sandtest run-wrapper --`.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

static PROGRAM: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run-wrapper");
    write(&path, sandtest::kernel::wrapper::PROGRAM, 0o700);
    (folder, path)
});

/// By a process of its own: who is forked by another test meanwhile would hold it open, and it could not be executed.
fn write(path: &Path, text: &[u8], mode: u32) {
    let mut tee = Command::new("tee").arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    tee.stdin.take().unwrap().write_all(text).unwrap();
    assert!(tee.wait().unwrap().success());
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The program, and sandtest.
fn both() -> [Vec<PathBuf>; 2] {
    let sandtest = [env!("CARGO_BIN_EXE_sandtest"), "run-wrapper", "--"];
    [vec![PROGRAM.1.clone()], sandtest.iter().map(PathBuf::from).collect()]
}

fn command(way: &[PathBuf], words: &[&str]) -> Command {
    let mut command = Command::new(&way[0]);
    command.args(&way[1..]).args(words).stdin(Stdio::null());
    for name in ["SANDTEST_RUNNER", "SANDTEST_RUNNER_REQUIRED", "CARGO_PKG_NAME"] {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A run that takes one request and says `answer`, byte by byte. Returns what the test wrote, and what was asked.
fn asked(command: &mut Command, answer: &[u8]) -> (Output, Vec<u8>) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let child = command.env("SANDTEST_RUNNER", &path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let (mut stream, _) = listener.accept().unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut request = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut request).unwrap();
    let _ = answer.chunks(1 + answer.len() / 20).try_for_each(|part| stream.write_all(part));
    drop(stream);
    (child.unwrap().wait_with_output().unwrap(), request)
}

/// A message with its length.
fn message(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat()
}

#[test]
fn without_a_run_it_is_the_test() {
    for way in both() {
        let alone = command(&way, &["sh", "-c", "echo $0 $1; kill -TERM $$", "a", "b c"]).output().unwrap();
        assert_eq!((text(&alone.stdout).as_str(), alone.stderr.len()), ("a b c\n", 0));
        assert_eq!(alone.status.signal(), Some(15));
        for (program, code, why) in [
            ("/no/such/test", 127, "No such file or directory (os error 2)"),
            ("no-such-test-anywhere", 127, "No such file or directory (os error 2)"),
            ("/etc/passwd", 126, "Permission denied (os error 13)"),
            ("/etc/passwd/x", 126, "Not a directory (os error 20)"),
        ] {
            let output = command(&way, &[program]).output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{program}");
            assert_eq!(text(&output.stderr), format!("sandtest: {program}: {why}\n"));
        }
    }
    assert_eq!(command(&both()[0], &[]).status().unwrap().code(), Some(125));
}

#[test]
fn programs_are_found_as_a_shell_finds_them() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, text.as_bytes(), mode);
    };
    write("first/it", "echo wrong\n", 0o644);
    // Without `#!` the kernel does not know it, and a shell runs it.
    write("second/it", "echo $0 $@\n", 0o755);
    write("first/never", "", 0o644);
    for way in both() {
        let run = |words: &[&str], path: Option<&str>| {
            let mut command = command(&way, words);
            match path {
                Some(path) => command.env("PATH", path),
                None => command.env_remove("PATH"),
            };
            command.current_dir(folder.path()).output().unwrap()
        };
        let path = "/no:first:second:/bin";
        assert_eq!(text(&run(&["it", "a", "b"], Some(path)).stdout), "second/it a b\n");
        assert_eq!(text(&run(&["./second/it"], Some(path)).stdout), "./second/it\n");
        assert_eq!(run(&["never"], Some(path)).status.code(), Some(126));
        assert_eq!(text(&run(&["echo", "x"], None).stdout), "x\n");
        assert_eq!(run(&[""], Some(path)).status.code(), Some(127));
    }
    let mut here = command(&both()[0], &["it", "c"]);
    here.current_dir(folder.path().join("second")).env("PATH", ":/bin");
    assert_eq!(text(&here.output().unwrap().stdout), "it c\n");
}

#[test]
fn it_says_what_it_will_be_and_has_what_it_is_told() {
    let script = ["sh", "-c", r"tr '\0' '\n' < /proc/$$/environ; echo; ls /proc/$$/fd", "x y", ""];
    let descriptors = |out: &str| out.split_once("\n\n").unwrap().1.to_owned();
    let bare = descriptors(&text(&command(&["env".into()], &script).output().unwrap().stdout));
    for way in both() {
        let mut test = command(&way, &script);
        test.env_clear().env("PATH", "/usr/bin:/bin").env("CARGO_PKG_NAME", "shapes");
        test.env("SANDTEST_RUNNER_REQUIRED", "1").env("KEPT", "a=b").env("TOLD", "before").env("TOL", "kept");
        let answer = message(b"go\0TOLD=now = \0SANDTEST_JOB=x\0nothing\0");
        let (output, request) = asked(&mut test, &answer);
        assert_eq!(text(&request), format!("shapes\0sh\0-c\0{}\0x y\0", script[2]));
        let out = text(&output.stdout);
        let lines: Vec<&str> = out.lines().collect();
        for line in ["KEPT=a=b", "TOL=kept", "TOLD=now = ", "SANDTEST_JOB=x", "CARGO_PKG_NAME=shapes"] {
            assert!(lines.contains(&line), "{line}: {out}");
        }
        assert!(!out.contains("SANDTEST_RUNNER") && !out.contains("before"), "{out}");
        assert_eq!(descriptors(&out), bare, "none is left");
        assert_eq!((output.stderr.len(), output.status.code()), (0, Some(0)));
    }
}

#[test]
fn a_run_that_refuses_or_says_nothing_is_told_of() {
    let too_long = [&(7_u32 << 20).to_le_bytes()[..], b"go\0"].concat();
    let answers: [(&[u8], &str); 6] = [
        (&message(b"no\0too many wait\0"), "too many wait"),
        (b"", "the run can't be asked: it is gone"),
        (b"\x05\0", "the run can't be asked: it is gone"),
        (&message(b"hello"), "the run can't be asked: its answer can't be understood"),
        (&message(b"go\0A=b"), "the run can't be asked: its answer can't be understood"),
        (&too_long, "the run can't be asked: its answer can't be understood"),
    ];
    for (way, (answer, why)) in both().iter().flat_map(|way| answers.map(|answer| (way, answer))) {
        let (output, _) = asked(&mut command(way, &["echo", "x"]), answer);
        assert_eq!(text(&output.stdout), "x\n", "{why}");
        assert_eq!(
            text(&output.stderr),
            format!("sandtest: warning: echo has no cgroup of its own: {why}\n")
        );
        let (output, _) = asked(command(way, &["echo", "x"]).env("SANDTEST_RUNNER_REQUIRED", "1"), answer);
        assert_eq!((output.stdout.len(), output.status.code()), (0, Some(125)), "{why}");
        assert_eq!(text(&output.stderr), format!("sandtest: echo: it has no cgroup of its own: {why}\n"));
    }
    for way in both() {
        let long = format!("/tmp/{}", "x".repeat(200));
        for (socket, why) in [
            ("/no/socket", "No such file or directory (os error 2)"),
            (&long, "File name too long (os error 36)"),
        ] {
            let output = command(&way, &["echo", "x"]).env("SANDTEST_RUNNER", socket).output().unwrap();
            assert_eq!(text(&output.stdout), "x\n");
            assert!(
                text(&output.stderr).ends_with(&format!("the run can't be asked: {why}\n")),
                "{output:?}"
            );
        }
        // Nobody reads the warning.
        let mut unheard = command(&way, &["sh", "-c", "exit 3"]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        unheard.env("SANDTEST_RUNNER", "/no/socket").stderr(writer);
        assert_eq!(unheard.status().unwrap().code(), Some(3));
    }
}

#[test]
fn large_ones_are_taken_or_refused_as_the_kernel_does() {
    for way in both() {
        let mut many = command(&way, &["sh", "-c", "env | grep -c ^MANY", &"w".repeat(40_000)]);
        many.envs((0..3000).map(|at| (format!("MANY_{at}"), "x".repeat(100))));
        let more: String = (0..50).map(|at| format!("MANY_MORE_{at}={}\0", "y".repeat(100))).collect();
        let (output, request) = asked(&mut many, &message(format!("go\0{more}").as_bytes()));
        assert_eq!(text(&output.stdout), "3050\n", "{output:?}");
        // What does not fit into 32 KiB is left out.
        assert_eq!(text(&request), "\0sh\0-c\0env | grep -c ^MANY");
        let too_much = format!("go\0A={}\0", "y".repeat(200_000));
        let (output, _) = asked(&mut command(&way, &["/bin/true"]), &message(too_much.as_bytes()));
        assert_eq!(text(&output.stderr), "sandtest: /bin/true: Argument list too long (os error 7)\n");
        assert_eq!(output.status.code(), Some(126));
    }
}

#[test]
fn signals_and_limits_are_left_as_they_were() {
    let odd = "import os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
os.execvp(sys.argv[1], sys.argv[1:])";
    let script = ["grep", "-hE", "^(SigBlk|SigIgn|Max)", "/proc/self/status", "/proc/self/limits"];
    let python = [PathBuf::from("python3"), "-c".into(), odd.into()];
    let bare = command(&python, &script).output().unwrap().stdout;
    assert!(text(&bare).contains("SigBlk:\t0000000000000800"), "{}", text(&bare));
    let way = [&python[..], &both()[0]].concat();
    for answer in [&message(b"go\0")[..], &message(b"no\0why\0")] {
        let (output, _) = asked(&mut command(&way, &script), answer);
        assert_eq!(text(&output.stdout), text(&bare));
    }
}

#[test]
fn a_list_is_not_asked_for_and_examples_of_rustdoc_know_where_they_are() {
    for way in both() {
        for option in ["--list", "--gtest_list_tests"] {
            let output =
                command(&way, &["echo", option]).env("SANDTEST_RUNNER", "/no/socket").output().unwrap();
            assert_eq!((text(&output.stdout), output.stderr.len()), (format!("{option}\n"), 0));
        }
        let folder = TempDir::with_prefix("rustdoctest").unwrap();
        let program = folder.path().join("rust_out");
        write(&program, b"#!/bin/sh\necho ${RUSTDOC_DOCTEST_BIN_PATH-none}\n", 0o755);
        let said = |program: &Path, own: Option<&str>| {
            let mut command = command(&way, &[program.to_str().unwrap()]);
            command.env_remove("RUSTDOC_DOCTEST_BIN_PATH").current_dir(folder.path());
            own.map(|own| command.env("RUSTDOC_DOCTEST_BIN_PATH", own));
            text(&command.output().unwrap().stdout)
        };
        assert_eq!(said(&program, None), format!("{}\n", program.display()));
        assert_eq!(said(&program, Some("own")), "own\n");
        assert_eq!(said(Path::new("./rust_out"), None), "none\n");
    }
}
