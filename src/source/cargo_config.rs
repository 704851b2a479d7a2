//! What cargo's configuration says of tests: `target.<triple>.runner`, `target.'cfg(..)'.runner` and `[env]` of the `config.toml`
//! files from here up, and of `$CARGO_HOME` (doc.rust-lang.org/cargo/reference/config.html). The nearest file decides.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_platform::{Cfg, CfgExpr};

/// The files that there are, the nearest first.
#[derive(Debug, Default)]
pub struct CargoConfig {
    files: Vec<ConfigFile>,
}

#[derive(Debug)]
struct ConfigFile {
    /// What paths in it are relative to.
    base: PathBuf,
    table: toml::Table,
}

impl CargoConfig {
    /// Reads those for a command in `folder`. What can't be read says nothing: cargo itself will complain.
    pub fn read(folder: &Path, cargo_home: Option<&Path>) -> CargoConfig {
        let above = folder.ancestors().map(|folder| folder.join(".cargo"));
        let homes = above.chain(cargo_home.map(Path::to_owned));
        let mut seen = Vec::new();
        let mut files = Vec::new();
        for home in homes {
            let found = ["config", "config.toml"].into_iter().map(|name| home.join(name));
            let Some(path) = found.into_iter().find(|path| path.is_file() && !seen.contains(path)) else {
                continue;
            };
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            seen.push(path);
            if let Ok(table) = text.parse::<toml::Table>() {
                files.push(ConfigFile { base: home.parent().unwrap_or(&home).to_owned(), table });
            }
        }
        CargoConfig { files }
    }

    /// Reads those of our own working directory.
    pub fn here() -> CargoConfig {
        let variable = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let home = variable("CARGO_HOME").or_else(|| Some(variable("HOME")?.join(".cargo")));
        CargoConfig::read(&std::env::current_dir().unwrap_or_default(), home.as_deref())
    }

    /// What is added to the environment of a test, but for what cargo itself sets; `is_set`: whether we have such a variable.
    pub fn environment(&self, is_set: &dyn Fn(&str) -> bool) -> Vec<(String, OsString)> {
        let mut nearest = BTreeMap::new();
        for file in &self.files {
            let said = file.table.get("env").and_then(toml::Value::as_table);
            for (name, value) in said.into_iter().flatten() {
                nearest.entry(name).or_insert((file, value));
            }
        }
        let given = |(name, (file, value)): (&String, (&ConfigFile, &toml::Value))| {
            let says = |key: &str| value.get(key).and_then(toml::Value::as_bool).unwrap_or(false);
            if is_set(name) && !says("force") {
                return None;
            }
            let text = value.as_str().or_else(|| value.get("value")?.as_str())?;
            let value = if says("relative") { file.base.join(text).into() } else { text.into() };
            Some((name.clone(), value))
        };
        nearest.into_iter().filter_map(given).collect()
    }

    /// Targets that are built for.
    pub fn built_for(&self) -> Vec<String> {
        let built = |file: &ConfigFile| file.built_for();
        self.files.iter().find_map(built).unwrap_or_default()
    }

    /// Targets that are built for, or of which a runner is known.
    pub fn targets(&self) -> Vec<String> {
        let of = |file: &ConfigFile| {
            let known = file.runners().map(|(key, _)| key).filter(|key| !key.starts_with("cfg("));
            file.built_for().unwrap_or_default().into_iter().chain(known).collect::<Vec<String>>()
        };
        self.files.iter().flat_map(of).collect()
    }

    /// The runner of `triple`, in words.
    pub fn runner(&self, triple: &str) -> Option<Vec<String>> {
        let of_triple = |file: &ConfigFile| {
            file.runners().find(|(key, _)| key == triple).map(|(_, value)| file.words(&value))
        };
        self.files.iter().find_map(of_triple).unwrap_or_else(|| self.runner_by_cfg(triple))
    }

    fn runner_by_cfg(&self, triple: &str) -> Option<Vec<String>> {
        let keyed = self.files.iter().flat_map(|file| file.runners().map(move |pair| (file, pair)));
        let by_cfg: Vec<_> = keyed.filter(|(_, (key, _))| key.starts_with("cfg(")).collect();
        if by_cfg.is_empty() {
            return None;
        }
        // Only where somebody has such a runner: it takes its time.
        let cfgs = cfgs(triple)?;
        let fits = |key: &str| {
            let inner = key.strip_prefix("cfg(").and_then(|rest| rest.strip_suffix(')'));
            inner
                .and_then(|inner| inner.parse::<CfgExpr>().ok())
                .is_some_and(|expression| expression.matches(&cfgs))
        };
        by_cfg.into_iter().find(|(_, (key, _))| fits(key)).and_then(|(file, (_, value))| file.words(&value))
    }
}

