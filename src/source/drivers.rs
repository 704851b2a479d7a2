//! What makes the drivers of tests start them through our wrapper: variables for their environment, since nobody's command line is
//! changed.
//!
//! | driver | what it heeds |
//! |---|---|
//! | cargo, nextest | `CARGO_TARGET_<TRIPLE>_RUNNER`: words between spaces; comes before the configuration's |
//! | go | `-exec=` in `GOFLAGS`: fields between spaces, with no way to quote one |
//! | automake's `make check` | `LOG_COMPILER` and `<EXT>_LOG_COMPILER`, where the project's own Makefile sets none |
//! | pytest-xdist | `PYTEST_XDIST_AUTO_NUM_WORKERS`: how many workers `-n auto` is |
//! | | `PYTHONPATH`: a `sitecustomize` of ours, which has each worker go through the wrapper |
//!
//! What a user has set is kept: a runner is started by our wrapper, all else stays as it is.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::cargo_config::{CargoConfig, absolute, runner_variable};

/// The file name of our wrapper, by which one is known that a run around this one has set.
pub const WRAPPER: &str = "run-wrapper";

/// The folder beside it in which Python is to find [`SITECUSTOMIZE`].
pub const PYTHON: &str = "python";

/// What Python imports first, `sitecustomize.py`.
pub const SITECUSTOMIZE: &str = include_str!("sitecustomize.py");

/// Automake's `TEST_EXTENSIONS` that are in use; the first is of tests without one.
const EXTENSIONS: [&str; 5] = ["", "TEST_", "SH_", "PY_", "PL_"];

/// Where a command is started.
pub struct Surroundings<'a> {
    /// Its environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Names of all variables in it.
    pub names: Vec<String>,
    /// Its working directory.
    pub folder: &'a Path,
    /// Its words.
    pub words: Vec<&'a OsStr>,
}

/// What is to be set.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wiring {
    /// Names and values.
    pub variables: Vec<(String, String)>,
    /// What could not be done, in words.
    pub notes: Vec<String>,
}

/// What makes drivers use `wrapper`, a path without spaces; `workers`: as many as may run at once.
pub fn wiring(wrapper: &str, workers: usize, around: &Surroundings) -> Wiring {
    let mut wiring = Wiring::default();
    cargo(wrapper, around, &mut wiring);
    go(wrapper, around, &mut wiring);
    for extension in EXTENSIONS {
        let name = format!("{extension}LOG_COMPILER");
        let words = around.text(&name).unwrap_or_default();
        let words: Vec<&str> = not_ours(words.split_whitespace().collect());
        wiring.set(name, &[&[wrapper], &words[..]].concat());
    }
    if around.names_pytest() {
        let ours = Path::new(wrapper).with_file_name(PYTHON).display().to_string();
        let path = around.text("PYTHONPATH").map_or(ours.clone(), |path| format!("{ours}:{path}"));
        wiring.set("PYTHONPATH".to_owned(), &[&path]);
    }
    let count = "PYTEST_XDIST_AUTO_NUM_WORKERS";
    if around.text(count).is_none() {
        wiring.set(count.to_owned(), &[&workers.to_string()]);
    }
    for name in wiring.variables.extract_if(.., |(name, _)| around.is_no_text(name)).map(|(name, _)| name) {
        wiring
            .notes
            .push(format!("{name} is not UTF-8, so it is left alone: what heeds it shares one cgroup"));
    }
    wiring
}

/// The command, if it is one whose tests would be started through the wrapper: `cargo test`.
pub fn known(words: &[&OsStr]) -> Option<String> {
    let (program, rest) = words.split_first()?;
    let program = Path::new(program).file_name()?.to_str()?;
    let verbs: &[&str] = match program {
        "cargo" => &["test", "t", "bench", "nextest"],
        "go" => &["test"],
        "make" | "gmake" => &["check"],
        _ => return None,
    };
    let verb = rest.iter().find_map(|word| verbs.iter().find(|verb| word == *verb))?;
    Some(format!("{program} {verb}"))
}

fn cargo(wrapper: &str, around: &Surroundings, wiring: &mut Wiring) {
    let home = around.path("CARGO_HOME").or_else(|| Some(around.path("HOME")?.join(".cargo")));
    let config = CargoConfig::read(around.folder, home.as_deref());
    let arch = std::env::consts::ARCH;
    let usual = ["unknown-linux-gnu", "unknown-linux-musl", "alpine-linux-musl"];
    let mut triples: BTreeSet<String> = usual.iter().map(|rest| format!("{arch}-{rest}")).collect();
    triples.extend(around.text("CARGO_BUILD_TARGET"));
    triples.extend(config.targets());
    triples.extend(around.targets());
    let mut set = BTreeSet::new();
    let mut wire = |name: String, own: Option<Vec<String>>| {
        if !set.insert(name.clone()) {
            return;
        }
        let said = around.text(&name).map(|line| own_runner(&line, around.folder));
        let own = said.or(own).unwrap_or_default();
        if own.iter().any(|word| word.contains(char::is_whitespace) || word.is_empty()) {
            let note = format!(
                "the runner {own:?} has spaces, so {name} is left alone and its tests share one cgroup"
            );
            return wiring.notes.push(note);
        }
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        wiring.set(name, &[&[wrapper], &own[..]].concat());
    };
    for triple in triples.iter().filter(|triple| !triple.ends_with(".json")) {
        wire(runner_variable(triple), config.runner(triple));
    }
    // Of targets that nobody else has named.
    let is_runner = |name: &&String| name.starts_with("CARGO_TARGET_") && name.ends_with("_RUNNER");
    for name in around.names.iter().filter(is_runner) {
        wire(name.clone(), None);
    }
}

