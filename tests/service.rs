//! `sandtest service` with a `systemctl` of our own making, which writes down what it is asked. With the real one:
//! tests/lab/broker.py.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A home, and a `systemctl` that obliges.
struct Home(TempDir);

/// `$ANSWER` is said to `show UNIT`, `$REFUSES` names a verb that fails.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> "$HOME/asked"
case " $* " in
    *" $REFUSES "*) echo "Failed to $REFUSES: because." >&2; exit 1 ;;
    *UnitPath*) echo "/etc/x $SEARCHED" ;;
    *" show "*) printf '%s' "$ANSWER" ;;
esac
"#;

impl Home {
    fn new() -> Home {
        let home = Home(TempDir::new().unwrap());
        let systemctl = home.path("bin/systemctl");
        fs::create_dir(home.path("bin")).unwrap();
        fs::write(&systemctl, SYSTEMCTL).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        home
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn units(&self) -> PathBuf {
        self.path("config/systemd/user")
    }

    fn service(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        Command::new(env!("CARGO_BIN_EXE_sandtest"))
            .arg("service")
            .args(arguments)
            .env_clear()
            .envs([("PATH", path.as_str()), ("REFUSES", "nothing"), ("ANSWER", "")])
            .env("HOME", self.0.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("SEARCHED", self.units())
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// What systemctl was asked to do since the last look.
    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("asked")).unwrap_or_default();
        let _ = fs::remove_file(self.path("asked"));
        text.lines().filter(|line| !line.contains(" show ")).map(str::to_owned).collect()
    }

    fn all_files(&self) -> Vec<PathBuf> {
        let (mut folders, mut found) = (vec![self.path("config")], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                found.push(path.clone());
                folders.push(path);
            }
        }
        found
    }
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it said of a failure of its own.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn install_puts_it_in_place_and_twice_is_the_same() {
    let home = Home::new();
    ok(&home.service(&["install"], &[]));
    for unit in ["sandtest.socket", "sandtest.service", "sandtest.slice"] {
        assert!(home.units().join(unit).is_file(), "{unit}");
    }
    let service = fs::read_to_string(home.units().join("sandtest.service")).unwrap();
    let line = format!("\nExecStart={} serve --idle-exit 10min\n", env!("CARGO_BIN_EXE_sandtest"));
    assert!(service.contains(&line), "{service}");
    let first = [
        "--user daemon-reload",
        "--user stop sandtest.service sandtest.socket",
        "--user reset-failed sandtest.service sandtest.socket",
        "--user enable --quiet --now sandtest.socket",
    ];
    assert_eq!(home.asked(), first);
    let text = ok(&home.service(&["install"], &[]));
    assert!(text.contains("as before"), "{text}");
    // Nothing has changed, so nobody is stopped.
    assert_eq!(home.asked(), [first[0], first[2], first[3]]);
}

#[test]
fn uninstall_leaves_nothing_and_twice_is_the_same() {
    let home = Home::new();
    ok(&home.service(&["install"], &[]));
    // As systemctl would have.
    fs::create_dir(home.units().join("sockets.target.wants")).unwrap();
    let link = home.units().join("sockets.target.wants/sandtest.socket");
    std::os::unix::fs::symlink(home.units().join("sandtest.socket"), link).unwrap();
    home.asked();
    ok(&home.service(&["uninstall"], &[]));
    assert_eq!(home.all_files(), Vec::<PathBuf>::new());
    let asked = home.asked();
    assert_eq!(asked[..2], ["--user disable --quiet --now sandtest.socket", "--user stop sandtest.service"]);
    assert_eq!(ok(&home.service(&["uninstall"], &[])), "It was not installed.\n");
    assert_eq!(home.asked(), [""; 0]);
}

#[test]
fn what_is_somebody_elses_stays() {
    let home = Home::new();
    ok(&home.service(&["install"], &[]));
    let other = home.units().join("other.service");
    fs::write(&other, "[Service]\n").unwrap();
    ok(&home.service(&["uninstall"], &[]));
    assert!(other.is_file());
}

#[test]
fn without_a_manager_the_error_says_what_to_do() {
    let home = Home::new();
    // The first word that systemctl gets.
    let text = refusal(&home.service(&["install"], &[("REFUSES", "--user")]));
    assert!(text.contains("your systemd (systemctl --user) doesn't answer: Failed to --user"), "{text}");
    assert!(text.contains("\nfix: "), "{text}");
    fs::remove_file(home.path("bin/systemctl")).unwrap();
    let text = refusal(&home.service(&["install"], &[("PATH", "/nowhere")]));
    assert!(text.contains("there is no systemctl here"), "{text}");
    assert_eq!(home.all_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_folder_that_the_manager_does_not_search_is_refused() {
    let home = Home::new();
    let text = refusal(&home.service(&["install"], &[("SEARCHED", "/home/me/.config/systemd/user")]));
    assert!(text.contains("but in /etc/x, /home/me/.config/systemd/user"), "{text}");
    assert_eq!(home.all_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_masked_unit_is_somebodys_word() {
    let home = Home::new();
    fs::create_dir_all(home.units()).unwrap();
    std::os::unix::fs::symlink("/dev/null", home.units().join("sandtest.socket")).unwrap();
    let text = refusal(&home.service(&["install"], &[]));
    assert!(
        text.contains("masked") && text.contains("fix: systemctl --user unmask sandtest.socket"),
        "{text}"
    );
    assert!(ok(&home.service(&["uninstall"], &[])).contains("not installed"));
    assert!(home.units().join("sandtest.socket").is_symlink());
}

#[test]
fn a_broker_that_holds_the_socket_is_named() {
    let home = Home::new();
    fs::create_dir_all(home.path("run/sandtest")).unwrap();
    let _listener = UnixListener::bind(home.path("run/sandtest/broker.sock")).unwrap();
    let text = refusal(&home.service(&["install"], &[]));
    assert!(text.contains(&format!("process {} serves", std::process::id())), "{text}");
    // Where systemd itself is the one that listens, that is as it should be.
    ok(&home.service(&["install"], &[("ANSWER", "ActiveState=active\n")]));
}

#[test]
fn what_systemctl_refuses_is_told_in_its_words() {
    let home = Home::new();
    let text = refusal(&home.service(&["install"], &[("REFUSES", "enable")]));
    assert!(text.contains("enable --quiet --now sandtest.socket: Failed to enable: because."), "{text}");
    assert!(text.contains("journalctl --user"), "{text}");
}

#[test]
fn status_tells_by_words_and_by_code() {
    let home = Home::new();
    let code = |output: &Output| output.status.code().unwrap();
    assert_eq!(code(&home.service(&["status"], &[])), 4);
    ok(&home.service(&["install"], &[]));
    let fragment = format!("FragmentPath={}\n", home.units().join("sandtest.socket").display());
    let listening =
        format!("ActiveState=active\n{fragment}MainPID=7\nMemoryCurrent=1048576\nMemoryMax=infinity\n");
    let told = home.service(&["status"], &[("ANSWER", &listening)]);
    assert_eq!(code(&told), 0);
    let text = ok(&told);
    assert!(text.contains("active, process 7") && text.contains("1 MiB of memory, no limit"), "{text}");
    assert!(!text.contains("not those of this sandtest"), "{text}");
    fs::write(home.units().join("sandtest.service"), "[Service]\n").unwrap();
    let failed = format!("ActiveState=failed\n{fragment}");
    let told = home.service(&["status"], &[("ANSWER", &failed)]);
    assert_eq!(code(&told), 3);
    assert!(String::from_utf8(told.stdout).unwrap().contains("not those of this sandtest"));
}

#[test]
fn shipped_units_are_those_of_a_package() {
    for unit in ["user/sandtest.service", "system/sandtest.service"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit);
        assert!(fs::read_to_string(path).unwrap().contains("\nExecStart=/usr/bin/sandtest serve"), "{unit}");
    }
}
