//! What stands around the command line: completions as shells take them, the manual as its readers do, and examples that are
//! accepted. The generated files are checked in; `UPDATE_GENERATED=1 cargo test --test shell` renews them.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use sandtest::cli;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn sandtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandtest")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// `None`, said aloud, where a program is not there.
fn with(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(ran) => {
            assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
            Some(String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap())
        }
        Err(_) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {program} is not there");
            None
        }
    }
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

#[test]
fn the_generated_files_are_as_the_command_line_is() {
    let made = tempfile::tempdir().unwrap();
    let (completions, man) = (made.path().join("completions"), made.path().join("man"));
    fs::create_dir(&completions).unwrap();
    for (shell, file) in [("bash", "sandtest.bash"), ("zsh", "_sandtest"), ("fish", "sandtest.fish")] {
        fs::write(completions.join(file), sandtest(&["completions", shell]).stdout).unwrap();
    }
    assert!(sandtest(&["man", man.to_str().unwrap()]).status.success());
    for (kind, folder) in [("completions", completions), ("man", man)] {
        let (kept, made) = (root().join(kind), files(&folder));
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            let _ = fs::remove_dir_all(&kept);
            fs::create_dir(&kept).unwrap();
            made.iter().for_each(|(name, text)| fs::write(kept.join(name), text).unwrap());
        }
        assert!(
            files(&kept) == made,
            "{kind}/ is not what the command line is now: UPDATE_GENERATED=1 cargo test --test shell"
        );
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    let ask = |words: &str| {
        let script = format!(
            "source {}/completions/sandtest.bash; COMP_WORDS=(sandtest {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _sandtest sandtest \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[*]}}\"",
            root().display()
        );
        with("bash", &["--norc", "--noprofile", "-c", &script])
    };
    let Some(told) = ask("ex") else { return };
    assert_eq!(told.trim(), "exec");
    assert_eq!(ask("exec --lib").unwrap().trim(), "--libtest-json");
    assert_eq!(ask("show --github ''").unwrap().trim(), "auto on off");
    assert_eq!(ask("profile sh").unwrap().trim(), "show");
}

#[test]
fn fish_completes_commands_options_and_values() {
    let ask = |line: &str| {
        let script = format!("source {}/completions/sandtest.fish; complete -C '{line}'", root().display());
        with("fish", &["--no-config", "-c", &script])
    };
    let Some(told) = ask("sandtest ex") else { return };
    assert!(told.starts_with("exec\tRun a command"), "{told}");
    assert!(ask("sandtest exec --lib").unwrap().starts_with("--libtest-json"));
    let values = ask("sandtest show --github ").unwrap();
    assert_eq!(
        values.lines().map(|line| line.split('\t').next().unwrap()).collect::<Vec<_>>(),
        ["auto", "off", "on"]
    );
}

#[test]
fn zsh_completes_an_option() {
    let socket = format!("sandtest-zsh-{}", std::process::id());
    let tmux = |arguments: &[&str]| {
        let ran = Command::new("tmux").args(["-L", &socket, "-f", "/dev/null"]).args(arguments).output();
        ran.ok().filter(|ran| ran.status.success()).map(|ran| String::from_utf8(ran.stdout).unwrap())
    };
    if with("zsh", &["--version"]).is_none() || tmux(&["new-session", "-d", "-x", "100", "zsh -f"]).is_none()
    {
        let _ = writeln!(std::io::stderr(), "SKIPPED: zsh completes nothing without zsh and tmux");
        return;
    }
    let begin = Instant::now();
    let until = |what: &str| {
        while !tmux(&["capture-pane", "-p"]).is_some_and(|screen| screen.contains(what)) {
            assert!(begin.elapsed() < Duration::from_secs(30), "{what}: {:?}", tmux(&["capture-pane", "-p"]));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let load = format!(
        "fpath+={}/completions; autoload -U compinit; compinit -D -u; echo load''ed",
        root().display()
    );
    tmux(&["send-keys", &load, "Enter"]).unwrap();
    until("loaded");
    tmux(&["send-keys", "clear; sandtest ex", "Tab", "--libt", "Tab"]).unwrap();
    until("sandtest exec --libtest-json");
    tmux(&["kill-server"]);
}

#[test]
fn the_manual_has_no_mistake_that_its_readers_know_of() {
    let pages: Vec<PathBuf> =
        files(&root().join("man")).keys().map(|name| root().join("man").join(name)).collect();
    assert!(pages.len() > 8, "{pages:?}");
    for page in &pages {
        let page = page.to_str().unwrap();
        if let Some(told) = with("man", &["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page]) {
            assert!(!told.contains("warning") && !told.contains("error"), "{page}: {told}");
        }
        with("mandoc", &["-T", "lint", "-W", "error", page]);
    }
}

/// A line of an example without what is said of it.
fn words(line: &str) -> Vec<String> {
    let line = line.split("  ").next().unwrap().split(" > ").next().unwrap();
    shell_words::split(line).unwrap()
}

/// The commands below one, and it.
fn all(command: &clap::Command) -> Vec<clap::Command> {
    let below = command.get_subcommands().flat_map(all);
    below.chain([command.clone()]).collect()
}

#[test]
fn every_command_has_examples_and_all_of_them_are_accepted() {
    let command = cli::command();
    let mut checked = 0;
    for command in all(&command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in help.lines().map(str::trim).filter(|line| line.starts_with("sandtest ")) {
            // Where it stands for any of them.
            if !example.starts_with("sandtest COMMAND") {
                let parsed = cli::command().try_get_matches_from(words(example));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
                checked += 1;
            }
        }
    }
    let without = command.get_subcommands().filter(|command| command.get_after_help().is_none());
    assert_eq!(without.map(clap::Command::get_name).collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(checked > 25, "{checked}");
}
