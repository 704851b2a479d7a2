#!/usr/bin/env python3
"""Faults that a test may have, and the outcome that each must come to.

usage: faults.py SANDTEST [--mix N [--seed S]] [PART-OF-A-NAME]

Runs on every tier, as any user; needs python3 and util-linux. The numbers are those of docs/faults.md. What a tier
or user can't show is skipped, and skips are counted and named at the end. --mix runs N random faults in one run.
"""
import glob, json, os, pty, random, re, shlex, signal, subprocess, sys, tempfile, time

import common
from common import SLOW, STARTED, TESTS, Result, Skip, equal, eventually, groups, kill, play, test

SANDTEST = None
MARK = f"7{os.getpid() % 100000:05d}"                   # an argument of sleep that nobody else uses


def start(*args, stdin=subprocess.DEVNULL, env=None, events=None, **kind):
    """`sandtest exec --json EVENTS args...`, not waited for."""
    p = subprocess.Popen([SANDTEST, "exec", "--json", events, *args], stdin=stdin, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env={**os.environ, **(env or {})}, **kind)
    STARTED.add(p.pid)
    return p


def run(*args, stdin="", env=None, timeout=60, **kind):
    """`sandtest exec args...`: code, out, err, events, attempts, last."""
    r = Result()
    with tempfile.TemporaryDirectory() as d:
        events = os.path.join(d, "events")
        p = start(*args, stdin=subprocess.PIPE, env=env, events=events, **kind)
        out, err = p.communicate(stdin.encode(), timeout=timeout * max(1, SLOW / 20))
        r.code, r.out, r.err = p.returncode, out.decode(errors="replace"), err.decode(errors="replace")
        r.events = [json.loads(line) for line in open(events)] if os.path.exists(events) else []
    r.attempts = [e for e in r.events if e["event"] == "attempt-finished"]
    r.last = r.attempts[-1] if r.attempts else {}
    return r


def alive(mark=MARK): return common.alive(mark)


def no_groups_left():
    """systemd removes a scope a moment after it is empty."""
    eventually("groups are left", lambda: not groups(), 3)


def python(code): return ["python3", "-c", code]


def tier():
    global TIER, SAMPLED
    r = run("--", "true")
    started = r.events[0]
    TIER, SAMPLED = started["isolation"], started["sampled"]
    return f"tier {TIER}, sampled {SAMPLED or 'nothing'}, not enforced {started['not_enforced'] or 'nothing'}"


HOG = "b = [bytearray(4 << 20) for _ in range({mib} // 4)]; import time; time.sleep(20)"


@test
def f01_a_grandchild_that_escapes_is_killed_and_named():
    # What it writes to is closed by the exec, which is waited for so.
    code = ("import os\n"
            "r, w = os.pipe(); os.dup2(w, 64, inheritable=False)\n"
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork() == 0:\n"
            "        os.closerange(0, 64)\n"
            f"        os.execvp('sleep', ['sleep', '{MARK}'])\n"
            "    os._exit(0)\n"
            "os.close(w); os.close(64); os.wait(); os.read(r, 1); os._exit(7)")
    begin = time.monotonic()
    r = run("--", *python(code))
    equal("the verdict is the command's own", (r.code, r.last["outcome"]), (7, "exited"))
    assert r.last["leaked"] >= 1 and r.last["left_behind"][0]["name"] == "sleep", r.last
    assert "sleep" in r.err, r.err
    equal("alive", alive(), [])
    assert time.monotonic() - begin < 20 * max(1, SLOW / 4)


@test
def f02_a_fork_bomb_meets_its_limit():
    bomb = "import os, time\nwhile True:\n  try:\n    if os.fork() == 0: time.sleep(30); os._exit(0)\n  except OSError: os._exit(9)"
    r = run("--pids", "40", "--", *python(bomb))
    equal("outcome", r.last["outcome"], "pids")
    if r.last["pids_peak"] is not None and not SAMPLED: assert r.last["pids_peak"] <= 40, r.last["pids_peak"]
    no_groups_left()


