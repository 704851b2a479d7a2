//! `--html` through the real binary; tests/html/check opens its pages in a browser.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
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
    fn new(jobs: &[String]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("jobs"), jobs.join("\n")).unwrap();
        Scene { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn exec(&self, page: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandtest"));
        command.args(["exec", "--no-fail-fast", "--html", page]);
        command.current_dir(self.folder.path()).env("XDG_STATE_HOME", self.path("state")).env_remove("CI");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = self.exec("page.html");
        command.args(options).args(["--jobs-from", "jobs"]);
        command
    }

    fn run(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }

    fn page(&self) -> Page {
        let text = fs::read_to_string(self.path("page.html")).unwrap();
        // As a browser finds it: the first end of the script is its end.
        let begin = "<script id=\"data\" type=\"application/json\">";
        let (before, after) = text.split_once(begin).unwrap();
        let data = serde_json::from_str(after.split_once("</script").unwrap().0).unwrap();
        Page { before: before.to_owned(), data, text }
    }
}

struct Page {
    text: String,
    /// What is there without a script.
    before: String,
    data: Value,
}

impl Page {
    fn jobs(&self) -> Vec<&Value> {
        let list = |name: &str| self.data[name].as_array().unwrap();
        list("failed").iter().chain(list("others")).collect()
    }

    fn job(&self, name: &str) -> &Value {
        self.jobs().into_iter().find(|job| job["name"].as_str().unwrap().contains(name)).unwrap()
    }
}

fn strings(jobs: &[&str]) -> Vec<String> {
    jobs.iter().map(|job| (*job).to_owned()).collect()
}

#[test]
fn every_attempt_has_its_place_in_time_and_its_reason() {
    let scene = Scene::new(&strings(&[
        "true",
        "sh -c 'echo told; exit 3'",
        "sh -c 'test -e flag || { touch flag; exit 4; }'",
        "sleep 7.5",
        "no-such-program",
    ]));
    fs::write(scene.path("sandtest.yaml"), "rules: [{match: sleep 7.5, timeout: 1s}]\n").unwrap();
    let ran = scene.run(&["-j2", "--retries", "1"]);
    assert_eq!(ran.status.code(), Some(100));
    let page = scene.page();
    assert!(page.before.contains("3 of 5 jobs failed"), "{}", page.before);
    assert_eq!(page.jobs().len(), 5);
    for job in page.jobs() {
        for attempt in job["attempts"].as_array().unwrap() {
            let time = |name: &str| attempt[name].as_f64().unwrap();
            let worked = time("e") - time("b");
            assert!(worked >= 0.0 && (worked - time("w")).abs() < 0.2, "{job}");
        }
    }
    let flaky = page.job("flag");
    assert_eq!(flaky["verdict"], "flaky");
    assert_eq!((&flaky["attempts"][0]["r"], &flaky["attempts"][1]["r"]), (&"retried".into(), &"pass".into()));
    let first_ended = flaky["attempts"][0]["e"].as_f64().unwrap();
    assert!(flaky["attempts"][1]["b"].as_f64().unwrap() >= first_ended);
    let last = &page.job("sleep")["attempts"][1];
    assert_eq!((&last["r"], &last["h"]), (&"fail".into(), &"timeout".into()));
    assert!(last["d"].as_str().unwrap().contains("clock_nanosleep"), "{last}");
    assert_eq!(page.job("told")["attempts"][1]["o"]["head"], "told\n");
    assert_eq!(page.job("no-such")["attempts"][0]["h"], "spawn-failed");
    // Without a script too.
    for wanted in ["told", "clock_nanosleep", "exit code 3", "class=\"counts\""] {
        assert!(page.before.contains(wanted), "{wanted} is not in {}", page.before);
    }
}

