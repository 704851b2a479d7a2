//! `sandtest top`, in a real terminal.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{Broker, sandtest};
use crate::suite::Suite;
use crate::terminal::Terminal;

/// `top` of this broker in a terminal of this size. `None` without tmux.
fn top(broker: &Broker, width: u16, height: u16, environment: &str) -> Option<Terminal> {
    let terminal = Terminal::open(&broker.path(""), width, height)?;
    terminal.type_line(&format!(
        "{environment} sandtest top --interval 250ms --socket {}; echo code=$?",
        broker.socket.display()
    ));
    Some(terminal)
}

fn suite(broker: &Broker) -> Suite {
    let suite = Suite::start(
        broker,
        "nightly",
        4,
        &[("tests::large", 600), ("tests::second", 600), ("tests::small", 100)],
    );
    suite.wait_for("grant", 2);
    suite
}

#[test]
fn jobs_come_and_go_are_frozen_and_killed() {
    let broker = Broker::with_budget(1000, &[]);
    let Some(terminal) = top(&broker, 80, 24, "") else { return };
    terminal.wait_for("0 running, 0 waiting, of 0 runs");
    let suite = suite(&broker);
    terminal.wait_for("700 MiB of 1000 MiB");
    let screen = terminal.wait_until("who waits for what", |screen| {
        screen.contains("for memory (600 MiB), next") && screen.contains("600 MiB  1.2 GiB")
    });
    assert_eq!(screen.lines().filter(|line| line.contains("tests::")).count(), 3, "{screen}");
    terminal.press("Down");
    terminal.press("f");
    terminal.wait_for("pinned    600 MiB");
    suite.wait_for("freeze", 1);
    terminal.press("f");
    suite.wait_for("thaw", 1);
    terminal.wait_for("tests::large goes on");
    terminal.press("k");
    terminal.wait_for("kill tests::large? y: yes");
    terminal.press("n");
    terminal.wait_for("q quit");
    assert!(suite.heard("kill").is_empty());
    terminal.press("k");
    terminal.press("y");
    suite.wait_for("kill", 1);
    terminal.wait_until("the next one runs", |screen| {
        screen.contains("running   600 MiB") && !screen.contains("waiting ") && !screen.contains("large  ")
    });
    drop(suite);
    terminal.wait_for("of 0 runs");
    terminal.press("q");
    terminal.wait_for("code=0");
}

#[test]
fn it_fits_whatever_the_size_and_follows_it() {
    let broker = Broker::with_budget(1000, &[]);
    let _suite = suite(&broker);
    let Some(terminal) = top(&broker, 40, 12, "") else { return };
    let low = terminal.wait_until("a page of 40 columns", |screen| {
        screen.contains("waiting  memory    tests::second") && screen.contains("q quit  ? help  (by run)")
    });
    assert!(!low.contains("pressure") && low.lines().count() <= 12, "{low}");
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]).unwrap();
    terminal.wait_for("f freeze  k kill");
    terminal.wait_for("WAITS FOR");
    terminal.press("?");
    terminal.wait_for("stands still for want of memory");
    terminal.press("Space");
    terminal.wait_for("nightly");
    terminal.press("C-c");
    terminal.wait_for("code=0");
}

#[test]
fn the_terminal_is_as_it_was_whatever_ends_it() {
    let broker = Broker::start(&[]);
    let Some(terminal) = top(&broker, 80, 24, "") else { return };
    terminal.wait_for("of 0 runs");
    terminal.press("C-z");
    terminal.wait_for("Stopped");
    terminal.type_line("echo typed=$((1+1))");
    terminal.wait_for("typed=2");
    terminal.type_line("fg");
    terminal.wait_for("of 0 runs");
    terminal.press("q");
    terminal.wait_until("the shell is back", |screen| {
        screen.contains("typed=2") && !screen.contains("of 0 runs")
    });
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let broker = Broker::start(&[]);
    let Some(terminal) = Terminal::open(&broker.path(""), 80, 24) else { return };
    let (socket, pid) = (broker.socket.display(), broker.path("pid"));
    terminal
        .type_line(&format!("bash -c 'echo $$ > pid; exec sandtest top --socket {socket}'; echo code=$?"));
    terminal.wait_for("of 0 runs");
    let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    terminal.wait_for("code=143");
    terminal.type_line("echo typed=$((1+1))");
    terminal.wait_for("typed=2");
}

