//! Can pressure stall information be read? A missing file and a file that refuses are different lacks.

use std::io::ErrorKind;
use std::path::Path;
use std::{fs, io};

use serde::Serialize;

/// How one sensor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "error")]
pub enum Sensor {
    /// It has figures.
    Fine,
    /// No such file: the kernel is built without PSI, older than 4.20, or was started with `psi=0`.
    Absent,
    /// The file is there and reading it is not supported: built in, and off until `psi=1` is given (older kernels).
    Off,
    /// Anything else.
    Broken(String),
}

/// One file under `/proc/pressure`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pressure {
    /// Its path.
    pub file: String,
    /// How it answers.
    #[serde(flatten)]
    pub sensor: Sensor,
}

/// The three of them below `folder`.
pub fn read(folder: &Path) -> Vec<Pressure> {
    let files = ["memory", "cpu", "io"].map(|name| folder.join(name));
    files
        .into_iter()
        .map(|path| Pressure {
            sensor: judge(fs::read_to_string(&path)),
            file: path.to_string_lossy().into_owned(),
        })
        .collect()
}

fn judge(answer: io::Result<String>) -> Sensor {
    match answer {
        Ok(text) if text.starts_with("some ") => Sensor::Fine,
        Ok(text) => {
            Sensor::Broken(format!("unexpected content {:?}", text.lines().next().unwrap_or_default()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Sensor::Absent,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Sensor::Off,
        Err(error) => Sensor::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_without_and_switched_off_are_told_apart() {
        assert_eq!(judge(Ok("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n".into())), Sensor::Fine);
        assert_eq!(judge(Err(io::Error::from_raw_os_error(libc::ENOENT))), Sensor::Absent);
        // CONFIG_PSI_DEFAULT_DISABLED=y: open succeeds, read fails.
        assert_eq!(judge(Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))), Sensor::Off);
        assert!(matches!(judge(Err(io::Error::from_raw_os_error(libc::EACCES))), Sensor::Broken(_)));
        assert!(matches!(judge(Ok(String::new())), Sensor::Broken(_)));
    }

    #[test]
    fn each_file_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("memory"), "some avg10=0.00\n").unwrap();
        let sensors: Vec<_> = read(folder.path()).into_iter().map(|p| p.sensor).collect();
        assert_eq!(sensors, [Sensor::Fine, Sensor::Absent, Sensor::Absent]);
    }
}
