//! `cargo test`, scheduled here: cargo builds, and what it would run one after the other becomes jobs.
//!
//! ```text
//! cargo test --no-run --message-format=json ...   in a group with the run's budget
//!    │ artifacts                cargo metadata --no-deps, rustc --print target-libdir: what cargo gives each test
//!    ▼
//! test binaries ─▶ jobs (binary, or test by test)        documentation ─▶ one job: cargo test --doc
//! ```
//!
//! - [`arguments`]: what builds, and what the tests are given
//! - [`messages`]: what cargo says

pub mod arguments;
pub mod messages;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use super::binaries::{self, Binary, Harness};
use super::libtest;
use super::{Found, SourceError, Wanted};
use crate::model::Command;
use crate::source::cargo_config::{CargoConfig, runner_variable};
use crate::source::drivers::own_runner;
use crate::source::filter::{self, Subject};
use crate::source::{Address, Draft};
use arguments::{Arguments, Scope};
use messages::{Artifact, Built, Metadata, Package};

use super::ask::Question;

/// What filters know documentation by.
const DOCUMENTATION: &str = "doctests";

/// The kinds of targets, in cargo's order.
const KINDS: [&str; 6] = ["lib", "proc-macro", "bin", "example", "test", "bench"];

pub(super) fn find(words: &[OsString], wanted: &Wanted) -> Result<Found, SourceError> {
    let arguments = Arguments::parse(words).map_err(SourceError::Argument)?;
    // Before anything is built.
    libtest::Arguments::parse(&arguments.tests).map_err(SourceError::Argument)?;
    let no_fail_fast = arguments.no_fail_fast;
    if arguments.scope == Scope::Documentation {
        let drafts = documentation(&arguments, wanted).into_iter().collect();
        return Ok(Found { drafts, no_fail_fast });
    }
    let build = Question::of(arguments.build());
    let answer = wanted.asker.build(&build)?;
    let command = || shown(&build.words);
    if answer.code != 0 {
        let code = u8::try_from(answer.code).unwrap_or(u8::MAX);
        return Err(SourceError::Build { command: command(), code });
    }
    let built =
        messages::built(&answer.output).map_err(|why| SourceError::Message { command: command(), why })?;
    if built.tests.is_empty() {
        return Ok(Found { drafts: Vec::new(), no_fail_fast });
    }
    let around = Around::look(&words[0], &arguments, &built)?;
    let mut binaries: Vec<Binary> =
        built.tests.iter().filter_map(|test| around.binary(test, &built)).collect();
    binaries.sort_by(|one, other| {
        (&one.package, one.rank, &one.id).cmp(&(&other.package, other.rank, &other.id))
    });
    let has_documentation = arguments.scope == Scope::All
        && around.packages.values().any(|package| {
            package.targets.iter().any(|target| target.doctest)
                && built.tests.iter().any(|test| test.package_id == package.id)
        });
    let mut drafts = binaries::drafts(binaries, &arguments.tests, wanted)?;
    drafts.extend(has_documentation.then(|| documentation(&arguments, wanted)).flatten());
    Ok(Found { drafts, no_fail_fast })
}

/// The job that tests what the documentation shows. rustdoc has no list, so an expression that depends on tests leaves it out.
fn documentation(arguments: &Arguments, wanted: &Wanted) -> Option<Draft> {
    let subject = Subject { package: None, binary: DOCUMENTATION, binary_id: DOCUMENTATION, test: None };
    let meant = filter::any(wanted.filters, subject);
    if meant.is_none() {
        (wanted.tell)("documentation is left out: its tests have no list that test() could choose from");
    }
    if meant != Some(true) {
        return None;
    }
    let words = arguments.documentation();
    let (program, rest) = words.split_first()?;
    let mut draft = Draft::of(Command { program: program.clone(), arguments: rest.to_vec() });
    let name = Some(DOCUMENTATION.to_owned());
    draft.address = Address { package: None, binary: name.clone(), binary_id: name, test: None };
    Some(draft)
}

/// What cargo knows beside the artifacts.
struct Around {
    /// By id.
    packages: BTreeMap<String, Package>,
    /// Libraries of the toolchain.
    libraries: Option<PathBuf>,
    cargo: OsString,
    config: CargoConfig,
    /// Targets that somebody has named; else it is the host's.
    targets: Vec<String>,
}

