"""A suite whose threads sleep for 100 seconds and are joined without a time-out, while others pile up."""
import threading, time

threads = [threading.Thread(target=time.sleep, args=(100,), daemon=True) for _ in range(60)]
[thread.start() for thread in threads]
print("joining", flush=True)
[thread.join() for thread in threads]