fn go(wrapper: &str, around: &Surroundings, wiring: &mut Wiring) {
    // A variable hides what `go env -w` has written.
    let written = || {
        let file = around.path("GOENV").or_else(|| {
            let config =
                around.path("XDG_CONFIG_HOME").or_else(|| Some(around.path("HOME")?.join(".config")));
            Some(config?.join("go/env"))
        });
        let text = std::fs::read_to_string(file?).ok()?;
        text.lines().find_map(|line| line.strip_prefix("GOFLAGS=")).map(str::to_owned)
    };
    let flags = around.text("GOFLAGS").or_else(written).unwrap_or_default();
    let is_exec = |flag: &&str| flag.starts_with("-exec=") || flag.starts_with("--exec=");
    let is_ours = |flag: &&str| is_exec(flag) && Path::new(flag).file_name() == Some(OsStr::new(WRAPPER));
    let mut flags: Vec<&str> = flags.split_whitespace().filter(|flag| !is_ours(flag)).collect();
    if flags.iter().any(is_exec) {
        let note = "GOFLAGS has an -exec of its own, so tests of go share one cgroup".to_owned();
        return wiring.notes.push(note);
    }
    let exec = format!("-exec={wrapper}");
    flags.push(&exec);
    wiring.set("GOFLAGS".to_owned(), &flags);
}

/// The runner that such a variable of cargo's names, set by a user in `folder`; empty if that is our own wrapper.
pub fn own_runner(line: &str, folder: &Path) -> Vec<String> {
    let mut words: Vec<String> =
        not_ours(line.split_whitespace().collect()).into_iter().map(str::to_owned).collect();
    words.iter_mut().take(1).for_each(|program| *program = absolute(program, folder));
    words
}

/// Without the wrapper of a run around this one.
fn not_ours(words: Vec<&str>) -> Vec<&str> {
    match words.split_first() {
        Some((first, rest)) if Path::new(first).file_name() == Some(OsStr::new(WRAPPER)) => rest.to_vec(),
        _ => words,
    }
}

impl Surroundings<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name)?.into_string().ok().filter(|text| !text.is_empty())
    }

    /// Whether a variable is set to what `text` does not see.
    fn is_no_text(&self, name: &str) -> bool {
        (self.variable)(name).is_some_and(|value| value.to_str().is_none())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Whether the command line says that pytest is to be run: by itself, by Python or in a shell's line. No other Python is
    /// told anything.
    fn names_pytest(&self) -> bool {
        let is_pytest = |word: &str| matches!(word.rsplit('/').next(), Some("pytest" | "py.test"));
        let between = |letter: char| letter.is_whitespace() || ";&|()".contains(letter);
        let words = self.words.iter().filter_map(|word| word.to_str());
        words.flat_map(|word| word.split(between)).any(is_pytest)
    }

    /// Targets on the command line.
    fn targets(&self) -> Vec<String> {
        let words: Vec<&str> = self.words.iter().filter_map(|word| word.to_str()).collect();
        let next = words.windows(2).filter(|pair| pair[0] == "--target").map(|pair| pair[1]);
        let same = words.iter().filter_map(|word| word.strip_prefix("--target="));
        next.chain(same).map(str::to_owned).collect()
    }
}

