"""Of sandtest, for `pytest -n`: a worker of pytest-xdist asks for a cgroup of its own, and notes the test that it is at.

Python imports this before anything else. It leaves nothing behind where there is no such worker.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def step_aside():
    """What else is called sitecustomize is imported in our place."""
    sys.path[:] = [folder for folder in sys.path if folder != HERE]
    ours = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        # What one that is there could not import is told as ever.
        if error.name != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = ours


def words():
    with open("/proc/self/cmdline", "rb") as file:
        return file.read().split(b"\0")[:-1]


def ask():
    """Goes through the wrapper, which becomes this very command again."""
    command = words()
    # What execnet starts; nothing of it is read yet.
    if command[-2:] == [b"-c", b"import sys;exec(eval(sys.stdin.readline()))"]:
        os.environ["SANDTEST_ASKED"] = "1"
        os.execv(os.path.join(os.path.dirname(HERE), "run-wrapper"), [b"run-wrapper"] + command)


def forget():
    """Tests see the environment that they would have without us."""
    rest = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder != HERE]
    if rest:
        os.environ["PYTHONPATH"] = os.pathsep.join(rest)
    else:
        os.environ.pop("PYTHONPATH", None)
    del os.environ["SANDTEST_ASKED"]


def note(path):
    """pytest tells in a variable of its own process which test it is at. Nobody else could see that."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    # As they are now: tests put others in their place. And no file stays open, whose number a test could close and have again.
    own, putenv, unsetenv = os.getpid(), os.putenv, os.unsetenv
    getpid, open_file, pwrite, close = os.getpid, os.open, os.pwrite, os.close

    def write(name, value):
        if name == b"PYTEST_CURRENT_TEST" and getpid() == own:
            try:
                file = open_file(path, flags, 0o600)
                try:
                    pwrite(file, value + b"\0", 0)
                finally:
                    close(file)
            except OSError:
                pass

    def put(name, value):
        putenv(name, value)
        write(name, value)

    def unset(name):
        unsetenv(name)
        write(name, b"")

    os.putenv, os.unsetenv = put, unset


try:
    if "SANDTEST_ASKED" in os.environ:
        forget()
        if "SANDTEST_NOTE" in os.environ:
            note(os.environ.pop("SANDTEST_NOTE"))
    elif "SANDTEST_RUNNER" in os.environ:
        ask()
except Exception as error:
    sys.stderr.write("sandtest: warning: a worker has no cgroup of its own: %s\n" % (error,))
step_aside()
