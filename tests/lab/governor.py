#!/usr/bin/env python3
"""What the governor promises, on a real kernel: nothing outside of the run dies, and nothing is lost.

    governor.py SANDTEST HOG [--rounds N] [--only NAME,...]

The machine is a v1 memory cgroup of 1 GiB where this machine has such a hierarchy and we are root; else all of what we
run on, which then should be a guest of 1 GiB. Prints a line a test, and counts what is left out.
"""

import glob, json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time

MIB = 1 << 20
MACHINE, EDITOR = 1024, 300
SLOW = float(os.environ.get("SANDTEST_SLOWDOWN", "1"))
SKIPPED = []


class Machine:
    """Where everything happens: the editor, sandtest and its jobs."""

    def __init__(self):
        self.group = None
        own = next((l.split(":", 2)[2] for l in open("/proc/self/cgroup").read().split("\n") if ":memory:" in l), None)
        if own is not None and os.geteuid() == 0 and SLOW == 1:
            self.group = f"/sys/fs/cgroup/memory/{own.strip('/')}/sandtest-machine-{os.getpid()}"
            os.mkdir(self.group)
            open(f"{self.group}/memory.limit_in_bytes", "w").write(str(MACHINE * MIB))
            try: open(f"{self.group}/memory.memsw.limit_in_bytes", "w").write(str(MACHINE * MIB))
            except OSError: pass

    def enter(self):
        if self.group: open(f"{self.group}/cgroup.procs", "w").write("0")

    def kills(self):
        """OOM kills until now: of the machine's group itself, where the editor and sandtest are; else of all there is."""
        file = f"{self.group}/memory.oom_control" if self.group else "/proc/vmstat"
        return int(re.search(r"^oom_kill (\d+)", open(file).read(), re.M)[1])

    def close(self):
        for _ in range(100):
            if not self.group: return
            try: os.rmdir(self.group); return
            except OSError: time.sleep(0.05)


class Metronome(threading.Thread):
    """Wants to run every 5 ms: the longest that this machine's processors were away, in seconds."""

    def __init__(self):
        super().__init__(daemon=True)
        self.away, self.over = 0.0, threading.Event()
        self.start()

    def run(self):
        last = time.monotonic()
        while not self.over.wait(0.005):
            now = time.monotonic()
            self.away, last = max(self.away, now - last - 0.005), now


class Scene:
    """One run of a suite beside an editor."""

    def __init__(self, machine):
        self.machine, self.folder = machine, tempfile.mkdtemp(prefix="sandtest-governor-")
        os.mkdir(f"{self.folder}/.sandtest")
        open(f"{self.folder}/.sandtest/lab.yaml", "w").write(
            "extends: native\nprotect: [editor]\njob: {memory_max: 100%, timeout: none}\n")
        self.before, self.kills_inside = machine.kills(), 0
        self.editor = subprocess.Popen([HOG, str(EDITOR), "3600", "0", "editor"], preexec_fn=self._as_editor)
        while int(open(f"/proc/{self.editor.pid}/statm").read().split()[1]) * 4096 < EDITOR * MIB: time.sleep(0.01)

    def _as_editor(self):
        self.machine.enter()
        open("/proc/self/oom_score_adj", "w").write("300")

    def start(self, lines, *options):
        self.report, self.record = f"{self.folder}/report.json", f"{self.folder}/record"
        self.metronome = Metronome()
        command = [SANDTEST, "exec", "-p", "lab", "-j", "8", "--no-fail-fast", "--json", self.report,
                   "--record", self.record, *options, "--jobs-from", "-"]
        env = dict(os.environ, XDG_STATE_HOME=f"{self.folder}/state")
        self.process = subprocess.Popen(command, cwd=self.folder, env=env, stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=self.machine.enter)
        self.process.stdin.write("".join(l + "\n" for l in lines)); self.process.stdin.close()
        self.process.stdin = None
        return self

    def end(self):
        _, self.err = self.process.communicate()
        self.metronome.over.set(); self.metronome.join()
        self.code = self.process.returncode
        self.events = [json.loads(l) for l in open(self.report)]
        self.attempts = [e for e in self.events if e["event"] == "attempt-finished"]
        self.kills_inside += sum(a["oom_kills"] or 0 for a in self.attempts)
        self.decisions = [e for e in self.events if e["event"] == "governor"]
        self.last = self.events[-1]
        return self

    def run(self, lines, *options): return self.start(lines, *options).end()

    def close(self):
        """The editor lives, nothing else was killed outside, and the record comes to the same again."""
        alive = self.editor.poll() is None
        self.editor.kill(); self.editor.wait()
        assert alive, f"the editor was killed\n{self.err}"
        killed = self.machine.kills() - self.before
        if not self.machine.group: killed -= self.kills_inside
        assert killed == 0, f"{killed} OOM kills outside\n{self.err}"
        replayed = subprocess.run([SANDTEST, "replay", self.record], capture_output=True, text=True)
        assert replayed.returncode == 0, replayed.stderr

    def assert_all_pass(self, count):
        assert self.code == 0 and self.last["passed"] == count, f"exit {self.code}: {self.last}\n{self.err}"
        verdicts = [a for a in self.attempts if a["verdict"] is not None]
        assert len(verdicts) == count, "not one verdict a job"


