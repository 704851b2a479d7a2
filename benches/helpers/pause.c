/* pause FILE: sleeps 60 ms; appends when it began and when it ended to FILE, nanoseconds. gcc -O2 -static */
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    int64_t stamps[2] = {now(), 0};
    struct timespec span = {0, 60000000};
    int file = argc > 1 ? open(argv[1], O_WRONLY | O_APPEND) : -1;
    nanosleep(&span, 0);
    stamps[1] = now();
    return write(file, stamps, sizeof stamps) != sizeof stamps;
}
