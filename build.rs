//! Compiles the wrapper that stands in front of tests (`src/kernel/wrapper`), which sandtest holds as bytes.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/kernel/wrapper";

/// Without a C library and its start, at a fixed address: nothing is loaded or relocated before its first instruction.
const SETTINGS: [&str; 12] = [
    "panic=abort",
    "opt-level=s",
    "codegen-units=1",
    "strip=symbols",
    "force-unwind-tables=no",
    "relocation-model=static",
    "link-arg=-nostartfiles",
    "link-arg=-nostdlib",
    "link-arg=-static",
    "link-arg=-Wl,--build-id=none",
    "link-arg=-Wl,-z,noseparate-code",
    "link-arg=-Wl,-z,norelro",
];

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let of_cargo = |name: &str| env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let mut rustc = Command::new(of_cargo("RUSTC"));
    rustc.args(["--crate-name=run_wrapper", "--crate-type=bin", "--edition=2024", "--target"]);
    rustc.arg(of_cargo("TARGET"));
    for setting in SETTINGS {
        rustc.args(["-C", setting]);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut setting = std::ffi::OsString::from("linker=");
        setting.push(linker);
        rustc.arg("-C").arg(setting);
    }
    rustc.arg("-o").arg(PathBuf::from(of_cargo("OUT_DIR")).join("run-wrapper"));
    let done = rustc.arg(format!("{SOURCE}/main.rs")).status();
    assert!(done.as_ref().is_ok_and(|status| status.success()), "{rustc:?}: {done:?}");
}
