//! Test commands that are understood: their binaries and tests as jobs, chosen and cut in parts; and binaries that list badly.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder with programs, and a state directory of its own.
struct Scene {
    folder: tempfile::TempDir,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// A test binary that speaks as Rust's do: `$TESTS` and `$IGNORED` are its lists, and what it is run with is written down.
const LIBTEST: &str = r#"#!/bin/sh
case " $* " in
*" --list "*" --ignored "*) printf '%b' "$IGNORED" ;;
*" --list "*) printf '%b' "$TESTS" ;;
*--gtest_list_tests*|*--list-test*) exit 101 ;;
*) { printf '<%s>' "$@"; echo; } >> "$RAN" ;;
esac
"#;

impl Scene {
    fn new() -> Scene {
        Scene { folder: tempfile::tempdir().unwrap() }
    }

    fn program(self, name: &str, text: &str) -> Scene {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
        command.arg("exec").args(arguments).current_dir(self.folder.path());
        command.env("XDG_STATE_HOME", self.path("state")).env("RAN", self.path("ran"));
        for variable in ["CI", "TESTS", "IGNORED", "RUSTFLAGS", "CARGO_TARGET_DIR"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// With these lists.
    fn run_listing(&self, arguments: &[&str], tests: &str, ignored: &str) -> Ran {
        Ran::of(self.command(arguments).env("TESTS", tests).env("IGNORED", ignored).output().unwrap())
    }

    /// What the test binary was run with, sorted.
    fn ran(&self) -> Vec<String> {
        let bytes = fs::read(self.path("ran")).unwrap_or_default();
        let mut lines: Vec<String> = String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect();
        lines.sort();
        let _ = fs::remove_file(self.path("ran"));
        lines
    }
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }
}

#[test]
fn each_test_runs_alone_and_ignored_ones_do_not() {
    let scene = Scene::new().program("suite", LIBTEST);
    let (tests, ignored) = ("a: test\nm::b: test\nlate: test\nquick: benchmark\n", "late: test\n");
    let ran = scene.run_listing(&["--each", "test", "--", "./suite"], tests, ignored);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("3 passed") && ran.err.contains("./suite m::b"), "{}", ran.err);
    let one = |name: &str| format!("<--nocapture><--exact><{name}>");
    assert_eq!(scene.ran(), [one("a"), one("m::b"), one("quick")]);

    assert_eq!(scene.run_listing(&["--each", "test", "--", "./suite", "--ignored"], tests, ignored).code, 0);
    assert_eq!(scene.ran(), ["<--nocapture><--ignored><--exact><late>"]);
    scene.run_listing(&["--each", "test", "--", "./suite", "--include-ignored"], tests, "never asked");
    assert_eq!(scene.ran().len(), 4);
}

#[test]
fn each_binary_is_one_job_that_runs_what_is_meant() {
    let scene = Scene::new().program("one", LIBTEST).program("two", LIBTEST);
    let run = |arguments: &[&str]| {
        let ran = scene.run_listing(arguments, "a: test\nb: test\nc: test\n", "c: test\n");
        assert_eq!(ran.code, 0, "{}", ran.err);
        scene.ran()
    };
    // Not asked for their tests: what they were given is all that they are given.
    assert_eq!(run(&["--each", "binary", "--", "./one", "./two", "--", "x", "--skip", "y"]).len(), 2);
    assert_eq!(run(&["-E", "binary(one)", "--", "./one", "./two"]), ["<>"]);
    assert_eq!(run(&["-E", "test(=a) & binary(one)", "--", "./one", "./two"]), ["<--exact><a>"]);
    // Everything is meant that would run, so the binary is told nothing.
    assert_eq!(run(&["-E", "not test(=z)", "--", "./one"]), ["<>"]);
    assert_eq!(
        run(&["-E", "test(=a)", "-E", "test(=b) & binary(two)", "--each", "test", "--", "./one", "./two"])
            .len(),
        3
    );
}

