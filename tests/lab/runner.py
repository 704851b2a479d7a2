#!/usr/bin/env python3
"""Runner mode: what a command starts through the wrapper is a job of its own, whoever the user and whatever the kernel.

usage: runner.py SANDTEST [PART-OF-A-NAME]

Runs on every tier, as any user; needs python3 and util-linux. The driver is a shell that calls what it was told to call, as
make and cargo do. What a tier can't show is skipped, and skips are counted and named at the end.
"""
import contextlib, json, os, signal, subprocess, sys, tempfile

import common
from common import SLOW, STARTED, TESTS, Result, Skip, equal, eventually, groups, kill, play, test

SANDTEST = None
MARK = f"6{os.getpid() % 100000:05d}"                   # an argument of sleep that nobody else uses
ALONE = {"SANDTEST_BROKER": ""}                         # no broker of the machine's decides
CARGOS = f"$CARGO_TARGET_{os.uname().machine.upper()}_UNKNOWN_LINUX_GNU_RUNNER"
HOG = "python3 -c 'b = [bytearray(4 << 20) for _ in range(60)]; import time; time.sleep(600)'"


def start(*args, driver, events, env=ALONE, **kind):
    """`sandtest exec --json EVENTS args... -- sh -c DRIVER`, not waited for."""
    p = subprocess.Popen([SANDTEST, "exec", "--json", events, *args, "--", "sh", "-c", driver], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env}, **kind)
    STARTED.add(p.pid)
    return p


def end(p, events, timeout=60):
    """Waits for it: code, out, err, events, the ends of those that were brought along."""
    r = Result()
    out, err = p.communicate(timeout=timeout * max(1, SLOW / 20))
    r.code, r.out, r.err = p.returncode, out.decode(errors="replace"), err.decode(errors="replace")
    r.events = [json.loads(line) for line in open(events)] if os.path.exists(events) else []
    r.brought = [e for e in r.events if e["event"] == "attempt-finished" and e.get("driver")]
    return r


def run(*args, driver, env=ALONE, **kind):
    with tempfile.TemporaryDirectory() as d:
        return end(start(*args, driver=driver, events=f"{d}/events", env=env, **kind), f"{d}/events")


def alive(): return common.alive(MARK)


def nothing_is_left():
    eventually(f"alive: {alive()}", lambda: not alive())
    eventually("groups are left", lambda: not groups(), 3)


def with_cgroups():
    if not WIRED: raise Skip("no cgroups, so no runner mode")


@test
def r01_each_test_has_its_limits_its_peak_and_its_own_end():
    with_cgroups()
    r = run("--memory", "96M", driver=f"$LOG_COMPILER sh -c 'exit 3' fails; echo $?; {CARGOS} {HOG}; echo $?; $LOG_COMPILER true; echo $?; exit 7")
    equal("codes", (r.out.split(), r.code), (["3", "137", "0"], 7))
    fails, hog, true = r.brought
    # A kernel before 6.15 tells it only root; others unless the driver was quicker.
    assert (fails["verdict"], fails["exit_code"]) in [("fail", 3), ("unseen", None)], fails
    assert (true["verdict"], true["exit_code"]) in [("pass", 0), ("unseen", None)], true
    equal("the hog", (hog["outcome"], hog["verdict"]), ("oom", "fail"))
    equal("its limit", hog["limits"]["memory_max"], 96 << 20)
    assert hog["memory_peak"] >= 80 << 20, hog["memory_peak"]
    # Where it is measured and not counted, what is over at once has none.
    if true["memory_peak"] is None: assert "memory_max" in r.events[0]["sampled"], true
    else: assert true["memory_peak"] < 20 << 20, true["memory_peak"]
    assert "oom" in r.err and "fails" not in r.err, r.err
    nothing_is_left()