@test
def f03_a_hog_of_three_processes_dies_together_and_alone():
    hog = HOG.format(mib=240)
    code = f"import os, subprocess\nc = [subprocess.Popen(['sleep', '{MARK}']) for _ in range(2)]\n{hog}"
    with tempfile.TemporaryDirectory() as d:
        script = os.path.join(d, "hog.py")
        open(script, "w").write(code)
        r = run("-j2", "--no-fail-fast", "--memory", "96M", "--jobs-from", "-",
                stdin=f"python3 {script}\npython3 -c 'import time; time.sleep({0.5 + SLOW / 20})'\n")
    equal("outcomes", sorted(a["outcome"] for a in r.attempts), ["exited", "oom"])
    oom = next(a for a in r.attempts if a["outcome"] == "oom")
    assert oom["memory_peak"] >= 80 << 20, oom["memory_peak"]
    equal("alive", alive(), [])


@test
def f04_a_filler_of_shared_memory_is_an_oom_of_its_own_and_its_memory_comes_back():
    if "memory_max" in SAMPLED: raise Skip("shared memory belongs to no process, so it can't be sampled")
    name = f"/dev/shm/sandtest-{MARK}"
    code = f"f = open('{name}', 'wb')\nwhile True: f.write(bytes(1 << 20))"
    try:
        r = run("--memory", "64M", "--", *python(code))
        equal("outcome", r.last["outcome"], "oom")
        no_groups_left()
    finally:
        if os.path.exists(name): os.unlink(name)
    equal("the next one", run("--memory", "64M", "--", "true").code, 0)


@test
def f05_swap_is_closed_or_said_to_be_open():
    started = run("--", "true").events[0]
    r = run("--", "true")
    closed = r.last["limits"]["memory_swap_max"] == 0
    no_swap = len(open("/proc/swaps").readlines()) < 2
    assert closed or no_swap or "memory_swap_max" in started["not_enforced"], (r.last["limits"], started)


@test
def f06_a_flood_of_output_is_bounded():
    mib = 64 if SLOW > 1 else 512
    r = run("-j1", "--jobs-from", "-", stdin=f"sh -c 'head -c {mib}M /dev/zero; exit 1'\n", timeout=120)
    output = r.last["output"]
    equal("bytes", output["bytes"], mib << 20)
    assert os.path.getsize(output["file"]) <= 8 << 20
    assert len(r.err) < 200_000, len(r.err)
    assert "left out" in r.err, r.err[-300:]


@test
def f07_a_pipe_that_an_orphan_holds_open_keeps_nobody():
    begin = time.monotonic()
    r = run("-j1", "--jobs-from", "-", stdin=f"sh -c 'sleep {MARK} & echo said'\n")
    equal("code", r.code, 0)
    assert time.monotonic() - begin < 20 * max(1, SLOW / 4)
    equal("alive", alive(), [])


def a_tree_of_sleepers(events):
    tree = f"setsid sleep {MARK} & (setsid sleep {MARK} &) ; sleep {MARK}"
    p = start("--", "bash", "-c", tree, events=events)
    eventually("three sleepers", lambda: len(alive()) == 3, 20)
    return p


@test
def f08_sigkill_of_sandtest_leaves_nobody_after_a_second():
    with tempfile.TemporaryDirectory() as d:
        p = a_tree_of_sleepers(os.path.join(d, "events"))
        p.kill(); p.wait()
        eventually(f"alive after a second: {alive()}", lambda: not alive(), 1)
        run("--", "true")
        eventually(f"groups left: {groups()}", lambda: not groups(), 3)


@test
def f08b_sigkill_of_sandtest_and_its_guardian_is_swept_by_the_next_start():
    with tempfile.TemporaryDirectory() as d:
        p = a_tree_of_sleepers(os.path.join(d, "events"))
        children = open(f"/proc/{p.pid}/task/{p.pid}/children").read().split()
        guardians = [c for c in children if open(f"/proc/{c}/comm").read().strip() == "sandtest-guard"]
        equal("guardians", len(guardians), 1)
        os.kill(int(guardians[0]), signal.SIGKILL)
        p.kill(); p.wait()
        time.sleep(0.3)
        assert alive(), "with the guardian gone, what has left its parent lives on until the sweep"
        r = run("--", "true")
        assert "interrupted" in r.err, r.err
        equal("alive", alive(), [])
        eventually(f"groups left: {groups()}", lambda: not groups(), 3)


