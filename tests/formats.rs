//! TAP, libtest's JSON, GitHub's annotations and summary, and traces, through the real binary; each read by a reader of its own
//! world, or as its specification says.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(jobs: &[&str]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("jobs"), jobs.join("\n")).unwrap();
        fs::write(folder.path().join("sandtest.yaml"), "rules: [{match: sleep 7.5, timeout: 500ms}]\n")
            .unwrap();
        Scene { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sandtest(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
        command.args(arguments).current_dir(self.folder.path()).env("XDG_STATE_HOME", self.path("state"));
        for variable in ["CI", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, options: &[&str]) -> Output {
        let begin = ["exec", "--no-fail-fast", "--retries", "1", "--jobs-from", "jobs"];
        self.sandtest(&[&begin, options].concat()).output().unwrap()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        self.text(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Each kind of end, with names and output made to be taken for something else.
const ENDS: [&str; 7] = [
    "true '# SKIP' '\\# TODO x' 'not ok 1' ::error::x",
    "sh -c 'printf \"A: [x]\\tB \\\\\\\\ \\\"q\\\"\\n  ...\\nnot ok 9\\n::error::%%0A\\n</pre>| \\140a\\140\\001\\033[31mred\\n\"; exit 3'",
    "sh -c 'test -e flag || { touch flag; exit 4; }'",
    "sleep 7.5",
    "no-such-program",
    "sh -c 'kill -SEGV $$'",
    "sh -c 'exit 0' 'café\u{2028}\u{1b}]0;x'",
];

/// What perl's TAP::Parser makes of a file; `None`, said aloud, without perl.
fn parsed_by_perl(path: &PathBuf) -> Option<Vec<String>> {
    let program = "use TAP::Parser; my $p = TAP::Parser->new({exec => ['cat', $ARGV[0]]});\
        while (my $r = $p->next) { if ($r->is_test) { print $r->ok, '|', $r->directive, '|', $r->description, \"\\n\" } \
        elsif ($r->is_yaml) { print join(' ', sort keys %{$r->data}), '|', $r->data->{output} // '', \"\\n\" } \
        elsif (!$r->is_plan && !$r->is_version) { print $r->as_string, \"\\n\" } } \
        print 'errors: ', join(',', $p->parse_errors), ' planned: ', $p->tests_planned, ' failed: ', join(',', $p->failed), \"\\n\";";
    let ran = Command::new("perl").args(["-e", program]).arg(path).output();
    match ran {
        Ok(ran) if ran.status.success() => {
            Some(String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect())
        }
        _ => {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: perl's TAP::Parser is not there, so TAP is not read by it"
            );
            None
        }
    }
}

#[test]
fn tap_is_read_by_perl_and_its_blocks_are_yaml() {
    let scene = Scene::new(&ENDS);
    assert_eq!(scene.run(&["-j1", "--tap", "run.tap"]).status.code(), Some(100));
    let text = scene.text("run.tap");
    for block in text.split("\n  ---\n").skip(1) {
        let block = block.split_once("\n  ...").unwrap().0;
        let read: BTreeMap<String, serde_yaml::Value> = serde_yaml::from_str(block).unwrap();
        assert!(read.contains_key("duration_ms"), "{block}");
    }
    let Some(lines) = parsed_by_perl(&scene.path("run.tap")) else { return };
    let last = lines.last().unwrap();
    assert!(last.starts_with("errors:  planned: 7 failed: ") && last.matches(',').count() == 3, "{lines:#?}");
    let tests: Vec<&String> = lines.iter().filter(|line| line.contains("||- ")).collect();
    assert_eq!(tests.len(), 7, "none is a directive: {lines:#?}");
    assert!(
        tests.iter().any(|line| line.starts_with("ok||- true ") && line.contains("\\# SKIP")),
        "{lines:#?}"
    );
    assert_eq!(tests.iter().filter(|line| line.starts_with("ok|")).count(), 3, "{lines:#?}");
    let wrote = lines.iter().position(|line| line.ends_with("|A: [x]\tB \\ \"q\"")).unwrap();
    assert!(
        lines[wrote]
            .starts_with("duration_ms memory_max memory_peak message output reason severity tries_before|")
    );
    assert_eq!(lines[wrote + 1..wrote + 5], ["  ...", "not ok 9", "::error::%0A", "</pre>| `a`\\u{1}red"]);
}

#[test]
fn a_run_that_ends_early_is_not_taken_for_a_whole_one() {
    let scene = Scene::new(&["false", "true", "true"]);
    let begin = ["exec", "-j1", "--jobs-from", "jobs", "--tap", "run.tap"];
    assert_eq!(scene.sandtest(&begin).output().unwrap().status.code(), Some(100));
    assert!(scene.text("run.tap").ends_with("# 2 never ran: after a failure nothing more was started\n"));
    if let Some(lines) = parsed_by_perl(&scene.path("run.tap")) {
        assert!(lines.last().unwrap().contains("You planned 3 tests but ran 1"), "{lines:#?}");
    }
    fs::write(scene.path("jobs"), "").unwrap();
    assert_eq!(scene.sandtest(&begin).output().unwrap().status.code(), Some(4));
    assert_eq!(scene.text("run.tap"), "TAP version 13\n1..0 # SKIP there are no jobs to run\n");
}

#[test]
fn an_interrupted_run_bails_out() {
    let scene = Scene::new(&["touch up", "sleep 70994"]);
    let mut child =
        scene.sandtest(&["exec", "-j1", "--tap", "run.tap", "--jobs-from", "jobs"]).spawn().unwrap();
    let begin = Instant::now();
    while !fs::read_to_string(scene.path("run.tap")).is_ok_and(|text| text.contains("ok 1 - touch up")) {
        assert!(begin.elapsed() < Duration::from_secs(20), "a test is written as it ends");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(scene.text("run.tap").ends_with("\nBail out! The run was interrupted\n"));
}

/// The fields of each kind of line.
fn fields(lines: &[Value]) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut kinds = BTreeMap::<_, BTreeSet<String>>::new();
    for line in lines {
        let said = |key: &str| line[key].as_str().unwrap().to_owned();
        let keys = line.as_object().unwrap().keys().cloned();
        kinds.entry((said("type"), said("event"))).or_default().extend(keys);
    }
    kinds
}

#[test]
fn libtest_json_has_the_fields_that_libtest_writes() {
    let scene = Scene::new(&ENDS);
    scene.run(&["-j2", "--libtest-json", "run.json"]);
    let lines = scene.lines("run.json");
    assert_eq!((&lines[0]["event"], &lines[0]["test_count"]), (&"started".into(), &7.into()));
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["passed"], &last["failed"]), (&"failed".into(), &3.into(), &4.into()));
    let of = |name: &str, event: &str| {
        let is = |line: &&Value| {
            line["event"] == event && line["name"].as_str().is_some_and(|it| it.contains(name))
        };
        lines.iter().filter(is).collect::<Vec<_>>()
    };
    for name in ["true", "exit 3", "flag", "sleep", "no-such", "SEGV", "café"] {
        assert_eq!(of(name, "started").len(), 1, "{name}: once, however often it is tried");
    }
    assert!(of("exit 3", "failed")[0]["stdout"].as_str().unwrap().starts_with("A: [x]"));
    assert!(of("flag", "ok")[0]["exec_time"].as_f64().is_some());
    assert!(of("sleep", "failed")[0]["message"].as_str().unwrap().starts_with("timeout: "));

    let source = "#[test] fn good() {} #[test] fn bad() { println!(\"out\"); panic!() }";
    fs::write(scene.path("reference.rs"), source).unwrap();
    let build =
        Command::new("rustc").args(["--test", "reference.rs"]).current_dir(scene.folder.path()).output();
    if !build.is_ok_and(|built| built.status.success()) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: rustc is not there, so libtest itself is not asked");
        return;
    }
    let theirs = Command::new(scene.path("reference"))
        .args(["--format", "json", "-Z", "unstable-options", "--report-time"])
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .unwrap();
    let theirs = String::from_utf8(theirs.stdout).unwrap();
    let theirs: Vec<Value> = theirs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (theirs, mut ours) = (fields(&theirs), fields(&lines));
    // It writes one for what was expected to panic otherwise.
    ours.get_mut(&("test".into(), "failed".into())).unwrap().remove("message");
    assert_eq!(ours, theirs);
}