impl Around {
    fn look(cargo: &OsStr, arguments: &Arguments, built: &Built) -> Result<Around, SourceError> {
        // Both at once: each takes its tens of milliseconds.
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let libraries = Process::new(rustc)
            .args(["--print", "target-libdir"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut metadata = Process::new(cargo);
        metadata.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
        if let Some(manifest) = built.tests.first().and_then(|test| test.manifest_path.as_deref()) {
            metadata.arg("--manifest-path").arg(manifest);
        }
        let message = |why: String| SourceError::Message { command: "cargo metadata".into(), why };
        let answer = metadata.stdin(Stdio::null()).output().map_err(|error| message(error.to_string()))?;
        if !answer.status.success() {
            return Err(message(String::from_utf8_lossy(&answer.stderr).trim().to_owned()));
        }
        let Metadata { packages } = messages::metadata(&answer.stdout).map_err(message)?;
        let libraries = libraries.and_then(std::process::Child::wait_with_output).ok();
        let path = libraries.and_then(|answer| String::from_utf8(answer.stdout).ok());
        let path = path.map(|path| PathBuf::from(path.trim())).filter(|path| path.is_absolute());
        // Of a toolchain that rustup keeps, the cargo in it, as the one that it stands for would have it.
        let in_toolchain =
            path.iter().flat_map(|path| path.ancestors()).map(|folder| folder.join("bin/cargo"));
        let in_toolchain = in_toolchain.into_iter().find(|path| path.is_file()).map(PathBuf::into_os_string);
        let cargo = in_toolchain.or_else(|| in_path(cargo)).unwrap_or_else(|| cargo.to_owned());
        let config = CargoConfig::here();
        let mut targets = arguments.targets();
        if targets.is_empty() {
            targets.extend(std::env::var("CARGO_BUILD_TARGET").ok().filter(|target| !target.is_empty()));
        }
        if targets.is_empty() {
            targets = config.built_for();
        }
        Ok(Around {
            config,
            targets,
            packages: packages.into_iter().map(|package| (package.id.clone(), package)).collect(),
            libraries: path,
            cargo,
        })
    }

    /// What a test is built for, by where it is: `TARGET-DIR/TRIPLE/PROFILE/deps/FILE`, of the host's without the triple.
    fn target(&self, path: &Path) -> Option<String> {
        let folder = path.ancestors().nth(3).and_then(Path::file_name).and_then(OsStr::to_str);
        let named = self.targets.iter().find(|target| {
            let stem = Path::new(target).file_name().map_or("", |name| name.to_str().unwrap_or_default());
            folder == Some(stem.strip_suffix(".json").unwrap_or(stem))
        });
        // SYSROOT/lib/rustlib/TRIPLE/lib.
        let host = || Some(self.libraries.as_deref()?.parent()?.file_name()?.to_str()?.to_owned());
        named.cloned().or_else(host)
    }

    /// What the user has said that starts tests, if anything.
    fn runner(&self, path: &Path) -> Vec<OsString> {
        let Some(target) = self.target(path) else { return Vec::new() };
        let said = std::env::var(runner_variable(&target)).ok().filter(|line| !line.trim().is_empty());
        let here = || std::env::current_dir().unwrap_or_default();
        let words = said.map(|line| own_runner(&line, &here())).or_else(|| self.config.runner(&target));
        words.unwrap_or_default().into_iter().map(Into::into).collect()
    }

    fn binary(&self, test: &Artifact, built: &Built) -> Option<Binary> {
        let path = test.executable.clone()?;
        let package = self.packages.get(&test.package_id)?;
        let kind = test.target.kind.first().map_or("", String::as_str);
        let rank = KINDS.iter().position(|known| *known == kind).unwrap_or(0);
        let name = test.target.name.clone();
        let id = match kind {
            "test" => format!("{}::{name}", package.name),
            "bin" | "example" | "bench" => format!("{}::{kind}/{name}", package.name),
            _ => package.name.clone(),
        };
        Some(Binary {
            folder: package.manifest_path.parent().map(Path::to_owned),
            environment: self.environment(test, &path, package, built),
            package: Some(package.name.clone()),
            runner: self.runner(&path),
            harness: Some(Harness::Libtest),
            runs_whole: true,
            path,
            name,
            id,
            rank,
        })
    }

    /// What cargo gives a test binary.
    fn environment(
        &self,
        test: &Artifact,
        path: &Path,
        package: &Package,
        built: &Built,
    ) -> Vec<(String, OsString)> {
        let mut all: Vec<(String, OsString)> =
            package.variables().into_iter().map(|(name, value)| (name, value.into())).collect();
        all.push(("CARGO".into(), self.cargo.clone()));
        all.push(("CARGO_MANIFEST_PATH".into(), package.manifest_path.clone().into()));
        all.extend(package.manifest_path.parent().map(|folder| ("CARGO_MANIFEST_DIR".into(), folder.into())));
        let deps = path.parent();
        let output = deps.and_then(Path::parent);
        let mut libraries = Vec::new();
        if let Some(script) = built.scripts.get(&test.package_id) {
            all.push(("OUT_DIR".into(), script.out_dir.clone().into()));
            all.extend(script.env.iter().map(|(name, value)| (name.clone(), value.into())));
        }
        // Of all scripts, and only below the build's own folder: as cargo has it.
        for linked in built.scripts.values().flat_map(|script| &script.linked_paths) {
            let path = Path::new(linked.split_once('=').map_or(linked.as_str(), |(_, path)| path));
            if output.is_some_and(|output| path.starts_with(output)) && !libraries.contains(&path) {
                libraries.push(path);
            }
        }
        if test.target.kind.iter().any(|kind| kind == "test" || kind == "bench") {
            let of_package = built.programs.iter().filter(|program| program.package_id == test.package_id);
            for program in of_package.filter(|program| program.target.kind.iter().any(|kind| kind == "bin")) {
                let variable = format!("CARGO_BIN_EXE_{}", program.target.name);
                all.extend(program.executable.clone().map(|path| (variable, path.into())));
            }
        }
        libraries.extend(output);
        libraries.extend(deps);
        libraries.extend(self.libraries.as_deref());
        let before = std::env::var_os("LD_LIBRARY_PATH").filter(|before| !before.is_empty());
        let before = before.iter().flat_map(std::env::split_paths);
        let paths = std::env::join_paths(libraries.into_iter().map(Path::to_owned).chain(before));
        all.extend(paths.ok().map(|paths| ("LD_LIBRARY_PATH".into(), paths)));
        // What cargo sets itself stays.
        let mut said = self.config.environment(&|name| std::env::var_os(name).is_some());
        said.retain(|(name, _)| !all.iter().any(|(other, _)| other == name));
        all.extend(said);
        all
    }
}

/// A program's whole path.
fn in_path(program: &OsStr) -> Option<OsString> {
    let folders = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.map(PathBuf::into_os_string)
}

fn shown(words: &[OsString]) -> String {
    shell_words::join(words.iter().map(|word| word.to_string_lossy()))
}
