//! What cargo says of its artifacts and packages, as far as it matters here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A line of `--message-format=json`.
#[derive(Debug, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact(Artifact),
    BuildScriptExecuted(BuildScript),
    #[serde(other)]
    Other,
}

/// Something that was built, or was there already.
#[derive(Debug, Clone, Deserialize)]
pub struct Artifact {
    /// Its package.
    pub package_id: String,
    /// That package's `Cargo.toml`.
    pub manifest_path: Option<PathBuf>,
    /// Its target.
    pub target: Target,
    profile: ProfileOfArtifact,
    /// The program, if it is one.
    pub executable: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
struct ProfileOfArtifact {
    test: bool,
}

/// A library, a program, a file of tests.
#[derive(Debug, Clone, Deserialize)]
pub struct Target {
    /// `lib`, `bin`, `test`, ...
    pub kind: Vec<String>,
    /// Its name.
    pub name: String,
    /// Whether `cargo test` tests its documentation.
    #[serde(default)]
    pub doctest: bool,
}

/// What a build script said.
#[derive(Debug, Clone, Deserialize)]
pub struct BuildScript {
    package_id: String,
    /// Where libraries are, with `native=` and the like in front.
    pub linked_paths: Vec<String>,
    /// Variables for the compiler and for the tests.
    pub env: Vec<(String, String)>,
    /// Its own folder.
    pub out_dir: PathBuf,
}

/// What was built.
#[derive(Debug, Default)]
pub struct Built {
    /// Test binaries.
    pub tests: Vec<Artifact>,
    /// Programs that the tests may start.
    pub programs: Vec<Artifact>,
    /// By package.
    pub scripts: BTreeMap<String, BuildScript>,
}

/// Reads the messages of a build.
///
/// # Errors
/// In words: the first that is not understood.
pub fn built(output: &[u8]) -> Result<Built, String> {
    let mut built = Built::default();
    for line in output.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
        match parse(line)? {
            Message::CompilerArtifact(artifact) if artifact.executable.is_none() => {}
            Message::CompilerArtifact(artifact) if artifact.profile.test => built.tests.push(artifact),
            Message::CompilerArtifact(artifact) => built.programs.push(artifact),
            Message::BuildScriptExecuted(script) => {
                built.scripts.insert(script.package_id.clone(), script);
            }
            Message::Other => {}
        }
    }
    Ok(built)
}

/// `cargo metadata --no-deps`.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// The packages of the workspace.
    pub packages: Vec<Package>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// As messages name it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its targets.
    pub targets: Vec<Target>,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    version: String,
    #[serde(default)]
    authors: Vec<String>,
    description: Option<String>,
    homepage: Option<String>,
    repository: Option<String>,
    license: Option<String>,
    license_file: Option<String>,
    readme: Option<String>,
    rust_version: Option<String>,
}

/// Reads what `cargo metadata` said.
///
/// # Errors
/// In words: what is not understood.
pub fn metadata(output: &[u8]) -> Result<Metadata, String> {
    parse(output)
}

impl Package {
    /// The variables that tell a test of its package, as cargo sets them.
    pub fn variables(&self) -> Vec<(String, String)> {
        let (numbers, pre) = self
            .version
            .split('+')
            .next()
            .unwrap_or_default()
            .split_once('-')
            .unwrap_or((self.version.split('+').next().unwrap_or_default(), ""));
        let mut numbers = numbers.split('.');
        let mut number = || numbers.next().unwrap_or_default();
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        [
            ("VERSION", self.version.clone()),
            ("VERSION_MAJOR", number().to_owned()),
            ("VERSION_MINOR", number().to_owned()),
            ("VERSION_PATCH", number().to_owned()),
            ("VERSION_PRE", pre.to_owned()),
            ("NAME", self.name.clone()),
            ("AUTHORS", self.authors.join(":")),
            ("DESCRIPTION", or_empty(&self.description)),
            ("HOMEPAGE", or_empty(&self.homepage)),
            ("REPOSITORY", or_empty(&self.repository)),
            ("LICENSE", or_empty(&self.license)),
            ("LICENSE_FILE", or_empty(&self.license_file)),
            ("README", or_empty(&self.readme)),
            ("RUST_VERSION", or_empty(&self.rust_version)),
        ]
        .map(|(name, value)| (format!("CARGO_PKG_{name}"), value))
        .into()
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_tells_of_its_tests_programs_and_scripts() {
        let lines = r#"noise
{"reason":"compiler-artifact","package_id":"p","target":{"kind":["lib"],"name":"a"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","package_id":"p","target":{"kind":["bin"],"name":"a"},"profile":{"test":false},"executable":"/t/a"}
{"reason":"compiler-artifact","package_id":"p","target":{"kind":["test"],"name":"b"},"profile":{"test":true},"executable":"/t/b-1"}
{"reason":"build-script-executed","package_id":"p","linked_paths":["native=/n"],"env":[["K","v"]],"out_dir":"/o"}
{"reason":"timing-info","x":1}
{"reason":"build-finished","success":true}
"#;
        let built = built(lines.as_bytes()).unwrap();
        assert_eq!((built.tests.len(), built.programs.len()), (1, 1));
        assert_eq!(built.scripts["p"].env, [("K".to_owned(), "v".to_owned())]);
        assert!(super::built(b"{\"reason\":\n").is_err());
    }

    #[test]
    fn a_version_is_given_in_its_parts() {
        let text = r#"{"packages":[{"id":"p","name":"a","targets":[],"manifest_path":"/a/Cargo.toml","version":"1.20.3-rc.1+x-y"}]}"#;
        let variables = metadata(text.as_bytes()).unwrap().packages[0].variables();
        let of = |name: &str| variables.iter().find(|(other, _)| other == name).unwrap().1.as_str();
        assert_eq!(of("CARGO_PKG_VERSION"), "1.20.3-rc.1+x-y");
        let parts = ["MAJOR", "MINOR", "PATCH", "PRE"].map(|part| of(&format!("CARGO_PKG_VERSION_{part}")));
        assert_eq!(parts, ["1", "20", "3", "rc.1"]);
    }
}
