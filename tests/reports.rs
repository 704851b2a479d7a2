//! What a user and a script see of a run: every ending once, as text and as JSON lines, against snapshots.

use std::collections::BTreeMap;
use std::time::Duration;

use sandtest::model::diagnosis::{Asked, Diagnosis, Observation};
use sandtest::model::event::{
    AttemptFinished, AttemptStarted, BrokerNews, BrokerPlace, Captured, Event, RunFinished, RunStarted,
    SpawnError, Tries,
};
use sandtest::model::governor::{Action, Decision, Governed, Signal, State};
use sandtest::model::isolation::Missing;
use sandtest::model::profile::{JobSettings, Origin, Parallelism, PressureLines};
use sandtest::model::retry::{FlakyResult, LeakPolicy, Retry, Unsettled};
use sandtest::model::view::{Reason, WaitView, WaitsFor};
use sandtest::model::{
    Attempt, AttemptId, Bytes, Cause, Cpus, Enforcement, Evidence, Exit, Fate, Isolation, JobId, LimitName,
    Limits, Outcome, Process, Profile, RunId, Tier, Verdict,
};
use sandtest::report::Reporter;
use sandtest::report::github::GithubReporter;
use sandtest::report::html::HtmlReporter;
use sandtest::report::json::JsonReporter;
use sandtest::report::junit::JunitReporter;
use sandtest::report::libtest::LibtestReporter;
use sandtest::report::paragraph::Words;
use sandtest::report::recorded::{self, cut_off};
use sandtest::report::story::Story;
use sandtest::report::tap::TapReporter;
use sandtest::report::terminal::{Look, TerminalReporter};
use sandtest::report::trace::TraceReporter;

const PLAIN: Look = Look { live: false, colour: false, width: None };
const NARROW: Look = Look { live: false, colour: false, width: Some(50) };

fn profile() -> Profile {
    let set_by = |file: &str, line, text: &str| Origin { file: file.into(), line, text: text.into() };
    Profile {
        name: "mine".into(),
        budget: Limits { memory_max: Some(Bytes(8 << 30)), ..Limits::default() },
        reserve: Bytes(1 << 30),
        job: JobSettings {
            limits: limits(),
            nofile: Some(1024),
            oom_score_adj: 900,
            timeout: Some(Duration::from_secs(2)),
            slow_after: None,
            idle_timeout: None,
            on_timeout: None,
            retry: Retry::NEVER,
            flaky_result: FlakyResult::Pass,
            leak: LeakPolicy::Warn,
            grace: Duration::from_secs(2),
            no_new_privs: false,
            drop_capabilities: false,
        },
        jobs: Parallelism { min: 1, max: 4, idle_max: 4 },
        pressure: PressureLines { yellow: 20.0, orange: 12.0, red: 8.0, stall: 40.0 },
        protect: Vec::new(),
        run_timeout: None,
        settle_timeout: Duration::from_secs(10),
        groups: BTreeMap::new(),
        origins: BTreeMap::from([
            ("job.memory_max".into(), set_by(".sandtest/mine.yaml", 4, "64M")),
            ("job.pids_max".into(), set_by("built-in native.yaml", 21, "256")),
            ("job.timeout".into(), set_by("", 0, "--timeout")),
        ]),
    }
}

fn limits() -> Limits {
    Limits {
        memory_max: Some(Bytes(64 << 20)),
        memory_swap_max: Some(Bytes(0)),
        pids_max: Some(256),
        cpu_max: Some(Cpus { milli: 1500 }),
        ..Limits::default()
    }
}

fn isolation(tier: Tier, who: Enforcement) -> Isolation {
    Isolation {
        tier,
        memory_max: who,
        memory_swap_max: Enforcement::Kernel,
        pids_max: who,
        cpu_max: if who == Enforcement::Kernel { who } else { Enforcement::None },
        missing: match who {
            Enforcement::Kernel => Vec::new(),
            _ => vec![Missing { what: "no cgroup can be written".into(), fix: "run it outside".into() }],
        },
    }
}

