"""A suite with a pool of buffers: its watchers were abandoned after a join of one second, with the buffers that they
held, and the next test waits for the pool for ever."""
import threading

pool = threading.Semaphore(4)
for_ever = threading.Event()


def watcher():
    with pool: for_ever.wait()


watchers = [threading.Thread(target=watcher, daemon=True) for _ in range(4)]
[thread.start() for thread in watchers]
[thread.join(0.05) for thread in watchers]  # abandoned
print("next test: waiting for a buffer", flush=True)
pool.acquire()