#[test]
fn what_a_test_chose_is_never_markup() {
    let hostile = "</script><script>x</script><!--<img src=x onerror=x>\u{2028}\u{2029}\"'&amp;{{data}}";
    let quoted = shell_words::quote(hostile);
    let scene = Scene::new(&[
        format!("sh -c 'exit 1' {quoted}"),
        format!("sh -c 'printf %s \"$0\"; printf \"\\377\\000\\033[31mred\\033]0;x\\007\"; exit 1' {quoted}"),
    ]);
    scene.run(&[]);
    let page = scene.page();
    assert!(!page.text.contains("<img"), "{}", page.text);
    assert!(!page.text.contains("<script>"));
    // The data and the page's own.
    assert_eq!((page.text.matches("<script").count(), page.text.matches("</script").count()), (2, 2));
    assert!(page.job("exit 1")["name"].as_str().unwrap().contains("<img src=x onerror=x>"));
    let wrote = page.job("printf")["attempts"][0]["o"]["head"].as_str().unwrap();
    assert!(wrote.starts_with("</script><script>x</script><!--<img"), "{wrote}");
    assert!(wrote.ends_with("\u{fffd}\\u{0}red"), "{wrote}");
}

#[test]
fn names_that_are_no_text_or_have_no_end_are_cut_and_shown() {
    let scene = Scene::new(&[]);
    let long = "<".repeat(100_000);
    let mut command = scene.exec("page.html");
    command
        .args(["--shards", "2", "--", "false"])
        .arg(OsStr::from_bytes(b"\xff\xfe\x1b[31m"))
        .args(vec![long; 10]);
    assert_eq!(command.output().unwrap().status.code(), Some(100));
    let page = scene.page();
    let name = page.jobs()[0]["name"].as_str().unwrap();
    assert!(name.contains("\u{fffd}\u{fffd}?[31m") && name.ends_with('…') && name.len() < 250, "{name}");
    assert!(page.text.len() < 120_000, "{} bytes", page.text.len());
}

#[test]
fn however_much_failing_jobs_write_the_page_stays_small_and_says_what_is_left_out() {
    let jobs: Vec<String> = (0..400).map(|n| format!("sh -c 'seq 1 30000; exit 1' {n}")).collect();
    let scene = Scene::new(&jobs);
    scene.run(&["-j4"]);
    let page = scene.page();
    assert!(page.text.len() < 2_500_000, "{} bytes", page.text.len());
    assert_eq!(page.jobs().len(), 400);
    for job in page.jobs() {
        let output = &job["attempts"][0]["o"];
        let (head, tail) = (output["head"].as_str().unwrap(), output["tail"].as_str().unwrap());
        assert!(head.starts_with("1\n2\n") && tail.ends_with("29999\n30000\n"), "{output}");
        let (left_out, total) = (output["left_out"].as_u64().unwrap(), output["total"].as_u64().unwrap());
        assert_eq!(left_out + (head.len() + tail.len()) as u64, total);
        let folder = PathBuf::from(page.data["folder"].as_str().unwrap());
        let whole = fs::read(folder.join(output["file"].as_str().unwrap())).unwrap();
        assert_eq!(whole.len() as u64, total);
    }
}

#[test]
fn a_run_that_is_killed_has_a_page_of_what_was_finished() {
    let scene = Scene::new(&vec!["sleep 0.1".to_owned(); 200]);
    let mut child = scene.command(&["-j1"]).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    while fs::metadata(scene.path("page.html")).map_or(0, |file| file.len()) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(15), "nothing is written before the end");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let page = scene.page();
    assert!((1..200).contains(&page.jobs().len()), "{} jobs", page.jobs().len());
    assert_eq!(page.data["finished"], false);
    assert!(page.before.contains("Written while the run went on"), "{}", page.before);
    assert!(!scene.path("page.html.part").exists());
}

#[test]
fn what_can_not_be_written_is_said_before_or_after_and_changes_no_result() {
    let scene = Scene::new(&strings(&["true"]));
    fs::create_dir(scene.path("folder")).unwrap();
    let run = |page: &str| scene.exec(page).args(["--jobs-from", "jobs"]).output().unwrap();
    for path in ["folder", "no/such/folder/page.html"] {
        let ran = run(path);
        assert_eq!(ran.status.code(), Some(125), "nothing runs");
        assert!(String::from_utf8_lossy(&ran.stderr).contains(&format!("write {path}:")));
    }
    let ran = run("/dev/full");
    assert_eq!(ran.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("write /dev/full: No space left"), "{ran:?}");
    assert_eq!(run("/dev/null").status.code(), Some(0));
}
