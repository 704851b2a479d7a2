//! The snippets of docs/ci.md: they are what GitHub and GitLab take, and their commands do what the page says.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_yaml::Value;

const GIT: &str = "https://git.example.org/sandtest.git";

/// The snippets, in their order.
fn snippets() -> Vec<Value> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned());
    blocks.map(|block| serde_yaml::from_str(&block).unwrap()).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).map(|it| it.as_str().unwrap_or_else(|| panic!("{key} is no text: {it:?}")))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_mapping().unwrap().keys().map(|key| key.as_str().unwrap()).collect()
}

/// A project with two tests, of which one fails, and a place for programs that stand in for what costs minutes or root.
struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new() -> Project {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tests.txt"), "true\nsh -c 'echo told; exit 3'\n").unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        let project = Project { folder };
        // It says how it was called, and puts the program of this build where the real one would put its own.
        let binary = env!("CARGO_BIN_EXE_sandtest");
        project.program("cargo", &format!("echo \"cargo $*\" >> called; ln -s {binary} bin/sandtest"));
        project.program("sudo", "echo \"sudo $*\" >> called");
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// As both of them run a line: bash, which ends at the first failure.
    fn run(&self, script: &str, variables: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]);
        command.current_dir(self.folder.path()).env("PATH", path).env("USER", "runner").env("CI", "true");
        command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
        command.env("XDG_STATE_HOME", self.path("state")).envs(variables.iter().copied());
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn called(&self) -> String {
        fs::read_to_string(self.path("called")).unwrap()
    }
}

#[test]
fn what_is_installed_is_this_package() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(manifest.starts_with("[package]\nname = \"sandtest\"\n"));
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock").exists(), "--locked");
}

#[test]
fn github_takes_the_workflow_and_its_steps_do_what_they_say() {
    let workflow = &snippets()[0];
    assert_eq!(keys(workflow), ["name", "on", "permissions", "jobs"]);
    let jobs = workflow["jobs"].as_mapping().unwrap();
    let (_, job) = jobs.iter().next().unwrap();
    assert_eq!((jobs.len(), keys(job)), (1, vec!["runs-on", "steps"]));
    let project = Project::new();
    let summary = project.path("summary.md");
    let actions = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap())];
    let mut codes = Vec::new();
    for step in job["steps"].as_sequence().unwrap() {
        let known = ["name", "uses", "run", "env", "with", "if"];
        assert!(keys(step).iter().all(|key| known.contains(key)), "{step:?}");
        let (uses, run) = (text(step, "uses"), text(step, "run"));
        assert_ne!(uses.is_some(), run.is_some(), "one of the two: {step:?}");
        if let Some(run) = run {
            let mut variables = actions.to_vec();
            if let Some(said) = step.get("env") {
                assert_eq!(text(said, "SANDTEST_GIT"), Some("${{ vars.SANDTEST_GIT }}"));
                variables.push(("SANDTEST_GIT", GIT));
            }
            let ran = project.run(run, &variables);
            codes.push(ran.status.code().unwrap());
            if codes.len() == 3 {
                let err = String::from_utf8_lossy(&ran.stderr).into_owned();
                assert!(
                    err.contains("profile ci") && err.contains("::error title=exit code 3%3A sh -c "),
                    "{err}"
                );
            }
        }
        if let Some(action) = uses {
            assert!(action.starts_with("actions/") && action.contains("@v"), "{action}");
        }
        if let Some(paths) = step.get("with").and_then(|with| text(with, "path")) {
            assert!(paths.lines().all(|path| project.path(path).exists()), "{paths}");
            assert_eq!(text(step, "if"), Some("${{ !cancelled() }}"), "also if tests have failed");
        }
    }
    assert_eq!(codes, [0, 0, 100]);
    assert!(fs::read_to_string(summary).unwrap().contains("1 of 2 jobs failed"));
    assert_eq!(
        project.called(),
        format!("sudo loginctl enable-linger runner\ncargo install --locked --git {GIT} sandtest\n")
    );
}

#[test]
fn gitlab_takes_the_job_and_its_script_does_what_it_says() {
    let file = &snippets()[1];
    assert_eq!(keys(file), ["tests"]);
    let job = &file["tests"];
    assert_eq!(keys(job), ["image", "script", "artifacts"]);
    let artifacts = &job["artifacts"];
    assert_eq!(
        (keys(artifacts), text(artifacts, "when")),
        (vec!["when", "paths", "reports"], Some("always"))
    );
    let project = Project::new();
    let lines = job["script"].as_sequence().unwrap().iter().map(|line| line.as_str().unwrap());
    let ran: Vec<Output> =
        lines.map(|line| project.run(line, &[("SANDTEST_GIT", GIT), ("GITLAB_CI", "true")])).collect();
    assert_eq!(ran.iter().map(|ran| ran.status.code().unwrap()).collect::<Vec<_>>(), [0, 0, 100]);
    assert_eq!(project.called(), format!("cargo install --locked --git {GIT} sandtest\n"));
    let paths = artifacts["paths"].as_sequence().unwrap().iter().map(|path| path.as_str().unwrap());
    for path in paths.chain(text(&artifacts["reports"], "junit")) {
        assert!(project.path(path).exists(), "{path}");
    }
}
