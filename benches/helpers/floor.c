/* floor LIST: runs each line of LIST (words split at spaces) with posix_spawn, one after the other, waits for each,
 * and prints how many milliseconds all took. No limits, no capture, no verdict: the floor. gcc -O2 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    static char *lines[100000];
    size_t count = 0, room = 0;
    char *line = 0;
    FILE *list = argc > 1 ? fopen(argv[1], "r") : 0;
    if (!list)
        return 2;
    while (count < 100000 && getline(&line, &room, list) > 0)
        lines[count++] = strdup(strtok(line, "\n"));
    double begin = now();
    for (size_t i = 0; i < count; i++) {
        char *words[8] = {0};
        pid_t pid;
        int status, n = 0;
        for (char *word = strtok(lines[i], " "); word && n < 7; word = strtok(0, " "))
            words[n++] = word;
        if (posix_spawn(&pid, words[0], 0, 0, words, environ) || waitpid(pid, &status, 0) != pid || status)
            return 1;
    }
    printf("%.6f\n", now() - begin);
    return 0;
}
