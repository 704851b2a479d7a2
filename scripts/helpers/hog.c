/* A test of known size: hog MIB SECONDS. Touches MIB of memory as fast as it can, holds it for SECONDS. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    if (argc > 3) prctl(PR_SET_NAME, argv[3]);
    size_t bytes = (size_t)atol(argv[1]) << 20;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 3;
    for (size_t at = 0; at < bytes; at += 4096) memory[at] = 1;
    double seconds = atof(argv[2]);
    struct timespec rest = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&rest, NULL);
    return memory[bytes - 4096] == 1 ? 0 : 4;
}
