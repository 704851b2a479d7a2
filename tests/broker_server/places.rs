//! Groups that a run has shown: what they hold is seen, and what its client does not do in time is done there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandtest::kernel::files;
use sandtest::kernel::hierarchy::OwnGroups;
use serde_json::{Value, json};

use crate::scene::{Broker, Client, connect_as, grow, is_root, skip, wait_until};

/// Groups of a run with one job, made by hand below our own.
struct Groups {
    v2: PathBuf,
    memory: Option<PathBuf>,
    /// From the root of the v2 tree.
    path: String,
    inside: Vec<Child>,
}

impl Groups {
    /// `None` where they can't be made: that takes root, or a delegated group.
    fn make(name: &str) -> Option<Groups> {
        let own = OwnGroups::read();
        let name = format!("sandtest-run-test-{}-{name}", std::process::id());
        let v2 = own.v2?.join(&name);
        let of = fs::read_to_string("/proc/self/cgroup").unwrap();
        let of =
            of.lines().find_map(|line| line.strip_prefix("0::")).unwrap().trim_end_matches('/').to_owned();
        let memory = own.v1_memory.map(|own| own.join(&name));
        let made = [Some(&v2), memory.as_ref()]
            .into_iter()
            .flatten()
            .all(|group| fs::create_dir(group).is_ok() && fs::create_dir(group.join("0-1")).is_ok());
        let groups = Groups { path: format!("{of}/{name}"), v2, memory, inside: Vec::new() };
        if !made {
            skip(&format!("no groups can be made below {}", groups.v2.display()));
        }
        made.then_some(groups)
    }

    /// Starts a command in the job's groups.
    fn start(&mut self, command: &str) {
        let enter =
            |group: &Path, file: &str| format!("echo 0 > {}; ", group.join("0-1").join(file).display());
        let v1 = self.memory.as_ref().map(|memory| enter(memory, "tasks")).unwrap_or_default();
        let script = format!("{v1}{}{command}", enter(&self.v2, "cgroup.procs"));
        let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
        self.inside.push(child);
        wait_until("it is in its group", || self.says("populated 1"));
    }

    /// What `cgroup.events` of the job says.
    fn says(&self, line: &str) -> bool {
        fs::read_to_string(self.v2.join("0-1/cgroup.events")).unwrap().contains(line)
    }

    fn greet(&self, broker: &Broker) -> Client {
        let mut run = broker.connect();
        run.greet(json!({ "run": "placed", "parallel": 2, "cgroup": self.path }));
        run
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let _ = fs::write(self.v2.join("cgroup.freeze"), "0");
        let _ = fs::write(self.v2.join("cgroup.kill"), "1");
        self.inside.iter_mut().for_each(|child| drop(child.wait()));
        for group in [Some(&self.v2), self.memory.as_ref()].into_iter().flatten() {
            wait_until("its groups are gone", || files::remove_group(group).is_ok());
        }
    }
}

/// A run with one job that is asked to stand still, beside a more senior one.
fn asked_to_freeze(groups: &Groups, broker: &Broker) -> (Client, Client) {
    let mut senior = broker.run(1);
    senior.want(0);
    senior.hear_a("grant");
    let mut run = groups.greet(broker);
    run.want(0);
    run.hear_a("grant");
    run.say(json!({ "type": "born", "job": 0, "attempt": 1 }));
    // It may stand still for as long as it has worked.
    grow(&mut run, &mut senior, Duration::from_secs(5));
    let freeze = run.hear_next();
    assert_eq!((&freeze["type"], &freeze["within_ms"]), (&json!("freeze"), &json!(2000)), "{freeze}");
    (senior, run)
}

#[test]
fn who_does_not_freeze_is_frozen_and_then_killed() {
    let Some(mut groups) = Groups::make("late").filter(|groups| groups.memory.is_some()) else { return };
    // Without one that counts memory, what the client says is believed.
    files::remove_group(&groups.memory.take().unwrap()).unwrap();
    groups.start("exec sleep 1000");
    let broker = Broker::with_budget(256, &["--jobs", "8"]);
    let (_senior, _run) = asked_to_freeze(&groups, &broker);
    let begun = Instant::now();
    assert!(groups.says("frozen 0"));
    wait_until("it is frozen", || groups.says("frozen 1"));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1800) && took < Duration::from_secs(4), "{took:?}");
    wait_until("it is killed", || groups.says("populated 0"));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(3800), "{took:?}");
    let log = broker.log();
    assert!(log.contains("placed") && log.contains("did not freeze job 0-1: the broker did"), "{log}");
}