#[test]
fn names_reach_the_binary_as_they_are() {
    let scene = Scene::new().program("suite", LIBTEST);
    let tests = "with space: test\\nit'\"s $(odd): test\\n\\033[2Jbell\\007: test\\n\\0377\\0376: test\\n-x: test\\na: b: test\\ntwice: test\\ntwice: test\\n";
    let listed =
        scene.run_listing(&["--each", "test", "--list", "--", "./suite"], &tests.replace("\\n", "\n"), "");
    assert_eq!(listed.lines().len(), 7, "{}", listed.out);
    assert!(!listed.out.contains('\u{1b}') && listed.out.contains("./suite a: b"), "{}", listed.out);
    let ran = scene.run_listing(
        &["--each", "test", "--no-fail-fast", "--", "./suite"],
        &tests.replace("\\n", "\n"),
        "",
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("7 passed") && !ran.err.contains('\u{1b}'), "{}", ran.err);
    let bytes = fs::read(scene.path("ran")).unwrap();
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(
        has(b"<--exact><it'\"s $(odd)>")
            && has(b"<\x1b[2Jbell\x07>")
            && has(b"<\xff\xfe>")
            && has(b"<--><-x>")
    );
}

#[test]
fn what_is_no_list_is_told_and_nothing_runs() {
    let scene = Scene::new().program("suite", LIBTEST).program("plain", "#!/bin/sh\nexit 3\n");
    let ran = scene.run(&["--each", "test", "--", "./plain"]);
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("./plain: it lists its tests neither as libtest"), "{}", ran.err);
    let ran = scene.run_listing(&["--each", "test", "--", "./suite"], "a: test\nline\nfeed: test\n", "");
    assert_eq!(ran.code, 125, "{}", ran.err);
    assert!(scene.ran().is_empty());
    // Whole, they run.
    assert_eq!(scene.run(&["--each", "binary", "--", "./suite"]).code, 0);

    let ran = scene.run(&["--each", "test", "--", "./nothing"]);
    assert_eq!((ran.code, ran.err.as_str()), (125, "sandtest: ./nothing: there is no such file\n"));
    let ran = scene.run(&["--each", "test", "--", "pytest", "--co", "."]);
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("runs nothing; sandtest exec --list"), "{}", ran.err);
    for command in [&["make", "check"][..], &["go", "test"], &["cargo", "build"]] {
        let ran = scene.run(&[&["--each", "test", "--"], command].concat());
        assert_eq!(ran.code, 125);
        assert!(
            ran.err.contains(&format!("{} is not understood as a test command", command.join(" ")))
                && ran.err.contains("cargo test, pytest"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn a_list_that_hangs_is_ended_in_time() {
    let scene = Scene::new().program("hangs", "#!/bin/sh\necho $$ >> pids\nsleep 1000\n");
    let begin = Instant::now();
    let ran = scene.run(&["--each", "test", "--list-timeout", "300ms", "--grace", "100ms", "--", "./hangs"]);
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("did not list its tests in time and was ended (--list-timeout)"), "{}", ran.err);
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert!(pids(&scene).iter().all(|pid| !is_alive(pid)));
}

#[test]
fn a_list_without_an_end_is_cut_off() {
    let scene = Scene::new().program("floods", "#!/bin/sh\necho $$ >> pids\nexec yes 'a: test'\n");
    let ran = scene.run(&["--each", "test", "--", "./floods"]);
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("./floods wrote more than 64 MiB; it was ended"), "{}", ran.err);
    assert!(pids(&scene).iter().all(|pid| !is_alive(pid)));
}

/// It is run in a group of its own, with a job's limits: no more of it than of a test.
#[test]
fn a_list_has_the_limits_of_a_job() {
    let scene = Scene::new().program("hog", "#!/bin/sh\nexec tail /dev/zero\n");
    let ran = scene.run(&["--each", "test", "--memory", "64M", "--", "./hog"]);
    assert_eq!(ran.code, 125, "{}", ran.err);
    assert!(ran.err.contains("memory_max of 64 MiB"), "{}", ran.err);
}

/// The sandtest that asks, and the program that it asks, end with the one that wanted to know.
#[test]
fn nobody_lists_for_a_sandtest_that_was_killed() {
    let scene = Scene::new().program("hangs", "#!/bin/sh\necho $$ >> pids\nexec sleep 1000\n");
    let mut child =
        scene.command(&["--each", "test", "--", "./hangs"]).stderr(Stdio::null()).spawn().unwrap();
    wait_until("it is asked", || !pids(&scene).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("it is gone", || pids(&scene).iter().all(|pid| !is_alive(pid)));
}

#[test]
fn nothing_to_run_is_exit_code_4_unless_that_is_well() {
    let scene = Scene::new().program("suite", LIBTEST);
    for tests in ["", "a: test\n"] {
        let arguments = ["--each", "test", "-E", "test(zebra)", "--", "./suite"];
        let ran = scene.run_listing(&arguments, tests, "");
        assert_eq!(ran.code, 4, "{}", ran.err);
        assert!(ran.err.contains("no jobs"), "{}", ran.err);
        assert_eq!(scene.run_listing(&[&["--no-tests", "pass"], &arguments[..]].concat(), tests, "").code, 0);
        assert_eq!(scene.run_listing(&[&["--list"], &arguments[..]].concat(), tests, "").code, 4);
    }
}

#[test]
fn a_filter_that_does_not_parse_shows_its_place() {
    let ran = Scene::new().run(&["-E", "binary(cli) & tset(~flatpak)", "--", "./suite"]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("tset is no predicate; did you mean test()?"), "{}", ran.err);
    assert!(ran.err.contains("\n  binary(cli) & tset(~flatpak)\n                ^"), "{}", ran.err);
    let ran = Scene::new().run(&["--partition", "slice:3/2", "--", "./suite"]);
    assert!(ran.err.contains("there is no part 3 of 2"), "{}", ran.err);
}

#[test]
fn parts_are_all_of_it_and_none_twice() {
    let scene = Scene::new().program("suite", LIBTEST);
    let tests: String = (0..50).map(|number| format!("t{number}: test\n")).collect();
    for how in ["slice", "count", "hash"] {
        let part = |part: u32| {
            let cut = format!("{how}:{part}/3");
            let ran = scene.run_listing(
                &["--each", "test", "--partition", &cut, "--list", "--", "./suite"],
                &tests,
                "",
            );
            ran.lines().into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let parts: Vec<Vec<String>> = (1..=3).map(part).collect();
        let together: BTreeSet<&String> = parts.iter().flatten().collect();
        assert_eq!((together.len(), parts.iter().map(Vec::len).sum::<usize>()), (50, 50), "{how}");
        assert!(parts.iter().all(|part| part.len() > 5), "{how}");
    }
}

#[test]
fn jobs_of_a_list_are_chosen_by_their_names() {
    let scene = Scene::new().program("jobs", "true a\ntrue b\ntrue a\nfalse\n");
    let list = |arguments: &[&str]| {
        let ran = scene.run(&[arguments, &["--list", "--jobs-from", "jobs"]].concat());
        ran.lines().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list(&[]), ["true a#1", "true b", "true a#2", "false"]);
    assert_eq!(list(&["-E", "binary(true) - test(b)"]), ["true a#1", "true a#2"]);
    assert_eq!(list(&["--partition", "slice:2/2"]), ["true b", "false"]);
    assert_eq!(scene.run(&["-E", "not binary(false)", "--jobs-from", "jobs"]).code, 0);
}

#[test]
fn googletest_and_catch2_are_told_by_how_they_list() {
    let google = r#"#!/bin/sh
case "$*" in
*--gtest_list_tests) printf 'Running main() from x\nSuite.\n  One\n  DISABLED_Two\nP/Suite.\n  Three/0  # GetParam() = 1\n' ;;
*) echo "$* $GTEST_TOTAL_SHARDS" >> "$RAN" ;;
esac
"#;
    let scene = Scene::new().program("google", google);
    let mut command = scene.command(&["--each", "test", "--", "./google", "--gtest_filter=*"]);
    let ran = Ran::of(command.env("GTEST_TOTAL_SHARDS", "7").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(scene.ran(), ["--gtest_filter=P/Suite.Three/0 1", "--gtest_filter=Suite.One 1"]);

    let catch = r#"#!/bin/sh
case "$*" in
*--gtest_list_tests*) exit 255 ;;
"--list-test-names-only ~[.]") printf 'adds, twice\nother\n'; exit 2 ;;
*--list*) exit 255 ;;
*) echo "$*" >> "$RAN" ;;
esac
"#;
    let scene = Scene::new().program("catch", catch);
    let ran = scene.run(&["--each", "test", "--", "./catch"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(scene.ran(), ["--warn NoTests adds\\, twice", "--warn NoTests other"]);
}

#[test]
fn pytest_is_run_by_file_or_by_test() {
    let pytest = r#"#!/bin/sh
case "$*" in
*--collect-only*) case "$*" in *" -n "*) exit 9 ;; esac; printf 'a_test.py::one\na_test.py::two[x y]\nb_test.py::C::three\n\n3 tests collected\n' ;;
*) echo "$*" >> "$RAN" ;;
esac
"#;
    let scene = Scene::new().program("pytest", pytest).program("a_test.py", "").program("b_test.py", "");
    let run = |arguments: &[&str]| {
        let ran = scene.run(&[arguments, &["--", "./pytest", "-n", "4", "-x"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        scene.ran()
    };
    assert_eq!(run(&["--each", "binary"]), ["-x a_test.py", "-x b_test.py"]);
    assert_eq!(
        run(&["--each", "test"]),
        ["-x a_test.py::one", "-x a_test.py::two[x y]", "-x b_test.py::C::three"]
    );
    assert_eq!(run(&["-E", "test(one) | binary(b*)"]), ["-x a_test.py::one", "-x b_test.py"]);
}

/// A workspace with all that cargo tests, and what it gives to its tests.
fn workspace() -> Option<Scene> {
    if Command::new("cargo").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: cargo is not there");
        return None;
    }
    let scene = Scene::new();
    let files = [
        ("Cargo.toml", "[workspace]\nmembers = [\"tool\", \"other\"]\nresolver = \"2\"\n"),
        (
            "tool/Cargo.toml",
            "[package]\nname = \"tool\"\nversion = \"1.2.3-rc.1\"\nedition = \"2021\"\nauthors = [\"A <a@x>\", \"B\"]\n\
             description = \"a tool\"\n[[test]]\nname = \"bare\"\nharness = false\n",
        ),
        (
            "tool/build.rs",
            "fn main() { println!(\"cargo:rustc-env=FROM_SCRIPT=yes it is\");\n\
             println!(\"cargo:rustc-link-search=native={}\", std::env::var(\"OUT_DIR\").unwrap()); }\n",
        ),
        (
            "tool/src/lib.rs",
            "/// ```\n/// assert_eq!(tool::one(), 1);\n/// ```\npub fn one() -> u8 { 1 }\n#[cfg(test)]\nmod tests {\n\
             #[test] fn unit() {}\n#[test] #[ignore] fn later() { panic!() }\n#[test] #[should_panic] fn panics() { panic!() }\n}\n",
        ),
        ("tool/src/bin/tool.rs", "fn main() {}\n"),
        (
            "tool/tests/cli.rs",
            "#[test] fn environment() {\n\
             let ours = |n: &String| n.starts_with(\"CARGO_\") && n != \"CARGO_HOME\" || n.contains(\"OUT_DIR\") || n == \"FROM_SCRIPT\";\n\
             let mut all: Vec<String> = std::env::vars().filter(|(n, _)| ours(n)).map(|(n, v)| format!(\"{n}={v}\")).collect();\n\
             all.push(std::env::current_dir().unwrap().display().to_string());\nall.sort();\n\
             let path = std::env::var(\"LD_LIBRARY_PATH\").unwrap();\n\
             all.extend(path.split(':').filter(|path| path.contains(\"target/debug\")).map(str::to_owned));\n\
             if let Ok(path) = std::env::var(\"DUMP\") { std::fs::write(path, all.join(\"\\n\")).unwrap(); }\n}\n\
             #[test] fn starts() { assert!(std::process::Command::new(env!(\"CARGO_BIN_EXE_tool\")).status().unwrap().success()); }\n",
        ),
        ("tool/tests/bare.rs", "fn main() { assert!(std::env::args().nth(1).is_none()); }\n"),
        ("other/Cargo.toml", "[package]\nname = \"other\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
        (
            "other/src/lib.rs",
            "#[test] fn of_other() { if std::env::var_os(\"BREAK\").is_some() { panic!() } }\n",
        ),
    ];
    for (path, text) in files {
        fs::create_dir_all(scene.path(path).parent().unwrap()).unwrap();
        fs::write(scene.path(path), text).unwrap();
    }
    Some(scene)
}

#[test]
fn cargo_test_runs_the_same_tests_with_what_cargo_gives_them() {
    let Some(scene) = workspace() else { return };
    let dump = |name: &str| fs::read_to_string(scene.path(name)).unwrap();
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--offline"]).current_dir(scene.folder.path()).env("DUMP", scene.path("by-cargo"));
    for variable in ["RUSTFLAGS", "CARGO_TARGET_DIR"] {
        cargo.env_remove(variable);
    }
    // What the cargo that runs this test has set for it is no part of the scene.
    let set: Vec<String> =
        std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("CARGO_PKG")).collect();
    for name in set {
        cargo.env_remove(name);
    }
    assert!(cargo.output().unwrap().status.success());

    let mut command = scene.command(&["--each", "test", "--", "cargo", "test", "--offline"]);
    let ran = Ran::of(command.env("DUMP", scene.path("by-sandtest")).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(dump("by-sandtest"), dump("by-cargo"));
    for name in [
        "other of_other",
        "tool tests::unit",
        "tool tests::panics",
        "tool::cli starts",
        "tool::bare",
        "cargo test --doc",
    ] {
        assert!(ran.err.contains(name), "{name}: {}", ran.err);
    }
    assert!(
        ran.err.contains("7 passed") && ran.err.contains("tool::bare: it was asked for its tests"),
        "{}",
        ran.err
    );

    let list = |arguments: &[&str]| {
        let ran = scene.run(&[&["--list"], arguments].concat());
        ran.lines().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = ["--", "cargo", "test", "--offline"];
    assert_eq!(
        list(&plain),
        ["other", "tool", "tool::bin/tool", "tool::bare", "tool::cli", "cargo test --doc --offline"]
    );
    assert_eq!(list(&[&["-E", "package(other)"], &plain[..]].concat()), ["other"]);
    assert_eq!(list(&[&["--each", "test"], &plain[..], &["--lib", "unit"]].concat()), ["tool tests::unit"]);
    assert_eq!(
        list(
            &[&["--each", "test", "-E", "binary(cli)"], &plain[..], &["-p", "tool", "--", "--skip", "envi"]]
                .concat()
        ),
        ["tool::cli starts"]
    );
    assert_eq!(
        list(&[&["--each", "test"], &plain[..], &["--lib", "--", "--ignored"]].concat()),
        ["tool tests::later"]
    );

    let mut broken = scene.command(&[
        "--no-fail-fast",
        "--each",
        "test",
        "-E",
        "all()",
        "--",
        "cargo",
        "test",
        "--offline",
    ]);
    let ran = Ran::of(broken.env("BREAK", "1").output().unwrap());
    assert_eq!(ran.code, 100, "{}", ran.err);
    assert!(ran.err.contains("1 failed"), "{}", ran.err);
    // Each sandtest that asked was only a step: what is kept are the runs.
    let runs = fs::read_dir(scene.path("state/sandtest/runs")).unwrap().count();
    assert_eq!(runs, 2);
}

#[test]
fn a_runner_and_variables_that_cargo_is_told_of_are_heeded_as_cargo_does() {
    let Some(scene) = workspace() else { return };
    let host = format!("{}_UNKNOWN_LINUX_GNU", std::env::consts::ARCH.to_uppercase());
    let scene = scene
        .program(
            "own-runner",
            "#!/bin/sh\nshift; basename \"$1\" | sed 's/-[0-9a-f]*$//' >> $RAN; exec \"$@\"\n",
        )
        .program("other-runner", "#!/bin/sh\necho other >> $RAN; exec \"$@\"\n");
    fs::create_dir_all(scene.path(".cargo")).unwrap();
    let config = "[target.'cfg(unix)']\nrunner = ['./own-runner', '-q']\n[env]\nCARGO_SAID = 'it is'\n\
                  CARGO_DATA = { value = 'data', relative = true }\nCARGO_KEPT = 'not this'\n\
                  CARGO_PKG_NAME = { value = 'not this either', force = true }\n";
    fs::write(scene.path(".cargo/config.toml"), config).unwrap();
    let cleaned = |mut command: Command| {
        let set: Vec<String> =
            std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("CARGO_PKG")).collect();
        for name in set {
            command.env_remove(name);
        }
        command.env_remove(format!("CARGO_TARGET_{host}_RUNNER")).env("CARGO_KEPT", "kept");
        command
    };
    let environment = |name: &str| {
        let text = fs::read_to_string(scene.path(name)).unwrap();
        text.lines().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let words = ["test", "--offline", "-p", "tool", "--test", "cli"];
    let mut cargo = Command::new("cargo");
    cargo.args(words).current_dir(scene.folder.path()).env("DUMP", scene.path("by-cargo"));
    cargo.env("RAN", scene.path("ran")).env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    assert!(cleaned(cargo).output().unwrap().status.success());
    assert_eq!(scene.ran(), ["cli"]);

    // The list is asked for through it, too: what it starts may run nowhere else.
    let each = |by: &str, variable: Option<&str>| {
        let mut command = cleaned(scene.command(&[&["--each", "test", "--", "cargo"], &words[..]].concat()));
        command
            .env("DUMP", scene.path(by))
            .envs(variable.map(|set| (format!("CARGO_TARGET_{host}_RUNNER"), set)));
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.err);
        scene.ran()
    };
    assert_eq!(each("by-sandtest", None), ["cli"; 4]);
    assert_eq!(environment("by-sandtest"), environment("by-cargo"));
    assert_eq!(each("again", Some("./other-runner")), ["other"; 4]);
    assert_eq!(
        each("alone", Some("/some/run/run-wrapper")),
        [""; 0],
        "a run around this one is not asked again"
    );
}

#[test]
fn a_build_that_fails_has_its_own_exit_code() {
    let Some(scene) = workspace() else { return };
    fs::write(scene.path("other/src/lib.rs"), "fn broken(\n").unwrap();
    let ran = scene.run(&["--each", "test", "--", "cargo", "test", "--offline"]);
    assert_eq!(ran.code, 101, "{}", ran.err);
    assert!(ran.err.contains("unclosed delimiter") && ran.err.contains("nothing is run"), "{}", ran.err);
}

fn pids(scene: &Scene) -> Vec<String> {
    let text = fs::read_to_string(scene.path("pids")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn is_alive(pid: &String) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
