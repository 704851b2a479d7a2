//! Profiles as users meet them: what the built-in ones come to, what overrides what, and how mistakes are told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use sandtest::model::profile::OnTimeout;
use sandtest::model::retry::{Backoff, FlakyResult, LeakPolicy, Retry, RetryOn};
use sandtest::model::{Bytes, Cpus, Profile};
use sandtest::profile::find::BUILT_IN;
use sandtest::profile::rules::Ruled;
use sandtest::profile::values::{Percent, Reserve, Timeout};
use sandtest::profile::{ResolvedInputs, SearchPlaces, list, load, resolve, rules, schema};

/// A search path of two folders in a temporary one: `near/` before `far/`.
struct Scene {
    folder: tempfile::TempDir,
    places: SearchPlaces,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let folders: Vec<PathBuf> = ["near", "far"].map(|name| folder.path().join(name)).into();
        folders.iter().for_each(|folder| fs::create_dir(folder).unwrap());
        let project = Some(folder.path().join("sandtest.yaml"));
        Scene { folder, places: SearchPlaces { folders, project } }
    }

    fn file(self, path: &str, text: impl AsRef<[u8]>) -> Scene {
        fs::write(self.folder.path().join(path), text).unwrap();
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn resolve(&self, name: &str) -> Profile {
        let loaded = load(name, &self.places).unwrap_or_else(|error| panic!("{error}"));
        resolve(&loaded, &host(16, 8)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What holds for the job `of` under the profile `p`.
    fn ruled(&self, of: &str) -> Ruled {
        let loaded = load("p", &self.places).unwrap_or_else(|error| panic!("{error}"));
        rules(&loaded, &host(16, 8)).unwrap_or_else(|error| panic!("{error}")).of(of)
    }

    /// The error of this profile, without the temporary folder's name.
    fn refusal(&self, name: &str) -> String {
        let error = match load(name, &self.places) {
            Ok(loaded) => resolve(&loaded, &host(16, 8))
                .and_then(|_| rules(&loaded, &host(16, 8)))
                .expect_err("it was accepted"),
            Err(error) => error,
        };
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// The error of a profile with this text.
fn refusal(text: impl AsRef<[u8]>) -> String {
    Scene::new().file("near/p.yaml", text).refusal("p")
}

fn host(gib: u64, cpus: usize) -> ResolvedInputs {
    ResolvedInputs { visible_memory: Bytes::gib(gib), cpus, pids_limit: None, protected: Bytes(0) }
}

fn built_in(name: &str, host: &ResolvedInputs) -> Profile {
    resolve(&load(name, &SearchPlaces::default()).unwrap(), host).unwrap()
}

fn gib(bytes: Option<Bytes>) -> f64 {
    bytes.unwrap().0 as f64 / (1u64 << 30) as f64
}

// What the built-in profiles come to.

#[test]
fn every_built_in_profile_gives_sensible_numbers_on_every_machine() {
    for (name, _) in BUILT_IN {
        for (mib, cpus) in [(64, 1), (512, 1), (1024, 1), (2048, 2), (8192, 4), (65536, 24), (1 << 21, 256)] {
            let visible_memory = Bytes::mib(mib);
            let profile = built_in(
                name,
                &ResolvedInputs { visible_memory, cpus, pids_limit: Some(100), protected: Bytes(0) },
            );
            let at = format!("{name} on {mib} MiB");
            let budget = profile.budget.memory_max.unwrap();
            assert!(budget >= Bytes::mib(mib * 2 / 5), "{at}: budget {budget}");
            assert!(budget.0 + profile.reserve.0 <= visible_memory.0, "{at}: budget {budget}");
            let job = profile.job.limits.memory_max.unwrap();
            assert!(job <= budget && job >= Bytes::mib(mib / 10).min(Bytes::gib(2)), "{at}: job {job}");
            assert!(
                (1..=cpus).contains(&profile.jobs.max) && profile.jobs.min == 1,
                "{at}: {:?}",
                profile.jobs
            );
            assert_eq!(profile.budget.pids_max, Some(80), "{at}");
            assert!(profile.job.limits.pids_max.unwrap() <= 80, "{at}");
        }
    }
}

#[test]
fn wsl2_on_8_gib() {
    let profile = built_in("wsl2", &host(8, 8));
    assert!((gib(profile.budget.memory_max) - 4.8).abs() < 0.001, "{:?}", profile.budget);
    assert_eq!(profile.reserve, Bytes::gib(2));
    assert_eq!(profile.job.limits.memory_max, Some(Bytes::gib(2)));
    assert_eq!(profile.job.limits.memory_swap_max, Some(Bytes(0)));
    assert_eq!(profile.job.limits.cpu_max, Some(Cpus::whole(2)));
    assert_eq!(profile.job.limits.pids_max, Some(64));
    assert_eq!((profile.job.nofile, profile.job.oom_score_adj), (Some(1024), 900));
    assert_eq!((profile.job.timeout, profile.job.grace), (None, Duration::from_secs(2)));
    assert_eq!(profile.jobs.max, 4);
}

#[test]
fn native_and_distrobox_on_64_gib() {
    let native = built_in("native", &host(64, 24));
    assert!((gib(native.budget.memory_max) - 51.2).abs() < 0.001);
    assert!((gib(native.job.limits.memory_max) - 25.6).abs() < 0.001);
    assert_eq!(native.jobs.max, 18);
    let distrobox = built_in("distrobox", &host(64, 24));
    assert!((gib(distrobox.job.limits.memory_max) - 12.8).abs() < 0.001);
    assert_eq!(distrobox.jobs.max, 12);
}

#[test]
fn only_ci_has_a_timeout() {
    for (name, _) in BUILT_IN {
        let timeout = built_in(name, &host(8, 4)).job.timeout;
        assert_eq!(timeout, (name == "ci").then_some(Duration::from_secs(1800)), "{name}");
    }
}

#[test]
fn native_sets_every_key() {
    let profile = built_in("native", &host(8, 4));
    let schema = schema::schema();
    for section in ["budget", "job", "jobs", "pressure"] {
        for key in schema["properties"][section]["properties"].as_object().unwrap().keys() {
            let origin = profile.origins.get(&format!("{section}.{key}"));
            assert!(origin.is_some_and(|origin| origin.file == "built-in native.yaml"), "{section}.{key}");
        }
    }
    for key in ["run_timeout", "settle_timeout"] {
        assert_eq!(profile.origins[key].file, "built-in native.yaml", "{key}");
    }
}

#[test]
fn the_schema_is_in_step() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/schema.json");
    let wanted = serde_json::to_string_pretty(&schema::schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "profiles/schema.json is behind: UPDATE_SCHEMA=1 cargo test --test profiles schema"
    );
}

// What overrides what.

#[test]
fn a_nearer_folder_wins_and_its_profile_may_extend_the_one_it_hides() {
    let scene = Scene::new()
        .file("far/wsl2.yaml", "# everyone's\nextends: wsl2\njob: {pids_max: 70, nofile: 2000}\n")
        .file("near/wsl2.yaml", "# mine\nextends: wsl2\njob:\n  pids_max: 80\n");
    let profile = scene.resolve("wsl2");
    assert_eq!(profile.job.limits.pids_max, Some(80), "near");
    assert_eq!(profile.job.nofile, Some(2000), "far");
    assert_eq!(profile.job.limits.cpu_max, Some(Cpus::whole(2)), "built-in wsl2");
    assert_eq!(profile.job.oom_score_adj, 900, "built-in native");
    let origin = |key: &str| profile.origins[key].to_string().rsplit('/').next().unwrap().to_owned();
    assert_eq!(origin("job.pids_max"), "wsl2.yaml:4");
    assert_eq!(profile.origins["job.nofile"].text, "2000");
    assert_eq!(origin("job.cpu_max"), "built-in wsl2.yaml:15");
    let listed = list(&scene.places);
    assert_eq!(listed.len(), 5);
    assert_eq!(listed[1].summary, "mine");
}

#[test]
fn a_profile_that_extends_nothing_extends_native() {
    let profile = Scene::new().file("near/mine.yaml", "job: {pids_max: 7}\n").resolve("mine");
    assert_eq!((profile.name.as_str(), profile.job.limits.pids_max), ("mine", Some(7)));
    assert!(profile.budget.memory_max.is_some());
    let profile = Scene::new().file("near/native.yaml", "job: {pids_max: 7}\n").resolve("native");
    assert!(profile.budget.memory_max.is_some());
}

#[test]
fn a_path_is_a_file_and_may_extend_its_neighbour() {
    let scene = Scene::new()
        .file("a.yaml", "name: any\nextends: ./b.yaml\njob: {grace: 5s}\n")
        .file("b.yaml", "extends: ci\njob: {timeout: none}\n");
    let profile = scene.resolve(scene.path("a.yaml").to_str().unwrap());
    assert_eq!(profile.name, "any");
    assert_eq!((profile.job.grace, profile.job.timeout), (Duration::from_secs(5), None));
    assert_eq!(profile.job.oom_score_adj, 500);
}

#[test]
fn sizes_are_taken_from_what_they_are_a_part_of() {
    let text = "budget: {memory_max: 50%, reserve: 0, memory_high: 90%, pids_max: max}\n\
                job: {memory_max: 25%, memory_high: 50%, cpu_max: 1.5, capabilities: drop, no_new_privs: true}\n\
                jobs: {min: 3, max: 25%}\n";
    let profile = Scene::new().file("near/p.yaml", text).resolve("p");
    assert_eq!(profile.budget.memory_max, Some(Bytes::gib(8)));
    assert!((gib(profile.budget.memory_high) - 7.2).abs() < 0.001);
    assert_eq!(profile.budget.pids_max, None);
    assert_eq!(profile.job.limits.memory_max, Some(Bytes::gib(2)));
    assert_eq!(profile.job.limits.memory_high, Some(Bytes::gib(1)));
    assert_eq!(profile.job.limits.cpu_max, Some(Cpus { milli: 1500 }));
    assert!(profile.job.drop_capabilities && profile.job.no_new_privs);
    assert_eq!((profile.jobs.min, profile.jobs.max), (3, 3), "25% of 8 is below the minimum");
}

#[test]
fn no_job_may_have_more_than_the_budget_and_no_budget_more_than_there_is() {
    let text = "budget: {memory_max: 100GiB, reserve: 12GiB}\njob: {memory_max: 50GiB}\n";
    let profile = Scene::new().file("near/p.yaml", text).resolve("p");
    assert_eq!(profile.budget.memory_max, Some(Bytes::gib(4)));
    assert_eq!(profile.job.limits.memory_max, Some(Bytes::gib(4)));
    let refusal = Scene::new().file("near/p.yaml", "budget: {reserve: 16GiB}\n").refusal("p");
    assert!(refusal.contains("p.yaml:1:19: a reserve of 16 GiB leaves nothing of the 16 GiB"), "{refusal}");
}

#[test]
fn the_reserve_is_what_the_editor_uses_now() {
    let native = load("native", &SearchPlaces::default()).unwrap();
    let reserve = |visible: Bytes, protected: Bytes| {
        resolve(&native, &ResolvedInputs { visible_memory: visible, protected, ..host(1, 8) })
            .unwrap()
            .reserve
    };
    assert_eq!(reserve(Bytes::gib(64), Bytes::gib(17)), Bytes(Bytes::gib(17).0 + Bytes::gib(64).0 * 3 / 100));
    assert_eq!(reserve(Bytes::gib(64), Bytes::gib(60)), Bytes::gib(32), "half is for tests");
    assert_eq!(reserve(Bytes::gib(64), Bytes(0)).0, Bytes::gib(64).0 / 5, "an editor may still be started");
    assert_eq!(reserve(Bytes::gib(2), Bytes(0)), Bytes::gib(1));
}

// Time-outs, retries, groups and rules.

#[test]
fn what_follows_a_failure_is_said_under_job() {
    let native = built_in("native", &host(16, 8)).job;
    assert_eq!((native.retry, native.slow_after), (Retry::NEVER, Some(Duration::from_secs(60))));
    assert_eq!((native.idle_timeout, &native.on_timeout), (None, &None));
    assert_eq!((native.flaky_result, native.leak), (FlakyResult::Pass, LeakPolicy::Warn));

    let text = "run_timeout: 2h\nsettle_timeout: 3s\ngroups: {gpu: 2}\njob:\n  slow_after: none\n  \
                idle_timeout: 5min\n  on_timeout: gdb -p {pid}\n  retries:\n    count: 3\n    delay: 1s\n    \
                backoff: exponential\n    jitter: true\n  retry_on: [signal, oom]\n  flaky_result: fail\n  leak: fail\n";
    let profile = Scene::new().file("near/p.yaml", text).resolve("p");
    let (job, seconds) = (&profile.job, Duration::from_secs);
    assert_eq!((profile.run_timeout, profile.settle_timeout), (Some(seconds(7200)), seconds(3)));
    assert_eq!(profile.groups.get("gpu"), Some(&2));
    assert_eq!((job.slow_after, job.idle_timeout), (None, Some(seconds(300))));
    let look = OnTimeout { command: ["gdb", "-p", "{pid}"].map(str::to_owned).into(), limit: seconds(10) };
    assert_eq!(job.on_timeout, Some(look));
    assert_eq!((job.retry.count, job.retry.delay, job.retry.backoff), (3, seconds(1), Backoff::Exponential));
    let on = RetryOn { fail: false, timeout: false, signal: true, oom: true, leak: false };
    assert_eq!((job.retry.jitter, job.retry.on), (true, on));
    assert_eq!((job.flaky_result, job.leak), (FlakyResult::Fail, LeakPolicy::Fail));
    assert_eq!(profile.origins["job.retries"].line, 8);
}

#[test]
fn of_each_setting_the_first_rule_that_fits_decides() {
    let scene = Scene::new().file(
        "near/p.yaml",
        "job: {timeout: 1min, pids_max: 9}\nrules:\n\
         - {match: './slow*', timeout: 2min}\n\
         - {match: '*', timeout: 3min, memory: 1G, weight: 2, restartable: false}\n\
         - {match: ['./x', '/sl.w/'], timeout: 4min, pids_max: 7, weight: 5}\n",
    );
    let slow = scene.ruled("./slow 1");
    assert_eq!(slow.settings.timeout, Some(Duration::from_secs(120)), "the first");
    assert_eq!(slow.settings.limits.pids_max, Some(7), "the first that sets it is the last");
    assert_eq!((slow.memory, slow.weight, slow.restartable), (Some(Bytes::gib(1)), 2, Some(false)));
    let other = scene.ruled("./other");
    assert_eq!(other.settings.timeout, Some(Duration::from_secs(180)));
    assert_eq!(other.settings.limits.pids_max, Some(9), "no rule: the profile");
}

#[test]
fn a_rule_may_lift_what_the_profile_sets() {
    let scene = Scene::new().file(
        "near/p.yaml",
        "job: {timeout: 1min, retries: 2, on_timeout: ps}\nrules: [{match: x, timeout: none, retries: 0, on_timeout: none}]\n",
    );
    let settings = scene.ruled("x").settings;
    assert_eq!((settings.timeout, settings.retry.count, settings.on_timeout), (None, 0, None));
    assert_eq!(scene.ruled("y").settings.retry.count, 2);
}

#[test]
fn variables_and_groups_of_all_rules_that_fit_are_joined() {
    let scene = Scene::new().file(
        "near/p.yaml",
        "groups: {a: 1, b: 1, c: 1}\nrules:\n\
         - {match: 'x*', groups: [b], env: {A: near, B: 1.10}}\n\
         - {match: 'y*', groups: [c], env: {C: no}}\n\
         - {match: '*', groups: [a, b], env: {A: far, D: ''}}\n",
    );
    let ruled = scene.ruled("x1");
    assert_eq!(ruled.groups, ["a", "b"]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(ruled.environment, [pair("A", "near"), pair("B", "1.10"), pair("D", "")]);
}

#[test]
fn rules_of_nearer_files_come_first_and_the_projects_before_all() {
    let scene = Scene::new()
        .file("sandtest.yaml", "groups: {gpu: 3}\nrules: [{match: x, grace: 1s}]\n")
        .file("near/p.yaml", "extends: q\nrules: [{match: x, grace: 2s, timeout: 2s}]\n")
        .file("far/q.yaml", "groups: {gpu: 1, db: 1}\nrules: [{match: x, grace: 3s, timeout: 3s, leak: fail, groups: [gpu]}]\n");
    let settings = scene.ruled("x").settings;
    assert_eq!((settings.grace, settings.timeout), (Duration::from_secs(1), Some(Duration::from_secs(2))));
    assert_eq!(settings.leak, LeakPolicy::Fail);
    let profile = scene.resolve("p");
    assert_eq!((profile.groups["gpu"], profile.groups["db"]), (3, 1));
    assert!(profile.origins["groups.gpu"].to_string().ends_with("sandtest.yaml:1"));
    assert!(profile.origins["groups.db"].to_string().ends_with("far/q.yaml:1"));
    assert_eq!(profile.job.grace, Duration::from_secs(2), "a rule is for the jobs that it fits");
}

#[test]
fn limits_of_a_rule_are_measured_as_those_of_the_profile() {
    let scene = Scene::new().file(
        "near/p.yaml",
        "budget: {memory_max: 8G, reserve: 0, pids_max: 50}\nrules:\n\
         - {match: '*', memory_high: 50%}\n\
         - {match: '*', memory_max: 25%, pids_max: 100, cpu_max: 50%, memory_swap_max: max}\n",
    );
    let limits = scene.ruled("x").settings.limits;
    assert_eq!((limits.memory_max, limits.memory_high), (Some(Bytes::gib(2)), Some(Bytes::gib(1))));
    assert_eq!((limits.pids_max, limits.memory_swap_max), (Some(50), None), "at most the budget's");
    assert_eq!(limits.cpu_max.map(|cpus| cpus.to_string()), Some("0.5".into()));
}

#[test]
fn the_command_line_beats_every_rule() {
    let scene = Scene::new().file("near/p.yaml", "rules: [{match: x, timeout: 5s, retries: 4}]\n");
    let mut loaded = load("p", &scene.places).unwrap();
    loaded.options.timeout = Some(Timeout::None);
    let settings = rules(&loaded, &host(16, 8)).unwrap().of("x").settings;
    assert_eq!((settings.timeout, settings.retry.count), (None, 4));
}

#[test]
fn what_an_option_sets_is_blamed_on_the_option() {
    let scene = Scene::new().file("near/p.yaml", "budget: {reserve: 1G}\n");
    let mut loaded = load("p", &scene.places).unwrap();
    loaded.settings.budget.get_or_insert_default().reserve = Some(Reserve::Percent(Percent(100.0)));
    loaded.set_by.insert("budget.reserve", "--reserve");
    let error = resolve(&loaded, &host(16, 8)).unwrap_err().to_string();
    assert!(error.starts_with("--reserve: a reserve of 16 GiB leaves nothing of the 16 GiB"), "{error}");
    assert_eq!(loaded.origins()["budget.reserve"].text, "--reserve");
}

#[test]
fn a_rule_that_fits_no_job_is_told_unless_it_is_everyones() {
    let scene = Scene::new()
        .file("sandtest.yaml", "rules:\n  - match: [\"a*\", /b/]\n    weight: 2\n")
        .file("near/p.yaml", "rules:\n  - {match: x, weight: 2}\n\n  - {match: y, weight: 2}\n");
    let loaded = load("p", &scene.places).unwrap();
    let rules = rules(&loaded, &host(16, 8)).unwrap();
    let unmatched = |names: &[&str]| -> Vec<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let shown = rules.unmatched(&names);
        shown
            .map(|rule| {
                format!("{}:{} {}", rule.at.file.rsplit('/').next().unwrap(), rule.at.line, rule.patterns)
            })
            .collect()
    };
    assert_eq!(unmatched(&["x", "z"]), ["sandtest.yaml:2 \"a*\", \"/b/\"", "p.yaml:4 \"y\""]);
    assert_eq!(unmatched(&["x", "y", "a b"]), [""; 0]);
}

#[test]
fn a_mistake_in_a_rule_is_shown_at_its_place() {
    insta::assert_snapshot!(refusal("rules:\n  - match: x\n    tiemout: 2s\n"), @r#"
    near/p.yaml:3:5: unknown key "tiemout" in `rules`; did you mean "timeout"?
      3 |     tiemout: 2s
        |     ^
      expected one of: match, memory, memory_max, memory_high, memory_swap_max, pids_max, cpu_max, timeout, slow_after, idle_timeout, on_timeout, grace, retries, retry_on, flaky_result, leak, env, restartable, weight, groups
    "#);
    insta::assert_snapshot!(refusal("rules:\n  - {timeout: 2s}\n"), @r#"
    near/p.yaml:2:5: rules[0]: the rule does not say which jobs it is for; expected `match:`, such as `match: "*slow*"`
      2 |   - {timeout: 2s}
        |     ^
    "#);
    insta::assert_snapshot!(refusal("rules:\n  - timeout: 2s\n  - {match: x}\n").lines().next().unwrap(), @r#"near/p.yaml:2:5: rules[0]: the rule does not say which jobs it is for; expected `match:`, such as `match: "*slow*"`"#);
    insta::assert_snapshot!(refusal("rules:\n  - {match: y, weight: 2}\n  - {match: x}\n"), @r#"
    near/p.yaml:3:5: rules[1]: the rule for "x" sets nothing; expected at least one key beside `match:`, such as `timeout: 10min`
      3 |   - {match: x}
        |     ^
    "#);
    insta::assert_snapshot!(refusal("rules:\n  - match: [a, /x(/]\n    weight: 2\n"), @r#"
    near/p.yaml:2:16: rules[0].match[1]: "/x(/" is no regular expression: unclosed group; expected a pattern such as "*slow*", where * is any text and ? one character, or a regular expression between slashes
      2 |   - match: [a, /x(/]
        |                ^
    "#);
    insta::assert_snapshot!(refusal("rules: [{match: x, weight: 0}]\n"), @r#"
    near/p.yaml:1:28: rules[0].weight: "0" is not a weight; expected how many jobs it counts for, at least 1
      1 | rules: [{match: x, weight: 0}]
        |                            ^
    "#);
    insta::assert_snapshot!(refusal("rules: [{match: *slow*, weight: 2}]\n"), @r#"
    near/p.yaml:1:22: did not find expected alphabetic or numeric character, while scanning an alias at line 1 column 17; expected quotes around a text that begins with *
      1 | rules: [{match: *slow*, weight: 2}]
        |                      ^
    "#);
    insta::assert_snapshot!(refusal("rules:\n- match: x\n  env: {SANDTEST_SLOT: 1}\n"), @r#"
    near/p.yaml:3:9: rules[0].env: "SANDTEST_SLOT" is set by sandtest itself; expected a name that does not begin with SANDTEST_
      3 |   env: {SANDTEST_SLOT: 1}
        |         ^
    "#);
    insta::assert_snapshot!(refusal("rules:\n- match: x\n  env: {TMPDIR: /tmp}\n"), @r#"
    near/p.yaml:3:9: rules[0].env: "TMPDIR" is set by sandtest itself, to a directory of each job's own; expected it in the environment of sandtest, below whose TMPDIR these are made
      3 |   env: {TMPDIR: /tmp}
        |         ^
    "#);
    insta::assert_snapshot!(refusal("rules:\n- match: x\n  retries: {count: 2, dealy: 1s}\n"), @r#"
    near/p.yaml:3:23: unknown key "dealy" in `retries`; did you mean "delay"?
      3 |   retries: {count: 2, dealy: 1s}
        |                       ^
      expected one of: count, delay, backoff, jitter, max_delay
    "#);
    insta::assert_snapshot!(refusal("rules:\n- match: x\n  timeout: 0s\n"), @r#"
    near/p.yaml:3:12: rules[0].timeout: "0s" leaves no time to run; expected a duration with its unit such as 90s, 10min or 1h 30min, or none
      3 |   timeout: 0s
        |            ^
    "#);
    insta::assert_snapshot!(refusal("rules: {match: x}\n"), @r#"
    near/p.yaml:1:8: rules: invalid type: map, expected a sequence
      1 | rules: {match: x}
        |        ^
    "#);
    insta::assert_snapshot!(refusal("rules: [{match: x, grace: 1s, grace: 2s}]\n"), @r#"
    near/p.yaml:1:31: "grace" is set a second time; expected each key once
      1 | rules: [{match: x, grace: 1s, grace: 2s}]
        |                               ^
    "#);
}

#[test]
fn what_only_a_profile_says_of_its_jobs_is_refused_in_a_rule() {
    for key in ["nofile: 5", "oom_score_adj: 5", "no_new_privs: true", "capabilities: drop"] {
        let message = refusal(format!("rules:\n- match: x\n  {key}\n"));
        assert!(message.starts_with("near/p.yaml:3:3: unknown key"), "{key}: {message}");
    }
}

#[test]
fn a_mistake_in_the_groups_is_shown_at_its_place() {
    insta::assert_snapshot!(refusal("groups:\n  gpu: 0\n"), @r#"
    near/p.yaml:2:8: groups.gpu: a job that takes one of 0 would wait for ever; expected how many jobs may have one at once, such as 1
      2 |   gpu: 0
        |        ^
    "#);
    insta::assert_snapshot!(refusal("groups:\n  g p u: 1\n"), @r#"
    near/p.yaml:2:3: groups: "g p u" is not the name of a group; expected a group's name of letters, digits, - and _, such as gpu-slot
      2 |   g p u: 1
        |   ^
    "#);
    insta::assert_snapshot!(refusal("groups:\n  gpu-slot: 1\n  a: 1\n  GPU_slot: 1\n"), @r#"
    near/p.yaml:4:13: the groups "gpu-slot" and "GPU_slot" are both SANDTEST_GROUP_GPU_SLOT_SLOT in a job's environment; expected names that differ there
      4 |   GPU_slot: 1
        |             ^
    "#);
    insta::assert_snapshot!(refusal("groups: {database: 1}\nrules:\n- match: x\n  groups:\n  - database\n  - databse\n"), @r#"
    near/p.yaml:6:5: there is no group "databse"; did you mean "database"?
      6 |   - databse
        |     ^
      declared under `groups:`: database
    "#);
    insta::assert_snapshot!(refusal("rules: [{match: x, groups: [gpu]}]\n"), @r#"
    near/p.yaml:1:29: there is no group "gpu"
      1 | rules: [{match: x, groups: [gpu]}]
        |                             ^
      no group is declared; expected it under `groups:`, such as `groups: {gpu: 1}`
    "#);
    // Of files that were written apart.
    let scene =
        Scene::new().file("sandtest.yaml", "groups: {a-b: 1}\n").file("near/p.yaml", "groups:\n  a_b: 1\n");
    assert!(
        scene.refusal("p").starts_with("near/p.yaml:2:8: the groups \"a-b\" and \"a_b\" are both"),
        "{}",
        scene.refusal("p")
    );
}

#[test]
fn a_mistake_in_the_projects_file_is_shown_at_its_place() {
    let refusal = |text: &str| Scene::new().file("sandtest.yaml", text).refusal("native");
    insta::assert_snapshot!(refusal("groups: {a: 1}\nruls: []\n"), @r#"
    sandtest.yaml:2:1: unknown key "ruls" in `sandtest.yaml`; did you mean "rules"?
      2 | ruls: []
        | ^
      expected one of: groups, rules
    "#);
    insta::assert_snapshot!(refusal("job: {grace: 2s}\n"), @r#"
    sandtest.yaml:1:1: unknown key "job" in `sandtest.yaml`
      1 | job: {grace: 2s}
        | ^
      expected one of: groups, rules
    "#);
    insta::assert_snapshot!(refusal("# nothing\n"), @r#"
    sandtest.yaml:1:1: the file is empty; expected at least one key, such as `rules: []`
      1 | # nothing
        | ^
    "#);
    insta::assert_snapshot!(refusal("rules: [{match: x, groups: [b]}]\ngroups: {a: 1}\n"), @r#"
    sandtest.yaml:1:29: there is no group "b"
      1 | rules: [{match: x, groups: [b]}]
        |                             ^
      declared under `groups:`: a
    "#);
}

#[test]
fn a_projects_file_is_no_profile() {
    let scene = Scene::new()
        .file("sandtest.yaml", "rules: [{match: x, grace: 1s}]\n")
        .file("near/p.yaml", "extends: ../sandtest.yaml\n")
        .file("near/sandtest.yaml", "job: {grace: 1s}\n");
    let project = scene.path("sandtest.yaml");
    insta::assert_snapshot!(scene.refusal(project.to_str().unwrap()), @"sandtest.yaml is a project's file of rules and groups, no profile: a run in its folder reads it by itself; expected a profile's name such as native, or another file's path");
    assert!(
        scene.refusal("p").starts_with("near/../sandtest.yaml is a project's file"),
        "{}",
        scene.refusal("p")
    );
    // In a profile folder, and asked for by its name, it is a profile like any other.
    assert_eq!(scene.resolve("sandtest").job.grace, Duration::from_secs(1));
}

#[test]
fn times_that_mean_nothing_are_refused() {
    for (text, place, part) in [
        ("run_timeout: 0s\n", "1:14", "leaves no time"),
        ("settle_timeout: 0s\n", "1:17", "is no time at all"),
        ("settle_timeout: none\n", "1:17", "is not a duration"),
        ("job: {slow_after: 0s}\n", "1:19", "leaves no time"),
        ("job: {idle_timeout: 400days}\n", "1:21", "more than a year"),
        ("job: {idle_timeout: -5s}\n", "1:21", "is not a duration"),
        ("job:\n  on_timeout: {command: ps, limit: 0s}\n", "2:36", "is no time at all"),
        ("job:\n  on_timeout: \"ps 'x\"\n", "2:15", "a quote is not closed"),
        ("job: {retries: -1}\n", "1:16", "is not a number of retries"),
        ("job: {retries: {count: 1, delay: 400days}}\n", "1:34", "more than a year"),
        ("job: {retries: {count: 1, backoff: exponential}}\n", "1:16", "expected `delay:`"),
        ("job: {retry_on: [fail, boredom]}\n", "1:24", "expected fail, timeout, signal, oom or leak"),
        ("job: {flaky_result: maybe}\n", "1:21", "expected pass or fail"),
        ("job: {leak: ignore}\n", "1:13", "expected warn or fail"),
    ] {
        let message = refusal(text);
        assert!(
            message.starts_with(&format!("near/p.yaml:{place}: ")) && message.contains(part),
            "{text}: {message}"
        );
    }
}

// How mistakes are told.

#[test]
fn an_unknown_profile_names_the_nearest_and_all_that_there_are() {
    let scene = Scene::new().file("near/mine.yaml", "extends: ci\n");
    insta::assert_snapshot!(scene.refusal("wls2"), @r#"
    there is no profile "wls2"; did you mean "wsl2"?
      found: native, wsl2, distrobox, container, ci, mine
      looked in: near/, far/, built in
    "#);
    insta::assert_snapshot!(scene.refusal("postgres").lines().next().unwrap(), @r#"there is no profile "postgres""#);
    let path = scene.path("no/such.yaml");
    insta::assert_snapshot!(scene.refusal(path.to_str().unwrap()), @"read no/such.yaml: No such file or directory (os error 2)");
}

#[test]
fn an_unknown_key_names_the_nearest() {
    insta::assert_snapshot!(refusal("extends: native\njob:\n  memroy_max: 2GiB\n"), @r#"
    near/p.yaml:3:3: unknown key "memroy_max" in `job`; did you mean "memory_max"?
      3 |   memroy_max: 2GiB
        |   ^
      expected one of: memory_max, memory_high, memory_swap_max, pids_max, cpu_max, nofile, oom_score_adj, timeout, slow_after, idle_timeout, on_timeout, grace, retries, retry_on, flaky_result, leak, no_new_privs, capabilities
    "#);
    insta::assert_snapshot!(refusal("job: {grace: 2s}\nbugdet:\n  memory_max: 1\n"), @r#"
    near/p.yaml:2:1: unknown key "bugdet"; did you mean "budget"?
      2 | bugdet:
        | ^
      expected one of: name, extends, budget, job, jobs, pressure, protect, run_timeout, settle_timeout, groups, rules
    "#);
    insta::assert_snapshot!(refusal("job:\n  limits: {}\n"), @r#"
    near/p.yaml:2:3: unknown key "limits" in `job`
      2 |   limits: {}
        |   ^
      expected one of: memory_max, memory_high, memory_swap_max, pids_max, cpu_max, nofile, oom_score_adj, timeout, slow_after, idle_timeout, on_timeout, grace, retries, retry_on, flaky_result, leak, no_new_privs, capabilities
    "#);
}

#[test]
fn a_duplicate_key_is_shown_where_it_stands_the_second_time() {
    insta::assert_snapshot!(refusal("job:\n  grace: 2s\n  nofile: 9\n  grace: 3s\n"), @r#"
    near/p.yaml:4:3: "grace" is set a second time; line 2 has it already; expected each key once
      4 |   grace: 3s
        |   ^
    "#);
    insta::assert_snapshot!(refusal("job:\n  grace: 2s\njobs: {max: 2}\njob:\n  nofile: 9\n"), @r#"
    near/p.yaml:4:1: "job" is set a second time; line 1 has it already; expected each key once
      4 | job:
        | ^
    "#);
}

#[test]
fn a_value_says_what_was_expected() {
    insta::assert_snapshot!(refusal("job:\n  memory_max: 0\n"), @r#"
    near/p.yaml:2:15: job.memory_max: 0 leaves nothing to run in; expected a size such as 512M or 2GiB, a percentage such as 60%, or max for no limit
      2 |   memory_max: 0
        |               ^
    "#);
    insta::assert_snapshot!(refusal("job:\n  grace: 2\n"), @r#"
    near/p.yaml:2:10: job.grace: "2" has no unit; expected a duration with its unit such as 2s or 500ms
      2 |   grace: 2
        |          ^
    "#);
    insta::assert_snapshot!(refusal("budget: {memory_max: 120%}\n"), @r#"
    near/p.yaml:1:22: budget.memory_max: "120%" is more than there is; expected at most 100%
      1 | budget: {memory_max: 120%}
        |                      ^
    "#);
    insta::assert_snapshot!(refusal("job:\n  memory_max: 512MB   # much\n"), @r#"
    near/p.yaml:2:15: job.memory_max: "512MB" is ambiguous; write 512MiB (1024-based, like the kernel)
      2 |   memory_max: 512MB   # much
        |               ^
    "#);
    insta::assert_snapshot!(refusal("job:\n  memory_max: 2 gigs\n"), @r#"
    near/p.yaml:2:15: job.memory_max: "2 gigs" is not a size; expected a size such as 512M or 2GiB, a percentage such as 60%, or max for no limit
      2 |   memory_max: 2 gigs
        |               ^
    "#);
    insta::assert_snapshot!(refusal("job:\n  memory_max: [1, 2]\n"), @r#"
    near/p.yaml:2:15: job.memory_max: invalid type: sequence, expected a size such as 512M or 2GiB, a percentage such as 60%, or max for no limit
      2 |   memory_max: [1, 2]
        |               ^
    "#);
    insta::assert_snapshot!(refusal("job:\n  memory_max:\n  pids_max: 3\n"), @r#"
    near/p.yaml:2:14: job.memory_max: there is no value; expected a size such as 512M or 2GiB, a percentage such as 60%, or max for no limit
      2 |   memory_max:
        |              ^
    "#);
    insta::assert_snapshot!(refusal("job: 2GiB\n"), @r#"
    near/p.yaml:1:6: job: invalid type: string "2GiB", expected the limits of a job, such as `memory_max: 2GiB`
      1 | job: 2GiB
        |      ^
    "#);
    insta::assert_snapshot!(refusal("protect: code\n"), @r#"
    near/p.yaml:1:10: protect: invalid type: string "code", expected a sequence
      1 | protect: code
        |          ^
    "#);
    insta::assert_snapshot!(refusal("protect: [code, {a: b}]\n"), @r#"
    near/p.yaml:1:17: protect[1]: invalid type: map, expected a name
      1 | protect: [code, {a: b}]
        |                 ^
    "#);
    insta::assert_snapshot!(refusal("job:\n  no_new_privs: perhaps\n"), @r#"
    near/p.yaml:2:17: job.no_new_privs: "perhaps" is not a switch; expected true or false
      2 |   no_new_privs: perhaps
        |                 ^
    "#);
    insta::assert_snapshot!(refusal("just a text\n"), @r#"
    near/p.yaml:1:1: invalid type: string "just a text", expected a profile with keys such as `extends:`, `budget:` and `job:`
      1 | just a text
        | ^
    "#);
}

#[test]
fn a_contradiction_is_shown_where_it_was_written() {
    insta::assert_snapshot!(refusal("pressure:\n  orange: 30%\n"), @r#"
    near/p.yaml:2:11: pressure.orange: 30% is above yellow, which is 3%; expected yellow, orange and red in falling order
      2 |   orange: 30%
        |           ^
    "#);
    insta::assert_snapshot!(refusal("jobs: {min: 4, max: 2}\n"), @r#"
    near/p.yaml:1:13: jobs.min: 4 is more than jobs.max, which is 2; expected at most 2
      1 | jobs: {min: 4, max: 2}
        |             ^
    "#);
}

#[test]
fn what_is_no_yaml_is_shown_at_its_place() {
    insta::assert_snapshot!(refusal("job:\n\tmemory_max: 1GiB\n"), @r#"
    near/p.yaml:2:1: a tab is used to indent; expected spaces, the only indentation of YAML
      2 |  memory_max: 1GiB
        | ^
    "#);
    insta::assert_snapshot!(refusal("job:\n  \tmemory_max: 1GiB\n"), @r#"
    near/p.yaml:2:3: a tab is used to indent; expected spaces, the only indentation of YAML
      2 |    memory_max: 1GiB
        |   ^
    "#);
    insta::assert_snapshot!(refusal("name: \"p\njob: {}\n"), @r#"
    near/p.yaml:2:8: found unexpected end of stream, while scanning a quoted scalar at line 1 column 7
      2 | job: {}
        |        ^
    "#);
    insta::assert_snapshot!(refusal("job: {grace: 2s\n"), @r#"
    near/p.yaml:1:16: did not find expected ',' or '}', while parsing a flow mapping at line 1 column 6
      1 | job: {grace: 2s
        |                ^
    "#);
    insta::assert_snapshot!(refusal("extends: native\n---\nextends: ci\n"), @r#"
    near/p.yaml:2:1: a second YAML document begins here; expected one profile in one file
      2 | ---
        | ^
    "#);
    insta::assert_snapshot!(refusal("job: *nowhere\n"), @r#"
    near/p.yaml:1:6: unknown anchor; expected quotes around a text that begins with *
      1 | job: *nowhere
        |      ^
    "#);
    insta::assert_snapshot!(refusal("job: !secret {grace: 2s}\n"), @r#"
    near/p.yaml:1:6: job: the tag !secret means nothing here; expected a plain value
      1 | job: !secret {grace: 2s}
        |      ^
    "#);
}

#[test]
fn an_empty_file_is_refused() {
    for text in ["", "\n\n", "# only a comment\n", "\u{feff}", "---\n"] {
        assert!(refusal(text).starts_with("near/p.yaml:1:1: the file is empty; expected"), "{text:?}");
    }
}

#[test]
fn what_is_not_text_is_refused() {
    insta::assert_snapshot!(refusal(b"name: p\njob:\n  grace: \xff2s\n"), @r#"
    near/p.yaml:3:10: not UTF-8; expected a text file saved as UTF-8
      3 |   grace: �2s
        |          ^
    "#);
    assert!(refusal(b"\xff\xfej\0o\0b\0").contains("it looks like UTF-16"));
}

#[test]
fn a_huge_file_is_refused_by_its_size_before_it_is_read() {
    let scene = Scene::new();
    // 100 MB that take no room: reading them would be seen in the time.
    fs::File::create(scene.path("near/p.yaml")).unwrap().set_len(100_000_000).unwrap();
    insta::assert_snapshot!(scene.refusal("p"), @"near/p.yaml is too large for a profile: 100000000 bytes, at most 65536 are read");
}

#[test]
fn a_folder_a_pipe_and_a_device_are_refused_and_do_not_hang() {
    let scene = Scene::new();
    fs::create_dir(scene.path("near/folder.yaml")).unwrap();
    let pipe = scene.path("near/pipe.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("/dev/zero", scene.path("near/device.yaml")).unwrap();
    for name in ["folder", "pipe", "device"] {
        assert!(scene.refusal(name).contains("is not a regular file"), "{name}");
    }
}

#[test]
fn a_file_that_is_made_to_hurt_is_refused_quickly() {
    let begin = std::time::Instant::now();
    let bomb: String =
        (1..30).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(9))).collect();
    for text in [
        format!("protect: {}", "[".repeat(60_000)),
        format!("protect: {}", "{a: ".repeat(15_000)),
        format!("protect:\n{}", "- ".repeat(30_000)),
        format!("job: {{grace: {}s}}", "9".repeat(60_000)),
        format!("rules:\n{}", "- {match: /((a{90}){90}){90}/, weight: 1}\n".repeat(1500)),
        format!(
            "groups: {{b: 1}}\nrules:\n{}- {{match: a, groups: [a]}}\n",
            "- {match: 'a?*', weight: 1}\n".repeat(2000)
        ),
        format!("rules:\n- match: \"{}\"\n", "*a".repeat(30_000)),
        format!("protect:\n  a0: &a0 x\n{}", bomb.replace("a", "  a")),
        format!("x{}: 1\n", "y".repeat(60_000)),
    ] {
        let message = refusal(&text);
        assert!(message.starts_with("near/p.yaml:"), "{}", &message[..message.len().min(300)]);
        assert!(message.len() < 2000, "{} bytes of message", message.len());
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn a_circle_of_extends_is_refused_where_it_closes() {
    let scene = Scene::new()
        .file("near/a.yaml", "extends: b\n")
        .file("near/b.yaml", "# b\nextends: c\n")
        .file("far/c.yaml", "extends: a\n");
    insta::assert_snapshot!(scene.refusal("a"), @r#"
    far/c.yaml:1:10: profiles extend each other in a circle: near/a.yaml -> near/b.yaml -> far/c.yaml -> near/a.yaml
      1 | extends: a
        |          ^
    "#);
    let scene = Scene::new().file("self.yaml", "extends: ./self.yaml\n");
    assert!(scene.refusal(scene.path("self.yaml").to_str().unwrap()).contains("in a circle"));
}

#[test]
fn to_extend_what_is_not_there_is_refused() {
    insta::assert_snapshot!(refusal("job: {grace: 2s}\nextends: contianer\n"), @r#"
    near/p.yaml:2:10: there is no profile "contianer" to extend; did you mean "container"?
      2 | extends: contianer
        |          ^
      found: native, wsl2, distrobox, container, ci, p
      looked in: near/, far/, built in
    "#);
    // The last of its name has nothing below it to extend.
    assert!(refusal("extends: p\n").contains("there is no profile \"p\" to extend"));
}

#[test]
fn a_profile_in_a_folder_is_called_as_its_file_is() {
    insta::assert_snapshot!(refusal("name: q\n"), @r#"
    near/p.yaml:1:7: name: this profile is found by its file's name, "p", and calls itself "q"; expected `name: p`, or no name
      1 | name: q
        |       ^
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        try_text(&text);
    }

    #[test]
    fn nothing_that_looks_like_a_profile_makes_it_panic(
        words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..40)
    ) {
        try_text(&words.concat());
    }
}

const WORDS: [&str; 38] = [
    "rules",
    "- match: ",
    "\n  ",
    "weight",
    "/(/",
    "groups",
    "retries",
    "on_timeout",
    "job",
    "budget",
    "memory_max",
    "jobs",
    "extends",
    ": ",
    ":",
    "\n",
    "\n  ",
    "\n",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "- ",
    "max",
    "2GiB",
    "60%",
    "&a ",
    "*a",
    "!t ",
    "\"",
    "'",
    "\t",
    "#",
    "---\n",
    "|\n",
    "<<",
    "名",
];

fn try_text(text: &str) {
    let scene = Scene::new().file("near/p.yaml", text);
    let loaded = load("p", &scene.places).and_then(|loaded| rules(&loaded, &host(16, 8)));
    match loaded {
        Ok(rules) => drop((rules.of("job"), rules.shown())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let scene = Scene::new().file("sandtest.yaml", text);
    if let Err(error) = load("native", &scene.places) {
        assert!(!error.to_string().is_empty());
    }
}