#[test]
fn what_is_slow_and_what_is_flaky_is_said_in_each_format() {
    let scene = Scene::new(&["sleep 7.5", "sh -c 'test -e flag || { touch flag; exit 4; }'"]);
    let ran = scene.run(&[
        "--slow-after",
        "100ms",
        "--flaky-result",
        "fail",
        "--tap",
        "run.tap",
        "--libtest-json",
        "run.json",
    ]);
    assert_eq!(ran.status.code(), Some(100));
    let is = |line: &Value, event: &str, name: &str| {
        line["event"] == event && line["name"].as_str().is_some_and(|it| it.contains(name))
    };
    let lines = scene.lines("run.json");
    assert!(lines.iter().any(|line| is(line, "timeout", "sleep 7.5")), "{lines:?}");
    assert!(lines.iter().any(|line| is(line, "failed", "flag")), "{lines:?}");
    let tap = scene.text("run.tap");
    let flaky = tap.split("not ok ").find(|test| test.contains("touch flag")).unwrap();
    assert!(
        flaky.contains("\n  reason: \"flaky\"\n") && flaky.contains("tries_before: \"exited with code 4"),
        "{flaky}"
    );
}

/// A command as actions/runner reads it (ActionCommand.TryParseV2): name, properties, data.
fn command(line: &str) -> Option<(String, BTreeMap<String, String>, String)> {
    let line = line.trim_start().strip_prefix("::")?;
    let (head, data) = line.split_once("::")?;
    let undone = |text: &str, pairs: &[(&str, &str)]| {
        pairs.iter().fold(text.to_owned(), |text, (token, letter)| text.replace(token, letter))
    };
    let of_data = [("%0D", "\r"), ("%0A", "\n"), ("%25", "%")];
    let of_property = [("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")];
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    let properties = properties.trim().split(',').filter_map(|pair| pair.split_once('='));
    let properties = properties.map(|(key, value)| (key.to_owned(), undone(value, &of_property))).collect();
    Some((name.to_owned(), properties, undone(data, &of_data)))
}

