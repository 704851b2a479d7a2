"""A run of one command under `sandtest serve`: python3 client.py SOCKET COMMAND [ARGUMENT]... (docs/protocol.md)"""
import json, os, signal, socket, subprocess, sys, threading

broker = socket.socket(socket.AF_UNIX)
broker.connect(sys.argv[1])

def say(kind, **fields):  # fields that a message does not have are passed over
    broker.sendall(json.dumps({"type": kind, "job": 0, "attempt": 1, **fields}).encode() + b"\n")

def wait(child):
    child.wait()
    say("ended", how="finished")
    say("bye")

say("hello", version=1, run="client.py", parallel=1)
say("want", kin=sys.argv[2], restartable=False)
for message in map(json.loads, broker.makefile()):
    if message["type"] == "grant":
        child = subprocess.Popen(sys.argv[2:], start_new_session=True)
        say("born")
        threading.Thread(target=wait, args=[child]).start()
    elif message["type"] == "freeze":
        os.killpg(child.pid, signal.SIGSTOP)
        say("frozen")
    elif message["type"] == "thaw":
        os.killpg(child.pid, signal.SIGCONT)
    elif message["type"] in ("refused", "error"):
        sys.exit(message["message"])
sys.exit(child.returncode)