impl ConfigFile {
    /// `build.target`.
    fn built_for(&self) -> Option<Vec<String>> {
        match self.table.get("build")?.get("target")? {
            toml::Value::String(one) => Some(vec![one.clone()]),
            toml::Value::Array(many) => {
                Some(many.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect())
            }
            _ => None,
        }
    }

    /// Each key below `target`, with its runner.
    fn runners(&self) -> impl Iterator<Item = (String, toml::Value)> {
        let targets = self.table.get("target").and_then(toml::Value::as_table);
        let runner = |(key, of): (&String, &toml::Value)| Some((key.clone(), of.get("runner")?.clone()));
        targets.into_iter().flatten().filter_map(runner)
    }

    /// As cargo reads it: a list, or words between spaces.
    fn words(&self, value: &toml::Value) -> Option<Vec<String>> {
        let mut words: Vec<String> = match value {
            toml::Value::String(line) => line.split_whitespace().map(str::to_owned).collect(),
            toml::Value::Array(words) => {
                words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()
            }
            _ => return None,
        };
        let program = words.first_mut()?;
        *program = absolute(program, &self.base);
        Some(words)
    }
}

/// The variable that names the runner of `triple`.
pub fn runner_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_RUNNER", triple.to_uppercase().replace(['-', '.'], "_"))
}

/// A program with a slash is a path from where it was said; another one is looked up.
pub fn absolute(program: &str, base: &Path) -> String {
    if program.contains('/') { base.join(program).display().to_string() } else { program.to_owned() }
}

/// What `rustc` says of a target.
fn cfgs(triple: &str) -> Option<Vec<Cfg>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(rustc).args(["--print", "cfg", "--target", triple]).output().ok()?;
    let lines = String::from_utf8(told.stdout).ok()?;
    told.status.success().then(|| lines.lines().filter_map(|line| line.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(nearest: &str, home: &str) -> (CargoConfig, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let write = |at: &str, text: &str| {
            std::fs::create_dir_all(folder.path().join(at)).unwrap();
            std::fs::write(folder.path().join(at).join("config.toml"), text).unwrap();
        };
        write("project/.cargo", nearest);
        write("home", home);
        let config = CargoConfig::read(&folder.path().join("project"), Some(&folder.path().join("home")));
        (config, folder)
    }

    #[test]
    fn the_nearest_file_decides_and_paths_are_from_beside_it() {
        let (config, folder) = config(
            "[target.wasm32-wasip1]\nrunner = ['tools/wasm run', '--dir=.']\n[build]\ntarget = 'wasm32-wasip1'",
            "[target.wasm32-wasip1]\nrunner = 'other'\n[target.x86_64-unknown-linux-gnu]\nrunner = 'valgrind -q'",
        );
        let tool = folder.path().join("project/tools/wasm run").display().to_string();
        assert_eq!(config.runner("wasm32-wasip1").unwrap(), [tool.as_str(), "--dir=."]);
        assert_eq!(config.runner("x86_64-unknown-linux-gnu").unwrap(), ["valgrind", "-q"]);
        assert_eq!(config.runner("aarch64-unknown-linux-gnu"), None);
        assert!(config.targets().contains(&"wasm32-wasip1".to_owned()));
    }

    #[test]
    fn variables_are_the_nearest_files_and_give_way_to_those_that_are_set() {
        let (config, folder) = config(
            "[env]\nA = 'near'\nB = { value = 'forced', force = true }\nC = { value = 'data', relative = true }\nD = 'd'",
            "[env]\nA = 'far'\nE = 'far'",
        );
        let data = folder.path().join("project/data").display().to_string();
        let given = config.environment(&|name| name == "B" || name == "D");
        let given: Vec<(&str, &str)> =
            given.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(given, [("A", "near"), ("B", "forced"), ("C", data.as_str()), ("E", "far")]);
    }

    #[test]
    fn a_runner_may_be_for_all_targets_of_a_kind() {
        let (config, _folder) =
            config("[target.'cfg(all(unix, not(windows)))']\nrunner = 'echo'", "not toml at all [");
        let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        assert_eq!(config.runner(&host).unwrap(), ["echo"]);
        assert_eq!(config.runner("x86_64-pc-windows-gnu"), None);
    }
}