fn annotations(err: &[u8]) -> Vec<(String, String, String)> {
    let text = String::from_utf8_lossy(err).into_owned();
    let told = text.lines().filter_map(command).filter(|(_, properties, _)| properties.contains_key("title"));
    told.map(|(level, properties, message)| (level, properties["title"].clone(), message)).collect()
}

#[test]
fn under_actions_what_failed_is_annotated_and_summed_up() {
    let scene = Scene::new(&ENDS);
    let run = |options: &[&str]| {
        let begin = ["exec", "-j1", "--no-fail-fast", "--retries", "1", "--jobs-from", "jobs"];
        let mut command = scene.sandtest(&[&begin, options].concat());
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", scene.path("summary.md"));
        command.output().unwrap()
    };
    fs::write(scene.path("summary.md"), "of a step before\n").unwrap();
    let ran = run(&[]);
    assert_eq!(ran.status.code(), Some(100));
    let told = annotations(&ran.stderr);
    let levels: Vec<&str> = told.iter().map(|(level, ..)| level.as_str()).collect();
    assert_eq!(levels, ["error", "error", "error", "error", "warning"]);
    let (_, title, message) = told.iter().find(|(_, title, _)| title.contains("exit 3")).unwrap();
    assert!(title.starts_with("exit code 3: sh -c 'printf "), "{title}");
    assert!(
        message.starts_with("exited with code 3") && message.contains("\n::error::%0A\n</pre>| `a`"),
        "{message}"
    );
    assert!(told[4].1.starts_with("flaky: sh -c 'test -e flag"), "{told:?}");
    let summary = scene.text("summary.md");
    assert!(
        summary.starts_with("of a step before\n\n### sandtest: 4 of 7 jobs failed\n\n3 passed, 4 failed, ")
    );
    assert_eq!((summary.matches("<details>").count(), summary.matches("</details>").count()), (5, 5));
    assert_eq!((summary.matches("<pre>").count(), summary.matches("</pre>").count()), (2, 2), "{summary}");
    assert!(summary.contains("&#60;/pre&#62;&#124; &#96;a&#96;&#92;u{1}red"), "{summary}");
    assert!(!summary.contains('\u{1b}') && !summary.contains("[31m"));

    fs::write(scene.path("summary.md"), "").unwrap();
    let off = run(&["--github", "off"]);
    assert!(annotations(&off.stderr).is_empty() && scene.text("summary.md").is_empty(), "turned off");
    fs::write(scene.path("jobs"), "true\n").unwrap();
    run(&[]);
    assert!(scene.text("summary.md").starts_with("\n### sandtest: 1 job passed\n\n1 passed in "));
    let elsewhere = scene.run(&["--github", "on"]);
    assert_eq!(elsewhere.status.code(), Some(0), "without a place for a summary there is none");
}