#[test]
fn who_freezes_has_nothing_done_to_it() {
    let Some(mut groups) = Groups::make("prompt").filter(|groups| groups.memory.is_some()) else { return };
    files::remove_group(&groups.memory.take().unwrap()).unwrap();
    groups.start("exec sleep 1000");
    let broker = Broker::with_budget(256, &["--jobs", "8"]);
    let (mut senior, mut run) = asked_to_freeze(&groups, &broker);
    run.say(json!({ "type": "frozen", "job": 0, "attempt": 1 }));
    assert!(run.hears_nothing_for(Duration::from_secs(3)), "{}", run.hear());
    senior.end(0);
    assert_eq!(run.hear_next()["type"], "thaw");
    assert!(groups.says("frozen 0") && groups.says("populated 1"));
    assert!(!broker.log().contains("did not"), "{}", broker.log());
}

#[test]
fn who_is_lost_for_good_is_killed() {
    let Some(mut groups) = Groups::make("lost") else { return };
    groups.start("exec sleep 1000");
    let broker = Broker::start(&[]);
    let mut run = groups.greet(&broker);
    run.want(0);
    run.hear_a("grant");
    drop(run);
    std::thread::sleep(Duration::from_secs(3));
    assert!(groups.says("populated 1"), "it may come back");
    wait_until("it is killed", || groups.says("populated 0"));
}

fn memory_of(status: &Value) -> u64 {
    status["own"].as_array().unwrap().iter().map(|run| run["memory"].as_u64().unwrap()).sum()
}

#[test]
fn what_the_groups_hold_is_seen_and_what_is_left_of_them_is_off_the_budget() {
    let Some(mut groups) = Groups::make("seen") else { return };
    groups.start("(head -c 104857600 /dev/zero; exec sleep 1000) | tail");
    let broker = Broker::with_budget(1024, &["--jobs", "8"]);
    let mut run = groups.greet(&broker);
    run.want(0);
    run.hear_a("grant");
    run.say(json!({ "type": "born", "job": 0, "attempt": 1 }));
    // No claim of the client's makes it less.
    run.sample(1);
    wait_until("its memory is seen", || memory_of(&broker.standing()) >= 100 << 20);
    let before = broker.standing()["budget"].as_u64().unwrap();
    assert_eq!(before, 1 << 30);
    // It goes, and what it ran does not.
    run.say(json!({ "type": "bye" }));
    assert!(run.is_closed());
    let mut other = broker.run(1);
    other.want(0);
    other.hear_a("grant");
    wait_until("that is off the budget", || {
        broker.standing()["budget"].as_u64().unwrap() <= before - (100 << 20)
    });
    fs::write(groups.v2.join("cgroup.kill"), "1").unwrap();
    wait_until("until it is gone", || broker.standing()["budget"] == before);
}

/// Why a group is not taken for this client's.
fn denied(mut client: Client, path: &str) -> String {
    client.say(json!({ "type": "hello", "version": 1, "run": "r", "parallel": 1, "cgroup": path }));
    let refused = client.hear();
    assert_eq!((&refused["type"], &refused["why"]), (&json!("refused"), &json!("denied")), "{refused}");
    refused["message"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_not_the_clients_own_is_not_taken() {
    let Some(groups) = Groups::make("claimed") else { return };
    let broker = Broker::of_all(&[]);
    for path in ["/", "sandtest-run-1", "/sandtest-run-1/../init.scope", "/../sandtest-run-1", "/init.scope"]
    {
        assert!(denied(broker.connect(), path).contains("not the path of a run's group"), "{path}");
    }
    let gone = format!("{}-gone", groups.path);
    assert!(denied(broker.connect(), &gone).contains("No such file"));
    // Nobody of ours is in the group around it.
    let apart = groups.v2.join("0-1/sandtest-run-apart");
    fs::create_dir(&apart).unwrap();
    let message = denied(broker.connect(), &format!("{}/0-1/sandtest-run-apart", groups.path));
    assert!(message.contains("is not at or below"), "{message}");
    if is_root() {
        let other = Client::over(connect_as(1001, &broker.socket));
        let message = denied(other, &groups.path);
        assert!(message.contains("is user 0's, and not user 1001's"), "{message}");
    }
}