@test
def f09_after_a_crash_the_record_reads_and_says_interrupted():
    with tempfile.TemporaryDirectory() as state:
        env = {"XDG_STATE_HOME": state}
        p = start("-j1", "--jobs-from", "/dev/stdin", stdin=subprocess.PIPE, env=env, events=os.path.join(state, "events"))
        p.stdin.write(f"true\nsleep {MARK}\n".encode()); p.stdin.close()
        eventually("the second job", lambda: alive(), 20)
        folder, = glob.glob(f"{state}/sandtest/runs/*")
        # Nothing says that what happens is written down before the next thing does.
        recorded = lambda: open(f"{folder}/events.jsonl").read()
        eventually("both on record", lambda: recorded().count("attempt-started") == 2, 20)
        p.kill(); p.wait()
        eventually("the guardian's work", lambda: not alive(), 3)
        record = json.load(open(f"{folder}/run.json"))
        equal("state before the sweep", record["state"], "running")
        lines = [json.loads(line) for line in open(f"{folder}/events.jsonl")]
        equal("what is on record", [l["event"] for l in lines], ["run-started", "attempt-started", "attempt-finished", "attempt-started"])
        record["boot_id"] = "another boot"
        json.dump(record, open(f"{folder}/run.json", "w"))
        r = run("--", "true", env=env)
        assert "started anew" in r.err, r.err
        equal("state after it", json.load(open(f"{folder}/run.json"))["state"], "interrupted")


@test
def f10_two_sandtests_leave_each_other_alone():
    with tempfile.TemporaryDirectory() as d:
        p = a_tree_of_sleepers(os.path.join(d, "events"))
        equal("the other one", run("--", "true").code, 0)
        equal("still there", len(alive()), 3)
        p.send_signal(signal.SIGTERM)
        p.wait()
        eventually("all gone", lambda: not alive(), 3)


@test
def f11_the_sweeper_kills_nothing_by_a_stored_number():
    bystander = subprocess.Popen(["sleep", MARK])
    try:
        with tempfile.TemporaryDirectory() as state:
            folder = f"{state}/sandtest/runs/0-0-{bystander.pid}"
            os.makedirs(folder)
            open(f"{folder}/lock", "w")
            record = {"run": f"0-0-{bystander.pid}", "boot_id": open("/proc/sys/kernel/random/boot_id").read().strip(),
                      "state": "running", "groups": []}
            json.dump(record, open(f"{folder}/run.json", "w"))
            run("--", "true", env={"XDG_STATE_HOME": state})
            record["groups"] = ["/sys/fs/cgroup"]
            json.dump(record, open(f"{folder}/run.json", "w"))
            run("--", "true", env={"XDG_STATE_HOME": state})
        equal("the bystander", bystander.poll(), None)
    finally:
        bystander.kill(); bystander.wait()


@test
def f17_a_bomb_of_cgroups_is_bounded_and_removed():
    if TIER == "process": raise Skip("no cgroup to make others in")
    code = ("import os, sys\n"
            "line = next(l for l in open('/proc/self/cgroup') if l.startswith('0::'))\n"
            "root = '/sys/fs/cgroup/unified' if os.path.isdir('/sys/fs/cgroup/unified') else '/sys/fs/cgroup'\n"
            "own = root + line.strip()[3:]\n"
            "made = 0\n"
            "try:\n"
            "    while made < 2000: os.mkdir(f'{own}/n{made}'); made += 1\n"
            "except OSError: pass\n"
            "print(made)")
    r = run("--", *python(code))
    assert 0 < int(r.out) <= 256, r.out
    no_groups_left()