#[test]
fn one_command_is_annotated_only_where_it_cannot_say_how_it_ended() {
    let scene = Scene::new(&[]);
    let run = |options: &[&str]| {
        let mut command = scene.sandtest(&[&["exec"], options].concat());
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", scene.path("summary.md"));
        annotations(&command.output().unwrap().stderr)
    };
    assert_eq!(run(&["--", "sh", "-c", "exit 3"]), []);
    assert!(!scene.path("summary.md").exists());
    let told = run(&["--timeout", "300ms", "--", "sleep", "70993"]);
    assert_eq!((told.len(), told[0].1.as_str()), (1, "timeout: sleep 70993"));
    assert!(scene.text("summary.md").contains("1 of 1 job failed"), "{}", scene.text("summary.md"));
}

#[test]
fn more_failures_than_github_shows_are_counted_and_the_summary_has_an_end() {
    let jobs: Vec<String> = (0..120).map(|n| format!("sh -c 'seq 1 3000; exit 1' {n}")).collect();
    let scene = Scene::new(&jobs.iter().map(String::as_str).collect::<Vec<_>>());
    let mut command =
        scene.sandtest(&["exec", "-j4", "--no-fail-fast", "--github", "on", "--jobs-from", "jobs"]);
    let ran = command.env("GITHUB_STEP_SUMMARY", scene.path("summary.md")).output().unwrap();
    let told = annotations(&ran.stderr);
    assert_eq!(told.len(), 10);
    assert!(told[9].2.starts_with("111 more: "), "{:?}", told[9]);
    assert!(told.iter().all(|(.., message)| message.len() < 4096));
    let summary = scene.text("summary.md");
    assert!(summary.len() < 500 << 10, "{} bytes", summary.len());
    assert_eq!(summary.matches("<details>").count(), 120, "each has its end in it");
    fs::create_dir(scene.path("folder")).unwrap();
    let mut command = scene.sandtest(&["exec", "--github", "on", "--jobs-from", "jobs"]);
    let ran = command.env("GITHUB_STEP_SUMMARY", scene.path("folder")).output().unwrap();
    assert_eq!(ran.status.code(), Some(100), "it changes no result");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("folder: Is a directory"));
}

