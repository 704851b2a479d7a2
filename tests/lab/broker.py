#!/usr/bin/env python3
"""What `sandtest serve` promises under a systemd user manager: one slice for all runs, whose limit is the budget.

    broker.py SANDTEST HOG

For an ordinary user of a guest with unified cgroups. Prints a line a test.
"""

import json, os, re, subprocess, sys, tempfile, time

MIB = 1 << 20
BUDGET = 512
UNIT = "sandtest-lab-broker"
SLOW = float(os.environ.get("SANDTEST_SLOWDOWN", "1"))


def run(*words, **more):
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, **more)


def user(*words):
    return run("systemctl", "--user", *words)


def until(what, holds, patience=120):
    end = time.time() + patience
    while not holds():
        assert time.time() < end, f"{what}: not within {patience} s"
        time.sleep(0.05)


class Scene:
    """A broker that systemd starts when somebody connects."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="sandtest-broker-")
        self.socket = f"{self.folder}/broker.sock"
        self.profile = f"{self.folder}/lab.yaml"
        with open(self.profile, "w") as file:
            file.write(f"name: lab\nextends: native\nbudget: {{memory_max: {BUDGET}MiB, reserve: 0}}\n"
                       "job: {memory_max: 100%, timeout: none}\njobs: {min: 1, max: 4}\n")
        started = run("systemd-run", "--user", f"--unit={UNIT}", f"--socket-property=ListenStream={self.socket}",
                      "--service-type=notify", "-p", "WatchdogSec=60", "-p", "NotifyAccess=main",
                      SANDTEST, "serve", "--profile", self.profile)
        assert started.returncode == 0, started.stderr
        base = re.search(r"^0::(.*?/user@\d+\.service)", open("/proc/self/cgroup").read(), re.M)
        base = base[1] if base else f"/user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service"
        self.slice = f"/sys/fs/cgroup{base}/sandtest.slice"

    def is_active(self):
        return user("is-active", f"{UNIT}.service").stdout.strip() == "active"

    def exec(self, name, lines):
        jobs = f"{self.folder}/{name}"
        open(jobs, "w").write("\n".join(lines))
        environment = dict(os.environ, SANDTEST_BROKER=self.socket, XDG_STATE_HOME=f"{self.folder}/state")
        return subprocess.Popen([SANDTEST, "exec", "--broker", "require", "--profile", self.profile, "--no-fail-fast",
                                 "-j", "4", "--json", f"{jobs}.json", "--jobs-from", jobs], env=environment,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def read(self, file):
        try: text = open(f"{self.slice}/{file}").read().strip()
        except OSError: return None
        return None if text == "max" else int(text)

    def held(self):
        """What can't be taken back: a guest's page cache is charged, too."""
        try: stat = open(f"{self.slice}/memory.stat").read()
        except OSError: return 0
        number = lambda key: int(re.search(rf"^{key} (\d+)", stat, re.M)[1])
        return number("anon") + number("shmem")

    def close(self):
        user("stop", f"{UNIT}.socket", f"{UNIT}.service")
        user("reset-failed", f"{UNIT}.service")


def hog(mib, hold): return f"{HOG} {mib} {hold} 0"


def t01_activated(scene):
    """the first run starts it, and its status says what it serves"""
    assert not scene.is_active()
    first = scene.exec("first", ["true"])
    out, err = first.communicate()
    assert first.returncode == 0, err
    assert scene.is_active()
    status = user("show", f"{UNIT}.service", "-p", "StatusText").stdout
    assert "512 MiB" in status, status


def t02_one_slice(scene):
    """two runs that want it all are in one slice, whose limit is the budget, and never hold more than that"""
    runs = [scene.exec(f"run-{n}", [hog(150, 1.5 * SLOW ** 0.5)] * 4) for n in range(2)]
    most, limits = 0, set()
    while any(process.poll() is None for process in runs):
        most, limit = max(most, scene.held()), scene.read("memory.max")
        if most: limits.add(limit)
        time.sleep(0.02)
    told = [process.communicate() for process in runs]
    assert all(process.returncode == 0 for process in runs), told
    assert 150 * MIB <= most <= BUDGET * MIB, most / MIB
    assert None not in limits and max(limits) <= BUDGET * MIB, limits
    print(f"      {most / MIB:.0f} MiB held at the most, of {BUDGET}", flush=True)


def t03_restart(scene):
    """a restart in mid-run loses nothing, and the limit stays while nobody serves"""
    runs = [scene.exec(f"again-{n}", [hog(100, 2 * SLOW ** 0.5)] * 4) for n in range(2)]
    until("they run", lambda: scene.held() >= 100 * MIB)
    before = user("show", f"{UNIT}.service", "-p", "MainPID").stdout
    assert user("restart", f"{UNIT}.service").returncode == 0
    assert scene.read("memory.max") is not None
    assert user("show", f"{UNIT}.service", "-p", "MainPID").stdout != before
    most = 0
    while any(process.poll() is None for process in runs):
        most = max(most, scene.held())
        time.sleep(0.02)
    told = [process.communicate() for process in runs]
    assert all(process.returncode == 0 for process in runs), told
    assert most <= BUDGET * MIB, most / MIB
    for n in range(2):
        events = [json.loads(line) for line in open(f"{scene.folder}/again-{n}.json")]
        assert events[-1]["event"] == "run-finished" and events[-1]["passed"] == 4, events[-1]


def t04_nobodys(scene):
    """what is in the slice and no run's is off the budget"""
    other = subprocess.Popen(["systemd-run", "--user", "--scope", "--slice=sandtest.slice", HOG, "200", "3600", "0"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until("it has its memory", lambda: scene.held() >= 200 * MIB)
        run = scene.exec("beside", [hog(150, 2 * SLOW ** 0.5)])
        told = {}
        def lower():
            status = json.loads(subprocess.run([SANDTEST, "status", "--json"], capture_output=True, text=True,
                                env=dict(os.environ, SANDTEST_BROKER=scene.socket)).stdout or "{}")
            told.update(status)
            return status.get("budget", BUDGET * MIB) <= (BUDGET - 190) * MIB
        until("the budget is lower", lower)
        out, err = run.communicate()
        assert run.returncode == 0, err
    finally:
        other.terminate()
        other.wait()


def t05_stops(scene):
    """it ends when it is told to, and its socket stays for the next"""
    assert user("stop", f"{UNIT}.service").returncode == 0
    result = user("show", f"{UNIT}.service", "-p", "Result").stdout.strip()
    assert result == "Result=success", result
    assert os.path.exists(scene.socket)


def main():
    global SANDTEST, HOG
    SANDTEST, HOG = (os.path.abspath(path) for path in sys.argv[1:3])
    tests = [(name, test) for name, test in sorted(globals().items()) if re.match(r"t\d\d_", name)]
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers") or user("is-system-running").stdout.strip() == "":
        print("-- all of it: there is no systemd user manager with unified cgroups")
        print(f"0 passed, 0 failed, {len(tests)} skipped")
        return 0
    scene, failed = Scene(), 0
    try:
        for name, test in tests:
            try:
                test(scene)
                print(f"ok    {test.__doc__}", flush=True)
            except Exception as error:
                failed += 1
                print(f"FAILED {test.__doc__}: {type(error).__name__}: {error}", flush=True)
    finally:
        log = run("journalctl", "--user", "-u", f"{UNIT}.service", "-n", "30", "--no-pager").stdout if failed else ""
        scene.close()
    print(log + f"{len(tests) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


sys.exit(main())