@test
def f18_a_stopped_job_still_runs_out_of_time():
    r = run("--timeout", f"{0.5 + SLOW / 20}s", "--grace", "300ms", "--", "bash", "-c", "kill -STOP $$; sleep 30")
    equal("code and outcome", (r.code, r.last["outcome"]), (124, "timeout"))


@test
def f18b_an_uninterruptible_job_is_given_up_and_the_run_goes_on():
    if os.geteuid() != 0 or SLOW == 1: raise Skip("needs a file system of its own to freeze: in the guest, as root")
    with tempfile.TemporaryDirectory() as d:
        image, mount = f"{d}/image", f"{d}/mount"
        os.mkdir(mount)
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ext4.img")
        if not os.path.exists(source): raise Skip("no ext4.img beside this script")
        subprocess.run(["cp", source, image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mount], check=True)
        try:
            subprocess.run(["fsfreeze", "-f", mount], check=True)
            open(f"{d}/sandtest.yaml", "w").write("rules: [{match: 'touch *', timeout: 3s}]\n")
            r = run("-j2", "--no-fail-fast", "--grace", "500ms", "--jobs-from", "-",
                    stdin=f"touch {mount}/file\ntrue\ntrue\n", timeout=120, cwd=d)
            stuck = next(a for a in r.attempts if a["job"].startswith("touch"))
            assert stuck["unkillable"] and stuck["outcome"] == "timeout", stuck
            equal("the others", [a["exit_code"] for a in r.attempts if a["job"].startswith("true")], [0, 0])
        finally:
            subprocess.run(["fsfreeze", "-u", mount], check=True)
            subprocess.run(["umount", mount])
    run("--", "true")
    eventually(f"groups left after the thaw: {groups()}", lambda: not groups(), 5)


@test
def f19_a_job_that_the_kernel_never_kills_is_killed_all_the_same():
    try: open("/proc/self/oom_score_adj", "w").write("-1000")
    except PermissionError: raise Skip("needs CAP_SYS_RESOURCE")
    open("/proc/self/oom_score_adj", "w").write("0")
    code = "open('/proc/self/oom_score_adj', 'w').write('-1000'); " + HOG.format(mib=240)
    r = run("--memory", "64M", "--timeout", "60s", "--", *python(code), timeout=120)
    equal("code and outcome", (r.code, r.last["outcome"]), (137, "oom"))
    assert r.last["wall_ms"] < 50_000, r.last["wall_ms"]


@test
def f24_a_jump_of_the_wall_clock_kills_nothing():
    if os.geteuid() != 0 or SLOW == 1: raise Skip("sets the clock: in the guest, as root")
    code = "import time, subprocess; subprocess.run(['date', '-s', '@4000000000'], stdout=subprocess.DEVNULL); time.sleep(0.5)"
    before = time.time()
    try: r = run("--timeout", "30s", "--", *python(code))
    finally: subprocess.run(["date", "-s", f"@{int(before) + 3}"], stdout=subprocess.DEVNULL)
    equal("outcome", (r.code, r.last["outcome"]), (0, "exited"))
    assert r.last["wall_ms"] < 30_000


@test
def f25_a_job_inherits_three_descriptors_and_no_lock():
    with tempfile.TemporaryFile() as held:
        os.set_inheritable(held.fileno(), True)
        r = run("--", "sh", "-c", "ls /proc/self/fd | tr '\\n' ' '", pass_fds=[held.fileno()])
    # 3 is ls's own, of the folder it lists.
    equal("descriptors", r.out.split(), ["0", "1", "2", "3"])


@test
def f28_many_short_jobs_leave_nothing():
    count = 100 if SLOW > 1 else 1000
    r = run("-j2", "--jobs-from", "-", stdin="true\n" * count, timeout=200)
    equal("passed", (r.code, r.events[-1]["passed"]), (0, count))
    no_groups_left()


@test
def f29_a_limit_below_what_exec_needs_is_an_oom():
    if "memory_max" in SAMPLED: raise Skip("what is sampled has started by then")
    for limit in ("4K", "100K"):
        r = run("--memory", limit, "--", "python3", "-c", "pass")
        equal(f"outcome with {limit}", (r.code, r.last["outcome"]), (137, "oom"))