#[test]
fn without_colours_nothing_is_painted() {
    let broker = Broker::start(&[]);
    let _suite = Suite::start(&broker, "nightly", 4, &[("one", 10)]);
    for (environment, painted) in [("", true), ("NO_COLOR=1", false)] {
        let Some(terminal) = top(&broker, 80, 24, environment) else { return };
        terminal.wait_for("running    10 MiB");
        let screen = terminal.tmux(&["capture-pane", "-pe"]).unwrap();
        let green = screen.lines().find(|line| line.contains("GREEN")).unwrap().contains("\u{1b}[32m");
        assert_eq!(green, painted, "{environment}: {screen}");
        terminal.press("Down");
        terminal.wait_until("the choice is seen", |_| {
            let screen = terminal.tmux(&["capture-pane", "-pe"]).unwrap();
            screen.lines().any(|line| line.contains("7m") && line.contains("one"))
        });
    }
}

#[test]
fn a_broker_that_ends_and_comes_back_is_found_again() {
    let broker = Broker::start(&[]);
    let Some(terminal) = top(&broker, 80, 24, "") else { return };
    terminal.wait_for("of 0 runs");
    broker.signal(Signal::SIGTERM);
    terminal.wait_for("trying again");
    let broker = broker.again(&[]);
    terminal.wait_until("it is back", |screen| !screen.contains("trying again"));
    let _suite = Suite::start(&broker, "nightly", 4, &[("one", 10)]);
    terminal.wait_for("nightly");
}

#[test]
fn without_a_terminal_it_names_what_does_without() {
    let broker = Broker::start(&[]);
    let output =
        sandtest().arg("top").arg("--socket").arg(&broker.socket).stdout(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("needs a terminal") && told.contains("sandtest status"), "{told}");
}

/// A run of these commands that asks the broker, and its events once it has ended.
fn exec(
    broker: &Broker,
    list: &str,
    options: &[&str],
) -> (std::process::Child, impl Fn() -> Vec<serde_json::Value>) {
    std::fs::write(broker.path("list"), list).unwrap();
    let events = broker.path("events");
    let mut command = sandtest();
    command.current_dir(broker.path("")).env("XDG_STATE_HOME", broker.path("state"));
    command
        .env("SANDTEST_BROKER", &broker.socket)
        .args(["exec", "--broker", "require", "--json"])
        .arg(&events);
    let child = command.args(options).args(["--jobs-from", "list"]).stderr(Stdio::null()).spawn().unwrap();
    let read = move || {
        let text = std::fs::read_to_string(&events).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    (child, read)
}

#[test]
fn a_real_run_is_shown_with_its_names_and_its_job_stands_still_without_being_charged() {
    let broker = Broker::start(&[]);
    // Longer than it takes, and shorter than it will stand still.
    let job = "python3 -c 'import time; [time.sleep(0.01) for _ in range(150)]'\n";
    let (mut child, events) = exec(&broker, job, &["--timeout", "4s"]);
    let Some(terminal) = top(&broker, 80, 24, "") else {
        child.wait().unwrap();
        return;
    };
    terminal.wait_until("its name and its run's", |screen| {
        screen.contains("python3 -c") && screen.contains("running") && screen.contains("list")
    });
    terminal.press("Down");
    terminal.press("f");
    terminal.wait_for("pinned");
    // Longer than its time-out.
    std::thread::sleep(std::time::Duration::from_millis(4500));
    assert!(child.try_wait().unwrap().is_none(), "it stands still");
    terminal.press("f");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let events = events();
    let ended = events.iter().find(|event| event["event"] == "attempt-finished").unwrap();
    assert!(ended["frozen_ms"].as_f64().unwrap() > 4000.0, "{ended}");
    assert_eq!(ended["verdict"], "pass");
}

#[test]
fn what_is_killed_by_hand_in_a_real_run_has_failed_and_the_others_go_on() {
    let broker = Broker::start(&[]);
    let (mut child, events) =
        exec(&broker, "sleep 600\nsleep 0.3\n", &["-j", "1", "--retries", "3", "--no-fail-fast"]);
    let Some(terminal) = top(&broker, 80, 24, "") else {
        child.kill().unwrap();
        return;
    };
    terminal
        .wait_until("the first runs", |screen| screen.contains("running") && screen.contains("sleep 600"));
    terminal.press("Down");
    terminal.press("k");
    terminal.wait_for("kill sleep 600? y: yes");
    terminal.press("y");
    assert_eq!(child.wait().unwrap().code(), Some(100));
    let ended: Vec<serde_json::Value> =
        events().into_iter().filter(|event| event["event"] == "attempt-finished").collect();
    assert_eq!(ended.len(), 2, "it is not tried again");
    assert_eq!(
        (&ended[0]["cause"], &ended[0]["verdict"]),
        (&"by-hand".into(), &"fail".into()),
        "{}",
        ended[0]
    );
    assert_eq!(ended[1]["verdict"], "pass");
}
