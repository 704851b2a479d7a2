/* A test of known size: hog MIB SECONDS [RATE [NAME]]. Touches MIB of memory, RATE MiB a second (0: as fast as it
 * can), and holds it for SECONDS. NAME is what it calls itself. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static void rest(double seconds) {
    struct timespec time = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    size_t bytes = (size_t)atol(argv[1]) * MIB;
    double rate = argc > 3 ? atof(argv[3]) : 0;
    if (argc > 4) prctl(PR_SET_NAME, argv[4]);
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 3;
    double begin = now();
    for (size_t at = 0; at < bytes; at += 4096) {
        memory[at] = 1;
        if (rate > 0 && at % MIB == 0) {
            double ahead = begin + (double)(at / MIB) / rate - now();
            if (ahead > 0) rest(ahead);
        }
    }
    rest(atof(argv[2]));
    return bytes && memory[bytes - 4096] != 1 ? 4 : 0;
}