SLOWLY = max(1, SLOW / 10)  # seconds that a guest needs for what takes a tenth of one here


@test
def f31_a_deadlock_is_told_as_one():
    code = ("import threading; l = threading.Lock(); l.acquire(); print('locked', flush=True); "
            "[threading.Thread(target=l.acquire).start() for _ in range(20)]")
    r = run("--idle-timeout", f"{2 * SLOWLY}s", "--grace", "100ms", "--jobs-from", "-", stdin=shlex.join(python(code)) + "\n",
            timeout=60)
    equal("cause", (r.last["outcome"], r.last["cause"]), ("timeout", "idle"))
    diagnosis = r.last["diagnosis"]
    assert "looks like a deadlock" in diagnosis["reading"], diagnosis["reading"]
    equal("threads and output", (diagnosis["thread_count"], diagnosis["last_output"]), (21, ["locked"]))
    assert "diagnosis: " in r.err, r.err


@test
def f32_a_retry_finds_nothing_of_the_attempt_before():
    job = (f"case $SANDTEST_ATTEMPT in 1) trap '' TERM; setsid sleep {MARK} & while :; do sleep 1; done ;; "
           f"*) ! grep -lsxz '[{MARK[0]}]{MARK[1:]}' /proc/[0-9]*/cmdline ;; esac")
    # The second has to be through its search of all processes in that time.
    r = run("--timeout", f"{3 * SLOWLY}s", "--grace", "100ms", "--retries", "1", "--jobs-from", "-",
            stdin=shlex.join(["bash", "-c", job]) + "\n", timeout=60)
    equal("attempts", [(a["outcome"], a["verdict"]) for a in r.attempts], [("timeout", None), ("exited", "flaky")])
    equal("settled", [e for e in r.events if e["event"] == "retry-unsettled"], [])
    equal("exit", r.code, 0)


@test
def f33_sandtest_killed_in_a_grace_leaves_nothing():
    with tempfile.TemporaryDirectory() as d:
        p = start("--timeout", f"{SLOWLY}s", "--grace", "60s", "--", "bash", "-c",
                  f"trap 'touch {d}/asked' TERM; sleep {MARK} & while :; do sleep 0.1; done", events=f"{d}/events")
        eventually("it was never asked to end", lambda: os.path.exists(f"{d}/asked"), 10)
        p.kill(); p.communicate()
        eventually("something is alive a second after", lambda: not alive())
    run("--", "true")
    no_groups_left()


@test
def f34_ctrl_z_stops_jobs_and_clocks_and_fg_goes_on():
    with tempfile.TemporaryDirectory() as d:
        job = f"while sleep 0.1; do echo >> {d}/alive; test -e {d}/enough && exit 0; done"
        open(f"{d}/jobs", "w").write(shlex.join(["bash", "-c", job]) + "\n")
        timeout = 4 * SLOWLY
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(SANDTEST, [SANDTEST, "exec", "--json", f"{d}/events", "--timeout", f"{timeout}s", "--jobs-from", f"{d}/jobs"])
        STARTED.add(pid)
        ticks = lambda: os.path.getsize(f"{d}/alive") if os.path.exists(f"{d}/alive") else 0
        eventually("the job never began", lambda: ticks() > 0, 20)
        os.write(terminal, b"\x1a")
        eventually("sandtest did not stop", lambda: os.waitpid(pid, os.WUNTRACED | os.WNOHANG)[0] == pid, 10)
        before = ticks()
        # Longer than the job's time, which stands still meanwhile; nothing happens that could be waited for.
        time.sleep(timeout * 1.2)
        equal("the job stood still", ticks(), before)
        os.kill(pid, signal.SIGCONT)
        eventually("the job did not go on", lambda: ticks() > before, 10)
        open(f"{d}/enough", "w")
        while True:  # what it prints, until its end: a full terminal would hold it up
            try: os.read(terminal, 4096)
            except OSError: break
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        equal("exit", (code, [json.loads(l) for l in open(f"{d}/events")][-1]["passed"]), (0, 1))


