#!/usr/bin/env python3
"""The broker as a service of systemd's, in a guest.

usage: broker.py SANDTEST [PART-OF-A-NAME]

As dev: the user's service. As root: the system's, with users dev and dev2, and the folder of SANDTEST for all to read.
Needs a guest with systemd and cgroup v2 (scripts/lab/run-in-vm). What a user can't show is skipped, counted and named.
"""
import contextlib, glob, json, os, re, signal, socket, subprocess, sys, tempfile, time

SANDTEST = None
TESTS, SKIPPED = [], []
SLOW = float(os.environ.get("SANDTEST_SLOWDOWN", "1"))  # the guest starts processes 60 to 100 times slower
ROOT = os.geteuid() == 0
OPTION = ["--system"] if ROOT else []
SYSTEMCTL = ["systemctl"] if ROOT else ["systemctl", "--user"]
UNITS = "/etc/systemd/system" if ROOT else os.path.expanduser("~/.config/systemd/user")
SOCKET = "/run/sandtest/broker.sock" if ROOT else f"/run/user/{os.getuid()}/sandtest/broker.sock"


def test(f): TESTS.append(f); return f


class Skip(Exception): pass


def call(*words, code=0, **kind):
    """Runs it; what it printed. Fails if it ends otherwise than by `code`."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60 * max(1, SLOW / 10), **kind)
    assert done.returncode == code, f"{' '.join(words)}: {done.returncode}, wanted {code}: {done.stdout}{done.stderr}"
    return done.stdout


def equal(what, got, wanted): assert got == wanted, f"{what}: {got!r}, wanted {wanted!r}"


def eventually(what, holds, seconds=1.0):
    end = time.monotonic() + seconds * max(1, SLOW / 10)
    while not holds():
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.01)


def service(verb, code=0): return call(SANDTEST, "service", verb, *OPTION, code=code)


def show(unit, name): return call(*SYSTEMCTL, "show", "--value", f"--property={name}", unit).strip()


@contextlib.contextmanager
def installed():
    service("install")
    try: yield
    finally: service("uninstall")


class Client:
    """Speaks the protocol, line by line."""
    def __init__(self, path=SOCKET):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20 * max(1, SLOW / 10))
        self.socket.connect(path)
        self.lines = self.socket.makefile("r")

    def say(self, **message): self.socket.sendall(json.dumps(message).encode() + b"\n")
    def hear(self): return json.loads(self.lines.readline())
    def hello(self, **more):
        self.say(type="hello", version=1, run=f"t-{os.getpid()}", parallel=4, groups=[], **more)
        return self.hear()


@test
def b01_the_service_is_put_in_place_and_nothing_is_left_of_it():
    before = set(glob.glob(f"{UNITS}/**", recursive=True))
    service("status", code=4)
    for _ in range(2):
        service("install")
        equal("the socket", (show("sandtest.socket", "ActiveState"), show("sandtest.socket", "UnitFileState")), ("active", "enabled"))
    equal("its mode", oct(os.stat(SOCKET).st_mode & 0o777), oct(0o666 if ROOT else 0o600))
    equal("the broker", show("sandtest.service", "ActiveState"), "inactive")
    service("status")
    call(*SYSTEMCTL, "stop", "sandtest.socket")
    service("status", code=3)
    for _ in range(2): service("uninstall")
    service("status", code=4)
    equal("units left", set(glob.glob(f"{UNITS}/**", recursive=True)) - before, set())
    assert not os.path.exists(os.path.dirname(SOCKET)), os.listdir(os.path.dirname(SOCKET))
    equal("units known", call(*SYSTEMCTL, "list-units", "--all", "--no-legend", "sandtest*").strip(), "")


@test
def b02_sudo_and_no_manager_are_told_with_the_way_out():
    if ROOT:
        done = subprocess.run([SANDTEST, "service", "install"], env={**os.environ, "SUDO_USER": "dev"}, capture_output=True, text=True)
        wanted = "not dev's\nfix: sandtest service install"
    else:
        done = subprocess.run([SANDTEST, "service", "install", "--system"], capture_output=True, text=True)
        wanted = "root's to put in place"
    equal("exit", done.returncode, 125)
    assert wanted in done.stderr, done.stderr
    environment = {name: value for name, value in os.environ.items() if name not in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")}
    if ROOT: return
    # Without PAM's variables the folder is found by the user's number; with wrong ones nobody answers.
    call(SANDTEST, "service", "status", code=4, env=environment)
    done = subprocess.run([SANDTEST, "service", "install"], env={**environment, "XDG_RUNTIME_DIR": "/nowhere"}, capture_output=True, text=True)
    equal("exit", done.returncode, 125)
    assert "doesn't answer: Failed to connect" in done.stderr and "\nfix: " in done.stderr, done.stderr


@test
def b03_systemd_finds_nothing_wrong_with_the_units():
    with installed():
        units = sorted(glob.glob(f"{UNITS}/sandtest.*"))
        equal("units", len(units), 3)
        scope = [] if ROOT else ["--user"]
        done = subprocess.run(["systemd-analyze", *scope, "verify", *units], capture_output=True, text=True)
        equal("verify", (done.returncode, done.stdout + done.stderr), (0, ""))
        # What is asked for and not there is named in the unit, with the reason.
        found = json.loads(call("systemd-analyze", *scope, "security", "--json=short", "sandtest.service"))
        said = "".join(line for line in open(f"{UNITS}/sandtest.service") if line.startswith("#"))
        left = [f["name"] for f in found if f["set"] is False]
        unsaid = [name for name in left if not any(part.split("=")[0] + "=" in said for part in name.split("/"))]
        equal("findings without a reason", unsaid, [])
        assert len(found) > 60, f"only {len(found)} findings: is the list still read?"
        if ROOT: assert sum(float(f["exposure"] or 0) for f in found if f["set"] is False) < 2, left


@test
def b04_the_first_that_connects_starts_the_broker():
    with installed():
        equal("before", show("sandtest.service", "ActiveState"), "inactive")
        welcome = Client().hello()
        equal("greeting", (welcome["type"], welcome["scope"]), ("welcome", "system" if ROOT else "user"))
        equal("after", show("sandtest.service", "ActiveState"), "active")
        pid = int(show("sandtest.service", "MainPID"))
        status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
        equal("privileges", (status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        equal("capabilities", int(status["CapEff"], 16), 2 if ROOT else 0)
        assert int(open(f"/proc/{pid}/oom_score_adj").read()) == (-900 if ROOT else 100)
        assert "sandtest.slice" not in open(f"/proc/{pid}/cgroup").read()


@test
def b05_a_broker_that_hangs_is_started_again():
    with installed():
        Client().hello()
        pid = show("sandtest.service", "MainPID")
        os.kill(int(pid), signal.SIGSTOP)
        # The watchdog's time, and what systemd needs to notice.
        eventually("the watchdog did nothing", lambda: show("sandtest.service", "MainPID") not in (pid, "0"), 60 / max(1, SLOW / 10) + 60)
        equal("the new one", Client().hello()["type"], "welcome")


def main(args):
    global SANDTEST
    if not args or args[0] in ("-h", "--help"): sys.exit(__doc__)
    SANDTEST = os.path.abspath(args.pop(0))
    only = args[0] if args else ""
    print(f"the broker's service as uid {os.geteuid()}", flush=True)
    passed = failed = 0
    for f in (f for f in TESTS if only in f.__name__):
        begin = time.monotonic()
        try: f(); passed += 1
        except Skip as why: SKIPPED.append(f"{f.__name__}: {why}"); continue
        except Exception as e:
            failed += 1
            print("FAIL ", f.__name__, "-", str(e)[:1500] or type(e).__name__, flush=True)
            continue
        print(f"ok    {f.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
    for line in SKIPPED: print("skip ", line)
    print(f"{passed} passed, {failed} failed, {len(SKIPPED)} skipped")
    sys.exit(1 if failed else 0)


main(sys.argv[1:])