impl Wiring {
    fn set(&mut self, name: String, words: &[&str]) {
        self.variables.push((name, words.join(" ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "/run/x/run-wrapper";

    fn wired(said: &[(&str, &str)], command: &str) -> Wiring {
        let words: Vec<OsString> = command.split(' ').map(Into::into).collect();
        let variable = |name: &str| {
            said.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value))
        };
        let around = Surroundings {
            variable: &variable,
            names: said.iter().map(|(name, _)| (*name).to_owned()).collect(),
            folder: Path::new("/nowhere/project"),
            words: words.iter().map(OsString::as_os_str).collect(),
        };
        wiring(OURS, 3, &around)
    }

    fn of(wiring: &Wiring, name: &str) -> String {
        let found: Vec<&String> =
            wiring.variables.iter().filter(|(other, _)| other == name).map(|(_, value)| value).collect();
        assert!(found.len() <= 1, "{name} is set twice: {found:?}");
        found.first().map_or_else(|| "-".to_owned(), |value| (*value).clone())
    }

    #[test]
    fn every_target_that_is_seen_has_the_wrapper() {
        let host = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
        let plain = wired(&[], "cargo test --target wasm32-wasip1 --target=thumbv7em-none-eabi");
        for name in [&host, "CARGO_TARGET_WASM32_WASIP1_RUNNER", "CARGO_TARGET_THUMBV7EM_NONE_EABI_RUNNER"] {
            assert_eq!(of(&plain, name), OURS, "{name}");
        }
        assert_eq!(of(&plain, "GOFLAGS"), format!("-exec={OURS}"));
        assert_eq!(of(&plain, "LOG_COMPILER"), OURS);
        assert_eq!(of(&plain, "PYTEST_XDIST_AUTO_NUM_WORKERS"), "3");
    }

    #[test]
    fn what_a_user_has_set_is_chained_or_kept() {
        let host = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
        let wired = wired(
            &[
                (&host, "./scripts/run -q"),
                ("CARGO_TARGET_MY_BOARD_RUNNER", "probe-rs run"),
                ("GOFLAGS", "-mod=vendor -race"),
                ("SH_LOG_COMPILER", "bash -e"),
                ("PYTEST_XDIST_AUTO_NUM_WORKERS", "7"),
            ],
            "make check",
        );
        assert_eq!(of(&wired, &host), format!("{OURS} /nowhere/project/./scripts/run -q"));
        assert_eq!(of(&wired, "CARGO_TARGET_MY_BOARD_RUNNER"), format!("{OURS} probe-rs run"));
        assert_eq!(of(&wired, "GOFLAGS"), format!("-mod=vendor -race -exec={OURS}"));
        assert_eq!(of(&wired, "SH_LOG_COMPILER"), format!("{OURS} bash -e"));
        assert_eq!(of(&wired, "PYTEST_XDIST_AUTO_NUM_WORKERS"), "-");
    }

    #[test]
    fn only_where_pytest_is_named_python_looks_into_our_folder() {
        let path = |said: &[(&str, &str)], command: &str| of(&wired(said, command), "PYTHONPATH");
        assert_eq!(path(&[], "python3 -m pytest -n 4"), "/run/x/python");
        assert_eq!(path(&[("PYTHONPATH", "src:lib")], "/venv/bin/pytest -n4"), "/run/x/python:src:lib");
        assert_eq!(path(&[], "sh -c cd\tx&&pytest\t-n4"), "/run/x/python");
        assert_eq!(path(&[("PYTHONPATH", "src")], "python3 -m mypy"), "-");
        assert_eq!(path(&[], "make pytest-all"), "-");
    }

    #[test]
    fn what_is_no_text_is_kept_and_told() {
        use std::os::unix::ffi::OsStringExt;
        let variable = |name: &str| (name == "PYTHONPATH").then(|| OsString::from_vec(b"/lib\xff".to_vec()));
        let words = vec![OsStr::new("pytest")];
        let around =
            Surroundings { variable: &variable, names: Vec::new(), folder: Path::new("/nowhere"), words };
        let wired = wiring(OURS, 3, &around);
        assert_eq!(of(&wired, "PYTHONPATH"), "-");
        assert_eq!(of(&wired, "LOG_COMPILER"), OURS);
        assert_eq!(wired.notes.len(), 1);
    }

    #[test]
    fn a_run_inside_of_a_run_has_its_own_wrapper_only() {
        let host = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
        let outer = "/other/run-wrapper";
        let go = format!("-exec={outer}");
        let chained = format!("{outer} valgrind");
        let wired = wired(&[(&host, &chained), ("GOFLAGS", &go), ("LOG_COMPILER", outer)], "cargo test");
        assert_eq!(of(&wired, &host), format!("{OURS} valgrind"));
        assert_eq!(of(&wired, "GOFLAGS"), format!("-exec={OURS}"));
        assert_eq!(of(&wired, "LOG_COMPILER"), OURS);
    }

    #[test]
    fn a_driver_is_known_by_its_file_and_its_verb() {
        let of = |line: &str| known(&line.split(' ').map(OsStr::new).collect::<Vec<_>>());
        assert_eq!(of("cargo +nightly --locked t --lib").as_deref(), Some("cargo t"));
        assert_eq!(of("/usr/bin/make -j4 check").as_deref(), Some("make check"));
        for other in ["cargo build", "make all", "sh -c check", "go vet ./...", "cargo"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn what_cant_be_chained_is_left_alone_and_told() {
        let wired = wired(&[("GOFLAGS", "-exec=qemu")], "go test ./...");
        assert_eq!(of(&wired, "GOFLAGS"), "-");
        assert_eq!(wired.notes.len(), 1);
    }
}