@test
def f35_the_first_on_a_bus_waits_for_its_systemd():
    manager = f"/run/user/{os.geteuid()}/systemd/private"
    if os.geteuid() == 0 or not os.path.exists(manager): raise Skip("there is no user manager")
    # Who connects next starts it again, and the manager comes a moment later.
    subprocess.run(["systemctl", "--user", "stop", "dbus.service"], check=True, stderr=subprocess.DEVNULL)
    r = run("--", "true")
    equal("isolation", (r.events[0]["isolation"], r.code), (TIER, 0))


# The mix: each kind with its command and what it must come to.
KINDS = {
    "pass": ("true", "exited", True),
    "fail": ("sh -c 'exit {n}'", "exited", False),
    "signal": ("sh -c 'kill -SEGV $$'", "signaled", False),
    "leak": (f"sh -c 'setsid sleep {MARK} & exit 0'", "exited", True),
    "timeout": (f"sleep {MARK}", "timeout", False),
    "pids": ("sh -c 'i=0; while [ $i -lt 80 ]; do sleep 60 & i=$((i+1)); done; exit 1'", "pids", False),
    "oom": ("python3 -c \"b = [bytearray(4 << 20) for _ in range(60)]; import time; time.sleep(60)\"", "oom", False),
}


def mix(count, seed):
    """`count` random faults in one run: every outcome as its kind wants it."""
    dice = random.Random(seed)
    kinds = [dice.choice(list(KINDS)) for _ in range(count)]
    lines = "".join("env FAULT=%d %s\n" % (i, KINDS[kind][0].replace("{n}", str(1 + i % 200))) for i, kind in enumerate(kinds))
    # However slow the machine: what is to run out of time has little, all else more than it ever needs.
    soon, late = 1 + SLOW / 10, 60 * max(1, SLOW / 10)
    with tempfile.TemporaryDirectory() as d:
        open(f"{d}/sandtest.yaml", "w").write(f"rules:\n- {{match: '* {KINDS['timeout'][0]}', timeout: {soon}s}}\n"
                                              f"- {{match: '*', timeout: {late}s}}\n")
        r = run("-j2", "--no-fail-fast", "--memory", "96M", "--pids", "40", "--grace", "100ms", "--jobs-from", "-",
                stdin=lines, timeout=count * 2 * soon + 60, cwd=d)
    equal("attempts", len(r.attempts), count)
    wrong = []
    for attempt in r.attempts:
        i = int(re.search(r"FAULT=(\d+)", attempt["job"]).group(1))
        _, outcome, passes = KINDS[kinds[i]]
        if attempt["outcome"] != outcome or (attempt["verdict"] == "pass") != passes or (kinds[i] == "leak") != (attempt["leaked"] > 0 and passes):
            wrong.append((kinds[i], attempt["outcome"], attempt["verdict"], attempt["leaked"], attempt["oom_kills"]))
    equal(f"wrong verdicts of {count}", wrong, [])
    equal("alive", alive(), [])
    no_groups_left()
    print(f"      mix of {count}, seed {seed}: " + ", ".join(f"{kinds.count(k)} {k}" for k in KINDS))


def main(args):
    global SANDTEST
    if not args or args[0] in ("-h", "--help"): sys.exit(__doc__)
    SANDTEST = os.path.abspath(args.pop(0))
    count = seed = 0
    if "--mix" in args: i = args.index("--mix"); count = int(args[i + 1]); del args[i:i + 2]
    if "--seed" in args: i = args.index("--seed"); seed = int(args[i + 1]); del args[i:i + 2]
    only = args[0] if args else ""
    print(f"faults as uid {os.geteuid()}: {tier()}", flush=True)
    tests = [f for f in TESTS if only in f.__name__] if not count or only else []
    def mix_of_faults(): mix(count, seed)
    play(tests + ([mix_of_faults] if count else []), after_a_failure=lambda: kill(alive()))


main(sys.argv[1:])
