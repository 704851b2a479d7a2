"""What the tests of the lab share: what is alive, waiting for what is to come, and playing one after the other."""
import glob, os, re, signal, sys, time

SLOW = float(os.environ.get("SANDTEST_SLOWDOWN", "1"))  # the guest starts processes 60 to 100 times slower
TESTS = []
STARTED = set()                                         # sandtests that a test has started: a run's id ends in its process id


def test(f): TESTS.append(f); return f


class Skip(Exception): pass


class Result: pass


def equal(what, got, wanted): assert got == wanted, f"{what}: {got!r}, wanted {wanted!r}"


def eventually(what, holds, seconds=1.0):
    end = time.monotonic() + seconds * max(1, SLOW / 10)
    while not holds():
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.01)


def alive(mark):
    """Processes that carry the mark in their command line."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try: words = open(path, "rb").read().split(b"\0")
        except OSError: continue
        if mark.encode() in words and str(os.getpid()) != path.split("/")[2]: found.append(int(path.split("/")[2]))
    return found


def groups():
    """Groups of the runs started here, anywhere; others may run beside us."""
    found = glob.glob("/sys/fs/cgroup/**/sandtest-*", recursive=True)
    ours = lambda d: re.search(r"-(\d+)(\.scope)?$", d)
    return [d for d in found if os.path.isdir(d) and ours(d) and int(ours(d)[1]) in STARTED]


def play(tests, after_a_failure=lambda: None, at_the_end=lambda: None):
    """A line a test, what was left out, the counts; ends this program."""
    passed, failed, skipped = 0, 0, []
    for f in tests:
        begin = time.monotonic()
        try: f(); passed += 1
        except Skip as why: skipped.append(f"{f.__name__}: {why}"); continue
        except Exception as e:
            failed += 1
            print("FAIL ", f.__name__, "-", str(e)[-1500:] or type(e).__name__, flush=True)
            after_a_failure()
            continue
        print(f"ok    {f.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
    at_the_end()
    for line in skipped: print("skip ", line)
    print(f"{passed} passed, {failed} failed, {len(skipped)} skipped")
    sys.exit(1 if failed else 0)


def kill(pids):
    for pid in pids: os.kill(pid, signal.SIGKILL)