fn started(isolation: Isolation, pass_through: bool) -> Event {
    Event::RunStarted(RunStarted {
        run: RunId("6b000000-1-7".into()),
        name: "jobs.txt".into(),
        time: Duration::from_millis(1_795_000_000_123),
        profile: "mine".into(),
        isolation,
        budget: profile().budget,
        jobs: if pass_through { 1 } else { 9 },
        parallel: if pass_through { 1 } else { 4 },
        absent_sensors: vec!["pressure of the editor".into()],
        pass_through,
        broker: None,
    })
}

/// An attempt that passed; each ending changes what is special about it.
fn passed(job: u32, name: &str) -> AttemptFinished {
    AttemptFinished {
        attempt: Attempt { id: AttemptId { job: JobId(job), number: 1 }, slot: job % 4 },
        job: name.into(),
        driver: None,
        test: None,
        outcome: Outcome::Exited,
        cause: Cause::Own,
        verdict: Some(Verdict::Pass),
        exit: Some(Exit::Code(0)),
        spawn_error: None,
        began: Duration::from_millis(100),
        ended: Duration::from_millis(1334),
        wall: Duration::from_millis(1234),
        frozen: Duration::ZERO,
        evidence: Evidence {
            memory_peak: Some(Bytes(12 << 20)),
            pids_peak: Some(3),
            oom_kill: Some(0),
            oom_own: Some(0),
            pids_max_events: Some(0),
            cpu_time: Some(Duration::from_millis(250)),
            ..Evidence::default()
        },
        limits: limits(),
        origins: BTreeMap::new(),
        timeout: Some(Duration::from_secs(2)),
        idle_timeout: None,
        failed: false,
        retry_in: None,
        tries: Tries { this: 1, most: 1 },
        diagnosis: None,
        diagnosis_file: None,
        output: Some(Captured::default()),
    }
}

fn failed(job: u32, name: &str, outcome: Outcome, exit: Option<Exit>, evidence: Evidence) -> AttemptFinished {
    AttemptFinished {
        outcome,
        exit,
        evidence,
        verdict: Some(Verdict::Fail),
        failed: true,
        ..passed(job, name)
    }
}