/// As the Trace Event Format has it, of each phase that we write.
fn check_trace(trace: &Value) -> BTreeMap<u64, Vec<(u64, u64, String)>> {
    assert_eq!(trace["displayTimeUnit"], "ms");
    let mut spans: BTreeMap<u64, Vec<(u64, u64, String)>> = BTreeMap::new();
    for entry in trace["traceEvents"].as_array().unwrap() {
        let number = |key: &str| entry[key].as_u64().unwrap_or_else(|| panic!("{key} in {entry}"));
        let name = entry["name"].as_str().unwrap().to_owned();
        assert_eq!(number("pid"), 1);
        let (ts, thread) = (number("ts"), number("tid"));
        match entry["ph"].as_str().unwrap() {
            "X" => spans.entry(thread).or_default().push((ts, ts + number("dur"), name)),
            "C" => assert!(entry["args"].as_object().unwrap().values().all(Value::is_number), "{entry}"),
            "i" => assert_eq!(entry["s"], "t", "{entry}"),
            "M" => assert!(
                matches!(name.as_str(), "process_name" | "thread_name") && entry["args"]["name"].is_string()
            ),
            other => panic!("phase {other}"),
        }
    }
    // On a thread spans follow each other, or one is inside of the other.
    for spans in spans.values_mut() {
        spans.sort_by_key(|(begin, end, _)| (*begin, u64::MAX - end));
        let mut open: Vec<u64> = Vec::new();
        for (begin, end, name) in spans.iter() {
            open.retain(|outer| outer > begin);
            assert!(open.iter().all(|outer| end <= outer), "{name} is across the end of another: {spans:?}");
            open.push(*end);
        }
    }
    spans
}

#[test]
fn a_trace_has_each_attempt_in_its_slot() {
    let scene = Scene::new(&ENDS);
    scene.run(&["-j2", "--trace", "trace.json"]);
    let trace: Value = serde_json::from_str(&scene.text("trace.json")).unwrap();
    let spans = check_trace(&trace);
    assert_eq!(
        spans.keys().copied().collect::<Vec<_>>(),
        [1, 2],
        "two slots, and the governor had nothing to do"
    );
    // Four of the seven were tried twice.
    assert_eq!(spans.values().map(Vec::len).sum::<usize>(), 11);
    let sleeps = spans.values().flatten().filter(|(.., name)| name == "sleep 7.5");
    assert!(sleeps.clone().count() == 2 && sleeps.clone().all(|(begin, end, _)| end - begin >= 500_000));
    let entries = trace["traceEvents"].as_array().unwrap();
    let last = entries.iter().rfind(|entry| entry["ph"] == "C").unwrap();
    assert_eq!(last["args"]["peaks"], 0, "in the end nothing runs");
}

#[test]
fn two_reports_in_one_file_are_refused_before_anything_runs() {
    let scene = Scene::new(&["touch ran"]);
    fs::write(scene.path("there"), "kept").unwrap();
    fs::hard_link(scene.path("there"), scene.path("same")).unwrap();
    for [one, other] in [["new", "./new"], ["there", "same"]] {
        let ran = scene.run(&["--tap", one, "--junit", other]);
        assert_eq!((ran.status.code(), scene.path("ran").exists()), (Some(125), false));
        assert!(String::from_utf8_lossy(&ran.stderr).contains("the same file"), "{ran:?}");
    }
    assert_eq!(fs::read_to_string(scene.path("there")).unwrap(), "kept");
    assert_eq!(scene.run(&["--tap", "/dev/null", "--junit", "/dev/null"]).status.code(), Some(0));
}

#[test]
fn what_can_not_be_written_is_said_before_anything_runs() {
    let scene = Scene::new(&["touch ran"]);
    for option in ["--tap", "--libtest-json", "--trace"] {
        let ran = scene.run(&[option, "no/such/folder/file"]);
        assert_eq!((ran.status.code(), scene.path("ran").exists()), (Some(125), false));
        assert!(String::from_utf8_lossy(&ran.stderr).contains("write no/such/folder/file:"));
        let full = scene.run(&[option, "/dev/full"]);
        assert_eq!(full.status.code(), Some(0), "it changes no result");
        assert!(String::from_utf8_lossy(&full.stderr).contains("write /dev/full: No space left"));
        fs::remove_file(scene.path("ran")).unwrap();
    }
}