def ramp(s, rate):
    """No OOM kill, not even inside of the run, and nobody is over a limit of its own. Where the processors were away
    for longer than the brake needs, the kernel's cap is what holds, and it is tried again."""
    told = []
    for _ in range(3):
        s.run([hog(220, 0.3, rate)] * many(12)).assert_all_pass(many(12))
        killed = [a["job"] for a in s.attempts if a["oom_kills"]]
        if not killed: return
        told.append((killed, s.metronome.away))
        assert s.metronome.away > 0.05, told
    raise AssertionError(told)


def hog(size, hold, rate=0): return f"{HOG} {size} {hold} {rate}"


def many(count):
    """So many jobs; fewer where touching memory takes ten times as long."""
    return count if SLOW == 1 else max(4, count // 2)


def scene(test):
    def play(machine):
        s = Scene(machine)
        try:
            test(s)
            s.close()
        finally:
            if s.editor.poll() is None: s.editor.kill()
            # Some write hundreds of MiB; what a failure is told by is in its message.
            shutil.rmtree(s.folder, ignore_errors=True)
    play.__name__ = test.__name__
    return play


@scene
def g01_tests_that_do_not_fit_together_all_pass_beside_the_editor(s):
    s.run([hog(250, 0.5)] * many(16)).assert_all_pass(many(16))
    assert max(a["memory_peak"] for a in s.attempts) > 200 * MIB


@scene
def g02_large_and_small_ones_together(s):
    s.run([hog(300, 1.0)] * 4 + [hog(30, 0.4)] * many(40)).assert_all_pass(4 + many(40))


@scene
def g03_a_fast_ramp_meets_no_oom_killer(s):
    """2 GiB/s of all together."""
    ramp(s, 2048 / 8)


@scene
def g04_a_slow_ramp_meets_no_oom_killer(s):
    """800 MiB/s of all together."""
    ramp(s, 100)


@scene
def g05_a_stopped_supervisor_leaves_the_cap(s):
    """SIGSTOP in mid-run: the cap holds, whatever the jobs do meanwhile."""
    s.start([hog(250, 0.5)] * many(12))
    time.sleep(0.4 * max(1, SLOW / 20))
    s.process.send_signal(signal.SIGSTOP)
    time.sleep(float(os.environ.get("SANDTEST_STOPPED", "3")))
    s.process.send_signal(signal.SIGCONT)
    s.end().assert_all_pass(many(12))


@scene
def g06_what_must_not_run_twice_is_never_evicted(s):
    s.run([f"restartable:no {hog(200, 0.6)}"] * 2 + [hog(250, 0.5)] * 8).assert_all_pass(10)
    twice = [a for a in s.attempts if a["attempt"] > 1 and " 200 " in a["job"]]
    assert not twice, twice


@scene
def g07_more_than_there_is_runs_alone_and_ends(s):
    s.run([f"memory:2G {hog(100, 0.2)}"] + [hog(50, 0.2)] * 6).assert_all_pass(7)


@scene
def g08_one_that_needs_more_than_all_is_out_of_memory_and_the_others_pass(s):
    s.run([hog(900, 0.2)] + [hog(100, 0.2)] * 6)
    outcomes = {a["job"]: a["outcome"] for a in s.attempts if a["verdict"]}
    assert list(outcomes.values()).count("oom") == 1 and s.last["passed"] == 6, outcomes


@scene
def g09_frozen_time_is_not_worked_time(s):
    """Each counts processor time of its own: what it worked is its wall time less the frozen time."""
    busy = ("import time; b = bytearray(120 << 20); t = time.thread_time(); e = t + 0.4\n"
            "while time.thread_time() < e: pass\nb += bytearray(130 << 20)\n")
    open(f"{s.folder}/busy.py", "w").write(busy)
    s.run([f"python3 {s.folder}/busy.py"] * 8, "--timeout", f"{int(20 * max(1, SLOW / 10))}s").assert_all_pass(8)
    assert all(a["outcome"] in ("exited", "evicted") for a in s.attempts)


@scene
def g09b_a_time_out_waits_for_what_is_frozen(s):
    """All of them run out of time, some after a freeze: none before it has had its second, nor those that were frozen
    50 ms later than those that were not, who know how busy the machine is with others."""
    limit, told = 1.0 * max(1, SLOW / 10), []
    # As fast as the machine fills memory, or all of the time. On an emulated one the first few are to fill it shortly before
    # the others' time is up, since who is frozen for long is evicted: how fast that is depends on who else keeps it busy.
    for rate in [0, 0, 0] if SLOW == 1 else [40, 30, 35, 25, 60]:
        s.run([hog(250, 600, rate)] * 6, "--timeout", f"{limit}s", "--grace", "0s")
        ended = [a for a in s.attempts if a["outcome"] == "timeout"]
        assert len(ended) == 6, [(a["outcome"], a["wall_ms"]) for a in s.attempts]
        late = [a["wall_ms"] - limit * 1000 for a in ended]
        assert all(ms >= 0 for ms in late), late
        frozen = [a["frozen_ms"] for a in ended]
        told.append((rate, late, frozen))
        busy = max((ms for ms, held in zip(late, frozen) if not held), default=0)
        if any(frozen) and all(ms < busy + (50 if SLOW == 1 else 1000) for ms in late): return
        # Where some were frozen there are three tries; where none were, nothing was seen yet.
        if sum(any(frozen) for _, _, frozen in told) == 3: break
    raise AssertionError(told)


@scene
def g10_page_cache_is_no_reason_to_hold(s):
    """A job that reads much more than there is leaves cache, which gives way."""
    write = f"dd if=/dev/zero of={s.folder}/data bs=1M count={600 if SLOW == 1 else 200} status=none"
    s.run([write] + [hog(150, 0.3)] * 6).assert_all_pass(7)


@scene
def g11_what_an_oom_daemon_kills_runs_again_once(s):
    """systemd-oomd marks the group before it kills; here the job does both itself."""
    tree = "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
    code = ("import os, signal\n"
            "own = [l[3:] for l in open('/proc/self/cgroup').read().split('\\n') if l.startswith('0::')][0]\n"
            f"if os.environ['SANDTEST_ATTEMPT'] == '1' or os.environ['SANDTEST_JOB'].endswith('again'):\n"
            f"  os.setxattr('{tree}' + own, 'user.oomd_ooms', b'1'); os.kill(os.getpid(), signal.SIGKILL)\n")
    open(f"{s.folder}/oomd.py", "w").write(code)
    s.run([f"python3 {s.folder}/oomd.py", f"python3 {s.folder}/oomd.py again", "true"])
    told = sorted((a["job"].split("/")[-1], a["attempt"], a["outcome"], a["cause"], a["verdict"]) for a in s.attempts)
    assert told == [("oomd.py", 1, "evicted", "outside", None), ("oomd.py", 2, "exited", "own", "pass"),
                    ("oomd.py again", 1, "evicted", "outside", None), ("oomd.py again", 2, "evicted", "outside", "infra"),
                    ("true", 1, "exited", "own", "pass")], told


@scene
def g12_with_the_governor_off_the_cap_still_holds(s):
    s.run([hog(250, 0.3)] * 8, "--governor", "off")
    assert not s.decisions and s.last["governor"] is None


TESTS = [f for name, f in sorted(globals().items()) if name.startswith("g0") or name.startswith("g1")]


def main():
    global SANDTEST, HOG
    args = sys.argv[1:]
    rounds, only = 1, None
    if "--rounds" in args: i = args.index("--rounds"); rounds = int(args[i + 1]); del args[i:i + 2]
    if "--only" in args: i = args.index("--only"); only = args[i + 1].split(","); del args[i:i + 2]
    SANDTEST, HOG = os.path.abspath(args[0]), os.path.abspath(args[1])
    passed = failed = 0
    machine = Machine()
    where = "a memory cgroup" if machine.group else "this whole machine"
    print(f"governor as uid {os.geteuid()}, the machine is {where}", flush=True)
    for test in TESTS:
        if only and not any(test.__name__.startswith(name) for name in only): continue
        bad, begin = [], time.monotonic()
        for _ in range(rounds):
            try: test(machine)
            except AssertionError as e: bad.append(str(e)[:1500])
        if bad: failed += 1; print(f"FAIL  {test.__name__}: {len(bad)} of {rounds}: {bad[0]}", flush=True)
        else: passed += 1; print(f"ok    {test.__name__} ({rounds} x {(time.monotonic() - begin) / rounds:.1f} s)", flush=True)
    machine.close()
    print(f"{passed} passed, {failed} failed, {len(SKIPPED)} skipped")
    return 1 if failed else 0


sys.exit(main())