/// Every way in which an attempt can end.
fn endings() -> Vec<AttemptFinished> {
    let kill = Some(Exit::Signal(9));
    let quiet = passed(0, "").evidence;
    let text = b"running 2 tests\nassertion failed: left == right".to_vec();
    let output = Some(Captured { total: text.len() as u64, head: text, ..Captured::default() });
    let long = Captured {
        head: b"first line\n".to_vec(),
        tail: b"last line\n".to_vec(),
        total: 20 << 20,
        file: Some("/state/output/2-1.log".into()),
        file_lacks: 12 << 20,
    };
    let sleeper =
        Process { pid: 4711, name: "sleep".into(), command: "sleep 1000".into(), listening: vec![] };
    let leaked = Evidence { leaked: vec![sleeper], leaked_count: 1, ..quiet.clone() };
    let oom = Evidence {
        memory_peak: Some(Bytes(64 << 20)),
        oom_kill: Some(1),
        oom_own: Some(1),
        oom_budget: Some(0),
        ..quiet.clone()
    };
    let budget =
        Evidence { oom_own: Some(0), oom_budget: Some(1), budget_max: Some(Bytes::gib(6)), ..oom.clone() };
    let missing = SpawnError { message: "no-such was not found in PATH".into(), exit_code: 127 };
    let rule = Origin { file: "sandtest.yaml".into(), line: 3, text: "idle_timeout: 30s".into() };
    let diagnosis = Diagnosis {
        reading: "41 threads, 0.0 % CPU, all in futex_wait: looks like a deadlock".into(),
        seen: Observation { memory: Some(Bytes::mib(9)), ..Observation::default() },
        asked: Some(Asked {
            command: "py-spy dump --pid 42".into(),
            ended: "exited".into(),
            output: vec!["Thread 42".into(), "    acquire (lock.py:3)".into()],
        }),
        ..Diagnosis::default()
    };
    vec![
        passed(0, "cargo test --lib"),
        AttemptFinished {
            output,
            ..failed(1, "unit", Outcome::Exited, Some(Exit::Code(101)), quiet.clone())
        },
        AttemptFinished {
            output: Some(long),
            ..failed(2, "crasher", Outcome::Signaled, Some(Exit::Signal(11)), quiet.clone())
        },
        failed(3, "hog --size 400M --and --a --very --long --command --line", Outcome::Oom, kill, oom),
        failed(
            4,
            "bomb",
            Outcome::Pids,
            Some(Exit::Code(1)),
            Evidence { pids_peak: Some(256), pids_max_events: Some(40), ..quiet.clone() },
        ),
        failed(5, "sleep 60", Outcome::Timeout, Some(Exit::Signal(15)), quiet.clone()),
        AttemptFinished { evidence: leaked, ..passed(6, "daemon") },
        AttemptFinished {
            spawn_error: Some(missing),
            ..failed(7, "no-such", Outcome::SpawnFailed, None, Evidence::default())
        },
        AttemptFinished {
            outcome: Outcome::Evicted,
            cause: Cause::Budget,
            verdict: None,
            exit: kill,
            evidence: budget,
            ..passed(8, "neighbour")
        },
        AttemptFinished {
            outcome: Outcome::Evicted,
            cause: Cause::Budget,
            verdict: None,
            exit: kill,
            evidence: quiet.clone(),
            ..passed(10, "made room")
        },
        AttemptFinished {
            verdict: None,
            retry_in: Some(Duration::from_millis(500)),
            tries: Tries { this: 1, most: 3 },
            failed: false,
            ..failed(11, "sometimes", Outcome::Exited, Some(Exit::Code(1)), quiet.clone())
        },
        AttemptFinished {
            verdict: Some(Verdict::Flaky),
            tries: Tries { this: 2, most: 3 },
            ..passed(11, "sometimes")
        },
        AttemptFinished {
            cause: Cause::Idle,
            idle_timeout: Some(Duration::from_secs(30)),
            origins: BTreeMap::from([("job.idle_timeout".into(), rule)]),
            diagnosis: Some(Box::new(diagnosis)),
            diagnosis_file: Some("/state/output/12-1.diagnosis.txt".into()),
            ..failed(12, "deadlock", Outcome::Timeout, Some(Exit::Signal(15)), quiet.clone())
        },
        AttemptFinished {
            cause: Cause::RunTimeout,
            ..failed(13, "too late", Outcome::Timeout, Some(Exit::Signal(15)), quiet.clone())
        },
        unseen(14, "shapes"),
        failed(
            9,
            "sampled hog",
            Outcome::Oom,
            kill,
            Evidence {
                sampled_over: Some(LimitName::MemoryMax),
                memory_peak: Some(Bytes(80 << 20)),
                ..quiet
            },
        ),
    ]
}

/// From green to red and back.
fn decisions() -> Vec<Event> {
    let decision = |at, action, state, job: Option<&str>| Event::Governor {
        at: Duration::from_millis(at),
        decision: Decision {
            action,
            attempt: job.map(|_| AttemptId { job: JobId(8), number: 1 }),
            state,
            signal: Signal::Memory,
            value: 40 << 20,
            line: 64 << 20,
            left: Bytes::mib(40),
            budget: Bytes::gib(8),
            filling: Bytes::mib(400),
            held: 5,
        },
        job: job.map(str::to_owned),
    };
    vec![
        decision(1000, Action::Hold, State::Yellow, None),
        decision(1200, Action::Freeze, State::Orange, Some("neighbour")),
        decision(1210, Action::Evict, State::Red, Some("neighbour")),
        decision(3000, Action::Release, State::Green, None),
    ]
}

/// What is told of a job beside its attempts.
fn notes() -> Vec<Event> {
    let id = AttemptId { job: JobId(11), number: 2 };
    let job = || "sometimes".to_owned();
    vec![
        Event::Slow { attempt: Attempt { id, slot: 0 }, job: job(), elapsed: Duration::from_secs(60) },
        Event::Unsettled { attempt: id, job: job(), what: Unsettled::Groups },
        Event::GivenUp { attempt: id, job: job() },
    ]
}

