//! The arrows of the house, read from its `use` lines: a layer may name only what stands below it.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom. A layer may always use itself.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("model", &[][..]),
        ("policy", &["model"][..]),
        ("simulate", &["policy", "model"]),
        ("kernel", &["model"]),
        ("systemd", &["model"]),
        ("host", &["kernel", "systemd", "model"]),
        ("profile", &["model"]),
        ("source", &["model"]),
        ("run", &["broker", "policy", "kernel", "model"]),
        ("broker", &["policy", "kernel", "model"]),
        ("report", &["model"]),
        (
            "cli",
            &[
                "run", "broker", "simulate", "report", "source", "profile", "host", "kernel", "systemd",
                "model",
            ],
        ),
        ("main.rs", &["cli"]),
        ("lib.rs", &[]),
    ])
}

/// What a pure layer may not name, wherever it stands in a line of code.
const IMPURE: [&str; 11] = [
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "tokio",
    "nix::",
    "libc::",
    "rustix",
];

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let layer =
                    path.strip_prefix(&root).unwrap().iter().next().unwrap().to_str().unwrap().to_owned();
                let text = fs::read_to_string(&path).unwrap();
                found.push((layer, path, text));
            }
        }
    }
    found
}

/// Lines of code: without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(n, l)| (n + 1, l.split("//").next().unwrap()))
        .filter(|(_, l)| !l.trim().is_empty())
}

#[test]
fn arrows_point_one_way() {
    let allowed = allowed();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (layer, path, text) in sources() {
        let may =
            allowed.get(layer.as_str()).unwrap_or_else(|| panic!("{layer} is not a layer of the house"));
        for (number, line) in code(&text) {
            for part in line.split("crate::").skip(1).chain(line.split("sandtest::").skip(1)) {
                let target = part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                seen += 1;
                if target != layer && !may.contains(&target) {
                    wrong.push(format!("{}:{number}: {layer} uses {target}", path.display()));
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} uses found: does this test still read them?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn policy_and_model_touch_nothing() {
    let mut wrong = Vec::new();
    for (layer, path, text) in sources() {
        if !["policy", "model", "simulate"].contains(&layer.as_str()) {
            continue;
        }
        for (number, line) in code(&text) {
            for name in IMPURE.iter().filter(|name| line.contains(*name)) {
                wrong.push(format!("{}:{number}: {layer} names {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_only_in_kernel_and_says_why() {
    let mut wrong = Vec::new();
    for (layer, path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in code(&text) {
            if !line.contains("unsafe ") || line.contains("unsafe_") {
                continue;
            }
            // A contract of its own (`unsafe fn`, `# Safety`) or a SAFETY comment in the lines just above.
            let above = lines[number.saturating_sub(12)..number].join("\n");
            if layer != "kernel" || !(above.contains("SAFETY:") || above.contains("# Safety")) {
                wrong.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe outside kernel/, or without its reason:\n{}", wrong.join("\n"));
}