@test
def r02_what_has_failed_is_never_a_pass():
    with_cgroups()
    count = 20 if SLOW > 1 else 100
    r = run(driver=f"for i in $(seq {count}); do $LOG_COMPILER false $i; $LOG_COMPILER true $i; done")
    equal("the driver's code", r.code, 0)
    kinds = {(e["job"].split()[0], e["verdict"]) for e in r.brought}
    assert kinds <= {("false", "fail"), ("false", "unseen"), ("true", "pass"), ("true", "unseen")}, kinds
    # In a guest the namespaces are the first, and there root is told by the kernel even before 6.15.
    if SLOW > 1 and os.geteuid() == 0: equal("all ends were seen", kinds, {("false", "fail"), ("true", "pass")})
    last = r.events[-1]
    equal("all are counted", (len(r.brought), last["passed"] + last["failed"] + last["unseen"]), (2 * count, 2 * count + 1))


@test
def r03_what_a_test_leaves_behind_ends_with_it():
    with_cgroups()
    left = f"import os\nif os.fork() == 0:\n  os.setsid(); os.execvp('sleep', ['sleep', '{MARK}'])"
    with tempfile.TemporaryDirectory() as d:
        open(f"{d}/leaves.py", "w").write(left)
        r = run(driver=f"$LOG_COMPILER python3 {d}/leaves.py; $LOG_COMPILER true")
    # The second may be over before what the first has left is dealt with.
    equal("left behind", {e["job"].split()[0]: e["leaked"] for e in r.brought}, {"python3": 1, "true": 0})
    nothing_is_left()


@test
def r04_one_place_is_one_at_a_time_and_the_command_does_not_wait_for_itself():
    with_cgroups()
    with tempfile.TemporaryDirectory() as d:
        work = f"sh -c 'echo + >> {d}/log; sleep 0.1; echo - >> {d}/log'"
        r = run("-j", "1", driver=f"for i in 1 2 3 4; do $LOG_COMPILER {work} $i & done; wait")
        equal("one at a time", open(f"{d}/log").read(), "+\n-\n" * 4)
    equal("all", (r.code, len(r.brought)), (0, 4))


@test
def r05_an_interrupt_ends_all_of_it():
    with_cgroups()
    with tempfile.TemporaryDirectory() as d:
        p = start(driver=f"$LOG_COMPILER sh -c 'echo > {d}/here; exec sleep {MARK}'", events=f"{d}/events")
        eventually("it never began", lambda: os.path.exists(f"{d}/here"), 20)
        p.send_signal(signal.SIGINT)
        r = end(p, f"{d}/events")
    equal("code", r.code, 130)
    assert r.brought and r.brought[0]["verdict"] != "pass", r.brought
    nothing_is_left()


@test
def r06_after_sigkill_of_sandtest_nothing_is_alive_and_what_was_finished_is_on_record():
    with_cgroups()
    with tempfile.TemporaryDirectory() as d:
        state = {**ALONE, "XDG_STATE_HOME": f"{d}/state"}
        # The run takes in the second when it has been told of the first's end.
        p = start("-j", "1", driver=f"$LOG_COMPILER true first; $LOG_COMPILER sh -c 'echo > {d}/here; exec sleep {MARK}' & wait",
                  events=f"{d}/events", env=state)
        eventually("it never began", lambda: os.path.exists(f"{d}/here"), 20)
        eventually("it is not on record", lambda: open(f"{d}/events").read().count("attempt-started") == 3, 20)
        p.kill(); p.communicate()
        eventually("something is alive a second after", lambda: not alive())
        subprocess.run([SANDTEST, "show", "--json", f"{d}/shown"], env={**os.environ, **state}, check=True)
        shown = [json.loads(line) for line in open(f"{d}/shown")]
        ends = {e["job"]: e["verdict"] for e in shown if e["event"] == "attempt-finished"}
        # A kernel before 6.15 tells it only root; others unless the driver was quicker.
        first = ends.pop("true first")
        assert first == "pass" or (first == "unseen" and os.geteuid() != 0), shown
        equal("what ran on", list(ends.values()), ["unseen"] * 2)
        equal("its end", shown[-1]["interrupted"], True)
        run(driver="true", env=state)
    nothing_is_left()


