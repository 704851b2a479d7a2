//! What comes from outside may hold anything: real texts, cut and stirred at random, make no parser panic, and what
//! is told of them stays within reason. Profiles have the same in `profiles.rs`.

use proptest::prelude::*;

use sandtest::host::memory::{pids_limit, visible_cpus, visible_memory};
use sandtest::host::{HostView, detect};
use sandtest::kernel::files::keyed;
use sandtest::kernel::hierarchy;
use sandtest::kernel::process::Stat;
use sandtest::source;

/// Captured hosts, with all their mounts, groups and limits.
const HOSTS: [&str; 4] = [
    include_str!("fixtures/hosts/docker-v1.host"),
    include_str!("fixtures/hosts/kubernetes.host"),
    include_str!("fixtures/hosts/wsl2-5.15-hybrid.host"),
    include_str!("fixtures/hosts/distrobox-podman.host"),
];

const MOUNTS: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
    35 31 0:32 /docker/a /my\\040groups rw,relatime shared:4 - cgroup cgroup rw,memory\n\
    40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
    41 31 0:38 / /sys/fs/cgroup/unified ro,relatime - cgroup2 cgroup2 rw\n";

const GROUPS: &str = "4:memory:/docker/a/b\n3:name=systemd:/init.scope\n2:cpu,cpuacct:/\n0::/../x\n";

const EVENTS: &str = "low 0\nhigh 3\nmax 18446744073709551615\noom 1\noom_kill 2\n";

const STAT: &str = "4711 (a) b (c)) S 1 4711 4711 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 1 0 12345 8192 100 18446744073709551615";

const JOBS: &str = "# a comment\ncargo test --lib\nsh -c 'echo \"a b\"' x\\ y\n\n  true\n";

/// One change to a text: something is put in the place of something else.
type Edit = (prop::sample::Index, usize, &'static str);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let pieces = [
        "",
        "\n",
        " ",
        ":",
        "/",
        "..",
        "-1",
        "99999999999999999999",
        "\\",
        "'",
        "\0",
        "max",
        "(",
        ")",
        ",",
        "é",
    ];
    prop::collection::vec(
        (any::<prop::sample::Index>(), 0usize..12, prop::sample::select(pieces.to_vec())),
        0..12,
    )
}

fn stir(text: &str, edits: &[Edit]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for (place, length, piece) in edits {
        let begin = place.index(text.len() + 1);
        let end = (begin + length).min(text.len());
        text.splice(begin..end, piece.chars());
    }
    text.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn hosts(host in prop::sample::select(HOSTS.to_vec()), edits in edits()) {
        if let Ok(view) = HostView::from_text(&stir(host, &edits)) {
            detect(&view);
            prop_assert!(visible_cpus(&view).value >= 1);
            let (_, _) = (visible_memory(&view), pids_limit(&view));
        }
    }

    #[test]
    fn hierarchies(mounts in edits(), groups in edits()) {
        for found in hierarchy::parse(&stir(MOUNTS, &mounts), &stir(GROUPS, &groups)) {
            let above: Vec<_> = found.ancestors().collect();
            prop_assert!(above.iter().all(|folder| folder.starts_with(&found.mount)), "{found:?}: {above:?}");
        }
    }

    #[test]
    fn kernel_files(edits in edits()) {
        let _ = keyed(&stir(EVENTS, &edits), "oom_kill");
        let _ = Stat::parse(&stir(STAT, &edits));
    }

    #[test]
    fn lists_of_jobs(edits in edits()) {
        match source::list::parse("jobs", stir(JOBS, &edits).as_bytes()) {
            Ok(drafts) => prop_assert!(source::names::names(&drafts).len() == drafts.len()),
            Err(error) => prop_assert!(error.to_string().contains("jobs")),
        }
    }
}