fn run_of_many(isolation: Isolation) -> Vec<Event> {
    let finished = RunFinished {
        passed: 2,
        failed: 7,
        unseen: 1,
        evictions: 1,
        leaked: 1,
        wall: Duration::from_millis(4321),
        governed: Some(Governed {
            peak_concurrency: 6,
            evictions: 1,
            freezes: 2,
            held: Duration::from_millis(2500),
            least_left: Some(Bytes::mib(20)),
            editor_memory_stall: None,
        }),
        ..RunFinished::default()
    };
    let ends = endings().into_iter().map(|end| Event::AttemptFinished(Box::new(end)));
    [started(isolation, false)]
        .into_iter()
        .chain(ends)
        .chain(decisions())
        .chain(notes())
        .chain([Event::RunFinished(finished)])
        .collect()
}

fn told(look: Look, events: &[Event]) -> String {
    let mut text = Vec::new();
    tell(&mut TerminalReporter::new(&mut text, look), events);
    String::from_utf8_lossy(&text).into_owned()
}

/// Tells a reporter all of it, with the words that a run finds.
fn tell(reporter: &mut impl Reporter, events: &[Event]) {
    let mut words = Words::new(&profile());
    for event in events {
        reporter.event(event, words.of(event).as_deref()).expect("a vector takes everything");
    }
}

/// One that a command brought along, on a kernel that tells its end to nobody else.
fn unseen(job: u32, name: &str) -> AttemptFinished {
    let (driver, verdict) = (Some("make check".to_owned()), Some(Verdict::Unseen));
    AttemptFinished { driver, verdict, exit: None, output: None, ..passed(job, name) }
}

fn run_of_a_driver() -> Vec<Event> {
    let finished = RunFinished { passed: 2, unseen: 1, ..RunFinished::default() };
    let of = |end| Event::AttemptFinished(Box::new(end));
    vec![
        started(isolation(Tier::Cgroup, Enforcement::Kernel), true),
        of(AttemptFinished { driver: Some("make check".into()), ..passed(1, "seen") }),
        of(unseen(2, "shapes")),
        of(passed(0, "make check")),
        Event::RunFinished(finished),
    ]
}

fn began(attempt: Attempt, job: &str) -> AttemptStarted {
    let (job, limits) = (job.to_owned(), Limits::default());
    AttemptStarted { attempt, job, driver: None, began: Duration::ZERO, limits }
}

