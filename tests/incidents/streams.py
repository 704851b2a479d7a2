"""A suite of network streams: 100 connections that, asked to end, ignore it at first and then clean up slowly.

On a time-out they kept running and cleaning up all at once, and the next try started on top of them. The first attempt
hangs; the second says whether anything of the first is still there, and passes if not.
"""
import os, signal, socket, sys, threading, time

PIDS = "streams.pids"


def stream(peer):
    with peer:
        while peer.recv(4096): pass
        time.sleep(30)  # cleans up


def hang():
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(time.monotonic()))
    server = socket.create_server(("127.0.0.1", 0), backlog=200)
    clients = [socket.create_connection(server.getsockname()) for _ in range(100)]
    threads = [threading.Thread(target=stream, args=server.accept()[:1]) for _ in clients]
    [thread.start() for thread in threads]
    if os.fork() == 0: os.setsid()  # and a helper that no signal to the group reaches
    with open(PIDS, "a") as pids: pids.write(f"{os.getpid()}\n")
    while True: time.sleep(0.2)


def state(pid):
    try: return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
    except OSError: return "gone"


def check():
    # What is dead uses no processor, whether init has noticed or not.
    alive = [pid for pid in open(PIDS).read().split() if state(pid) not in ("Z", "X", "gone")]
    if alive: sys.exit(f"of the attempt before there still are {alive}")


check() if os.environ["SANDTEST_ATTEMPT"] != "1" else hang()