@contextlib.contextmanager
def serving(*args):
    """A broker of our own; its variable."""
    with tempfile.TemporaryDirectory() as d:
        at = f"{d}/broker.sock"
        p = subprocess.Popen([SANDTEST, "serve", "--socket", at, *args], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            eventually("no broker", lambda: os.path.exists(at), 20)
            yield {"SANDTEST_BROKER": at}
        finally:
            p.terminate(); p.communicate()


@test
def r07_two_commands_beside_each_other_ask_one_broker():
    with_cgroups()
    with serving() as env, tempfile.TemporaryDirectory() as d:
        def one(i):
            work = f"sh -c 'echo + >> {d}/log{i}; sleep 0.1; echo - >> {d}/log{i}'"
            driver = f"for i in 1 2 3 4; do $LOG_COMPILER {work} $i & done; wait; $LOG_COMPILER {HOG}; exit 5"
            return start("-j", "1", "--broker", "require", "--memory", "96M", driver=driver, events=f"{d}/{i}", env=env)
        for i, p in enumerate([one(0), one(1)]):
            r = end(p, f"{d}/{i}", 120)
            equal(f"code and count, {[e['job'] for e in r.brought]}, {r.err}", (r.code, len(r.brought)), (5, 5))
            equal("the hog", r.brought[-1]["outcome"], "oom")
            assert r.events[0]["broker"], r.events[0]
            equal("one at a time", open(f"{d}/log{i}").read(), "+\n-\n" * 4)
    nothing_is_left()


@test
def r08_what_begins_in_the_commands_first_instant_is_known_to_be_its_own():
    with_cgroups()
    # It asked before the run had heard that its own command was born, and was refused: one run of sixty.
    for _ in range(3 if SLOW > 1 else 40):
        r = run(driver="for i in 1 2 3 4; do $LOG_COMPILER true & done; wait")
        equal("brought along", (len(r.brought), "has no cgroup" in r.err), (4, False))


@test
def r09_where_there_are_no_cgroups_a_known_driver_is_told_so():
    if WIRED: raise Skip("there are cgroups")
    with tempfile.TemporaryDirectory() as d:
        open(f"{d}/Makefile", "w").write("check:\n\t@echo $${LOG_COMPILER-none}\n")
        os.makedirs(f"{d}/bin")
        open(f"{d}/bin/make", "w").write("#!/bin/sh\necho ${LOG_COMPILER-none}\n")
        os.chmod(f"{d}/bin/make", 0o755)
        said = {}
        for verb in ("check", "all"):
            p = subprocess.run([SANDTEST, "exec", "--", "make", verb], env={**os.environ, **ALONE, "PATH": f"{d}/bin:{os.environ['PATH']}"},
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
            equal("code and output", (p.returncode, p.stdout), (0, "none\n"))
            said[verb] = "its tests share one job" in p.stderr
    equal("said of", said, {"check": True, "all": False})


def tier():
    """Where a user has no v1 groups, the v2 ones tell tests apart all the same: whether it is wired is not the tier's word."""
    global WIRED
    for _ in range(3):
        r = run(driver="echo ${LOG_COMPILER+wired}")
        WIRED, started = r.out == "wired\n", r.events[0]
        # A systemd that is emulated may need longer for its first answer than a run waits.
        if "no answer from systemd" not in json.dumps(started): break
    return f"tier {started['isolation']}, sampled {started['sampled'] or 'nothing'}, wired: {WIRED}"


def main(args):
    global SANDTEST
    if not args or args[0] in ("-h", "--help"): sys.exit(__doc__)
    SANDTEST = os.path.abspath(args.pop(0))
    only = args[0] if args else ""
    print(f"runner mode as uid {os.geteuid()}: {tier()}", flush=True)
    play([f for f in TESTS if only in f.__name__], after_a_failure=lambda: kill(alive()))


main(sys.argv[1:])