#[test]
fn an_end_that_only_its_driver_saw_counts_neither_way_in_any_report() {
    let events = run_of_a_driver();
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let (mut tap, mut libtest, mut github) = (Vec::new(), Vec::new(), Vec::new());
    tell(&mut TapReporter::new(&mut tap), &events);
    tell(&mut LibtestReporter::new(&mut libtest), &events);
    tell(&mut GithubReporter::new(&mut github, Some(folder.path().join("summary"))), &events);
    tell(&mut JunitReporter::create(&folder.path().join("junit")).unwrap(), &events);
    tell(&mut HtmlReporter::create(&folder.path().join("html")).unwrap(), &events);
    let tap = String::from_utf8(tap).unwrap();
    assert!(tap.contains("\nok 2 - shapes # SKIP sandtest did not see how it ended\n"), "{tap}");
    let libtest = String::from_utf8(libtest).unwrap();
    assert!(libtest.contains(r#""event":"ignored","name":"shapes""#), "{libtest}");
    assert!(libtest.contains(r#""passed":2,"failed":0,"ignored":1"#), "{libtest}");
    assert!(github.is_empty(), "nothing to annotate: {github:?}");
    let junit = written("junit");
    assert!(junit.contains(r#"tests="3" skipped="1" errors="0" failures="0""#), "{junit}");
    assert!(junit.contains(r#"<skipped message="unseen: only its driver saw how it ended"#), "{junit}");
    assert!(written("html").contains("2 of 3 jobs passed, 1 unseen"));
    assert_eq!(told(PLAIN, &events), "", "its driver has said how it ended");
}

#[test]
fn a_record_of_an_unseen_end_counts_neither_way() {
    let mut events = recorded::read(&mut json(&run_of_a_driver()).as_bytes()).unwrap();
    assert_eq!(cut_off::end(&events, Fate::Ended, Duration::ZERO).unseen, 1);
    events.pop();
    let end = cut_off::end(&events, Fate::Killed, Duration::ZERO);
    assert_eq!((end.passed, end.failed, end.unseen, end.not_run), (2, 0, 1, 0));
    let story = Story::of_run(events);
    assert!(story.of("shapes").starts_with("shapes: unseen\n"), "{}", story.of("shapes"));
}

#[test]
fn the_test_that_a_worker_was_at_is_told_behind_what_happened() {
    let mut words = Words::new(&profile());
    let _ = words.of(&started(isolation(Tier::Hybrid, Enforcement::Kernel), true));
    let mut told = |end: AttemptFinished| {
        words.of(&Event::AttemptFinished(Box::new(AttemptFinished {
            test: Some("a.py::b (call)".into()),
            ..end
        })))
    };
    assert_eq!(told(passed(1, "pytest gw0")), None);
    let crash = Some(Exit::Signal(11));
    let said =
        told(failed(1, "pytest gw0", Outcome::Signaled, crash, Evidence::default())).unwrap_or_default();
    assert_eq!(said, "signaled: SIGSEGV ended it. It was at a.py::b (call).");
}

fn json(events: &[Event]) -> String {
    let mut lines = Vec::new();
    tell(&mut JsonReporter::new(&mut lines), events);
    String::from_utf8(lines).expect("JSON is UTF-8")
}

#[test]
fn every_ending_is_told_with_limit_peak_line_and_way_out() {
    insta::assert_snapshot!(told(PLAIN, &run_of_many(isolation(Tier::Cgroup, Enforcement::Kernel))));
}

#[test]
fn an_eviction_that_is_a_jobs_end_says_why_it_does_not_run_again() {
    let said = |cause, number| {
        let killed = passed(0, "hog");
        let id = AttemptId { number, ..killed.attempt.id };
        let killed = AttemptFinished {
            attempt: Attempt { id, ..killed.attempt },
            outcome: Outcome::Evicted,
            cause,
            verdict: Some(Verdict::Infra),
            failed: true,
            exit: Some(Exit::Signal(9)),
            evidence: Evidence { oom_kill: Some(1), ..killed.evidence.clone() },
            ..killed
        };
        let start = started(isolation(Tier::Cgroup, Enforcement::Kernel), false);
        told(PLAIN, &[start, Event::AttemptFinished(Box::new(killed))])
    };
    let (filled, once, often) = (said(Cause::Filled, 1), said(Cause::Budget, 1), said(Cause::Budget, 9));
    assert!(filled.contains("it ran alone and met the end of"), "{filled}");
    assert!(once.contains("it and what ran beside it") && once.contains("must not run twice"), "{once}");
    assert!(often.contains("not this job alone") && often.contains("tried often enough"), "{often}");
}

#[test]
fn a_narrow_terminal_is_kept_to() {
    let text = told(NARROW, &run_of_many(isolation(Tier::Process, Enforcement::Sampled)));
    let too_wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 50).collect();
    assert_eq!(too_wide, Vec::<&str>::new());
    insta::assert_snapshot!(text);
}

#[test]
fn one_command_is_spoken_of_only_where_it_cant_speak_for_itself() {
    let run = |end: AttemptFinished| {
        let end = AttemptFinished { output: None, ..end };
        let events = [
            started(isolation(Tier::Cgroup, Enforcement::Kernel), true),
            Event::AttemptFinished(Box::new(end)),
            Event::RunFinished(RunFinished::default()),
        ];
        told(PLAIN, &events)
    };
    insta::assert_snapshot!(endings().into_iter().map(run).collect::<Vec<_>>().join("----\n"));
}

/// Passed jobs that took so many seconds, of which they worked so many, with such peaks of their 64 MiB.
fn told_of_passed(jobs: &[(&str, u64, u64, u64)], run: u64) -> String {
    let mut start = started(isolation(Tier::Cgroup, Enforcement::Kernel), false);
    if let Event::RunStarted(started) = &mut start {
        started.jobs = jobs.len();
    }
    let mut events = vec![start];
    for (number, (name, wall, worked, peak)) in jobs.iter().enumerate() {
        let end = passed(number as u32, name);
        let evidence = Evidence {
            cpu_time: Some(Duration::from_secs(*worked)),
            memory_peak: Some(Bytes::mib(*peak)),
            ..end.evidence
        };
        let end = AttemptFinished { wall: Duration::from_secs(*wall), evidence, ..end };
        events.push(Event::AttemptFinished(Box::new(end)));
    }
    let wall = Duration::from_secs(run);
    events.push(Event::RunFinished(RunFinished {
        passed: jobs.len() as u64,
        wall,
        ..RunFinished::default()
    }));
    told(PLAIN, &events)
}

#[test]
fn of_what_a_command_brings_along_is_told_what_stood_out_and_not_the_command() {
    let run = |jobs: u32| {
        let tests = (1..=jobs).map(|number| AttemptFinished {
            driver: Some("make check".into()),
            wall: Duration::from_secs(u64::from(10 * number)),
            ..passed(number, &format!("test {number}"))
        });
        let command = AttemptFinished { wall: Duration::from_secs(100), ..passed(0, "make check") };
        let ends = tests.chain([command]).map(|end| Event::AttemptFinished(Box::new(end)));
        let finished = RunFinished { wall: Duration::from_secs(100), ..RunFinished::default() };
        let start = started(isolation(Tier::Cgroup, Enforcement::Kernel), true);
        let events: Vec<Event> =
            [start].into_iter().chain(ends).chain([Event::RunFinished(finished)]).collect();
        told(PLAIN, &events)
    };
    let text = run(5);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(
        lines[..4],
        ["sandtest: slowest:", "50.00s  test 5", "40.00s  test 4", "30.00s  test 3"],
        "{text}"
    );
    assert_eq!(run(3), "", "few tests are seen at a glance");
}

#[test]
fn what_stood_out_is_told_if_it_says_something() {
    let jobs = [
        ("quick", 1, 1, 12),
        ("slow", 30, 29, 12),
        ("slower", 50, 50, 12),
        ("slowest --of all", 70, 69, 63),
        ("slow, but not of the three", 20, 20, 12),
        ("sleeps", 25, 1, 12),
        ("naps", 5, 0, 12),
        ("fat", 2, 2, 33),
    ];
    insta::assert_snapshot!(told_of_passed(&jobs, 100));
    for (what, jobs, run) in [
        ("a short run", &jobs[..], 9),
        ("few jobs", &jobs[..3], 100),
        ("nothing above others", &[jobs[0]; 20], 100),
    ] {
        let text = told_of_passed(jobs, run);
        assert!(
            ["slowest:", "fattest:", "sleepiest:"].iter().all(|kind| !text.contains(kind)),
            "{what}: {text}"
        );
    }
}

#[test]
fn a_failure_that_others_followed_is_told_again_at_the_end() {
    let text = |ends: &[usize]| {
        let all = endings();
        let mut events = vec![started(isolation(Tier::Cgroup, Enforcement::Kernel), false)];
        events.extend(ends.iter().map(|end| Event::AttemptFinished(Box::new(all[*end].clone()))));
        events.push(Event::RunFinished(RunFinished::default()));
        told(PLAIN, &events)
    };
    let (passed, failed) = (0, 1);
    assert_eq!(text(&[passed, failed]).matches("exited with code 101").count(), 1);
    let buried = text(&[failed, passed]);
    let end = buried.split_once("failed:\n").unwrap().1;
    assert!(
        end.starts_with("  FAIL 101  unit\n         exited with code 101; its peak was 12 MiB.\n"),
        "{buried}"
    );
}

#[test]
fn json_lines_are_the_contracts() {
    insta::assert_snapshot!(json(&run_of_many(isolation(Tier::Process, Enforcement::Sampled))));
}

#[test]
fn what_is_read_from_a_record_makes_the_same_reports() {
    for (tier, who) in [(Tier::Cgroup, Enforcement::Kernel), (Tier::Process, Enforcement::Sampled)] {
        let events = run_of_many(isolation(tier, who));
        let lines = json(&events);
        let read = recorded::read(&mut lines.as_bytes()).unwrap();
        let again = |reporter: &mut dyn Reporter| {
            read.iter().for_each(|told| reporter.event(&told.event, told.words.as_deref()).unwrap());
        };
        let (mut json, mut text) = (Vec::new(), Vec::new());
        again(&mut JsonReporter::new(&mut json));
        again(&mut TerminalReporter::new(&mut text, PLAIN));
        assert_eq!(String::from_utf8(json).unwrap(), lines);
        assert_eq!(String::from_utf8(text).unwrap(), told(PLAIN, &events));
    }
}

#[test]
fn a_trace_shows_what_stood_still_and_what_was_evicted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let attempt = Attempt { id: AttemptId { job: JobId(0), number: 1 }, slot: 2 };
    let decided = |at, action, state| Event::Governor {
        at: Duration::from_millis(at),
        decision: Decision {
            action,
            attempt: Some(attempt.id),
            state,
            signal: Signal::Memory,
            value: 0,
            line: 0,
            left: Bytes::mib(100),
            budget: Bytes::gib(1),
            filling: Bytes(0),
            held: 1,
        },
        job: Some("hog".into()),
    };
    let end = AttemptFinished { attempt, outcome: Outcome::Evicted, verdict: None, ..passed(0, "hog") };
    let events = [
        started(isolation(Tier::Cgroup, Enforcement::Kernel), false),
        Event::AttemptStarted(began(attempt, "hog")),
        decided(200, Action::Freeze, State::Orange),
        decided(500, Action::Thaw, State::Green),
        decided(1000, Action::Freeze, State::Orange),
        decided(1300, Action::Evict, State::Red),
        Event::AttemptFinished(Box::new(end)),
        Event::RunFinished(RunFinished { wall: Duration::from_secs(2), ..RunFinished::default() }),
    ];
    tell(&mut TraceReporter::create(&path).unwrap(), &events);
    let trace: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let entries = trace["traceEvents"].as_array().unwrap();
    let of = |phase: &str, thread: u64| {
        let is = |entry: &&serde_json::Value| entry["ph"] == phase && entry["tid"] == thread;
        let told = |entry: &serde_json::Value| {
            (entry["name"].as_str().unwrap().to_owned(), entry["ts"].as_u64().unwrap(), entry["dur"].as_u64())
        };
        entries.iter().filter(is).map(told).collect::<Vec<_>>()
    };
    let span = |name: &str, begin, dur| (name.to_owned(), begin, Some(dur));
    assert_eq!(
        of("X", 3),
        [
            span("frozen", 200_000, 300_000),
            span("frozen", 1_000_000, 334_000),
            span("hog", 100_000, 1_234_000)
        ]
    );
    assert_eq!(of("i", 3), [("evicted".to_owned(), 1_300_000, None)]);
    let states = [("orange", 200, 300), ("green", 500, 500), ("orange", 1000, 300), ("red", 1300, 700)];
    assert_eq!(of("X", 0), states.map(|(state, begin, dur)| span(state, begin * 1000, dur * 1000)));
    let measured = entries.iter().find(|entry| entry["name"] == "memory, measured").unwrap();
    assert_eq!(measured["args"], serde_json::json!({"used": 924 << 20, "budget": 1024 << 20}));
}

/// A run whose broker goes away, and of which nothing starts in time.
fn run_with_broker(pass_through: bool) -> Vec<Event> {
    let Event::RunStarted(begun) = started(isolation(Tier::Cgroup, Enforcement::Kernel), pass_through) else {
        unreachable!("it begins with that")
    };
    let broker = Some(BrokerPlace { socket: "/run/sandtest/broker.sock".into(), scope: "system".into() });
    let short = Reason { signal: Some(Signal::Memory), value: 100 << 20, line: 300 << 20 };
    let wait = |why, reason| BrokerNews::Waits { ahead: 2, wait: WaitView { why, reason } };
    let news = [
        wait(WaitsFor::Turn, None),
        wait(WaitsFor::Held, Some(short)),
        BrokerNews::Lost,
        BrokerNews::Alone { memory: Some(Bytes::gib(2)), jobs: 3 },
        BrokerNews::Back,
        BrokerNews::Complaint { message: "a message of type \"dance\" is not known here".into() },
    ];
    let finished = RunFinished {
        not_run: 9,
        closed: Some(Cause::NoPermit),
        wall: Duration::from_secs(30),
        ..RunFinished::default()
    };
    let at = Duration::from_millis(1500);
    [Event::RunStarted(RunStarted { broker, ..begun })]
        .into_iter()
        .chain(news.into_iter().map(|news| Event::Broker { at, news }))
        .chain([Event::RunFinished(finished)])
        .collect()
}

#[test]
fn what_happens_with_a_broker_is_told() {
    let mut lines = Vec::new();
    let mut reporter = JsonReporter::new(&mut lines);
    for event in run_with_broker(false) {
        reporter.event(&event, None).expect("a vector takes everything");
    }
    let (many, one) = (told(PLAIN, &run_with_broker(false)), told(PLAIN, &run_with_broker(true)));
    insta::assert_snapshot!(format!("{many}----\n{one}----\n{}", String::from_utf8_lossy(&lines)));
}

/// 5,000 jobs that fail three times each, with names, reasons and output made to be large in a page.
#[test]
fn the_worst_run_makes_a_page_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    let mut page = HtmlReporter::create(&path).unwrap();
    let mut words = Words::new(&profile());
    let mut tell = |event: &Event| page.event(event, words.of(event).as_deref()).unwrap();
    tell(&started(isolation(Tier::Cgroup, Enforcement::Kernel), false));
    let wild = |bytes: usize| "<\"\\\u{2028}\u{1b}é".repeat(bytes / 10);
    let seen = Diagnosis { reading: wild(800), ..Diagnosis::default() };
    let left = Process { pid: 1, name: wild(100), command: wild(600), listening: Vec::new() };
    let state = format!("/{}", "state".repeat(100));
    let text = wild(32 << 10).into_bytes();
    for job in 0..5000 {
        for number in 1..=3 {
            let output = Captured {
                head: text.clone(),
                tail: text.clone(),
                total: 1 << 30,
                file: Some(format!("{state}/{job}-{number}.log").into()),
                file_lacks: 0,
            };
            let evidence = Evidence { leaked: vec![left.clone()], leaked_count: 1, ..Evidence::default() };
            let end = failed(job, &format!("{job} {}", wild(1000)), Outcome::Timeout, None, evidence);
            let again = number < 3;
            let end = AttemptFinished {
                attempt: Attempt { id: AttemptId { job: JobId(job), number }, slot: job % 16 },
                verdict: end.verdict.filter(|_| !again),
                retry_in: again.then_some(Duration::ZERO),
                diagnosis: Some(Box::new(seen.clone())),
                diagnosis_file: Some(format!("{state}/{job}-{number}.diagnosis.txt").into()),
                output: Some(output),
                ..end
            };
            tell(&Event::AttemptFinished(Box::new(end)));
        }
    }
    let decision = Decision {
        action: Action::Evict,
        attempt: None,
        state: State::Red,
        signal: Signal::Memory,
        value: 0,
        line: 0,
        left: Bytes(0),
        budget: Bytes(8 << 30),
        filling: Bytes(400 << 20),
        held: 5,
    };
    for at in 0..20_000 {
        let at = Duration::from_millis(at);
        tell(&Event::Governor { at, decision, job: Some(wild(1000)) });
    }
    tell(&Event::RunFinished(RunFinished { failed: 5000, ..RunFinished::default() }));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.len() < 4_900_000, "{} bytes", text.len());
    assert!(text.contains("5,000 of 5,000 jobs failed") && text.contains("\"id\":4999"));
}
