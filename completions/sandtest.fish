# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sandtest_global_optspecs
    string join \n h/help V/version
end

function __fish_sandtest_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sandtest_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sandtest_using_subcommand
    set -l cmd (__fish_sandtest_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sandtest -n "__fish_sandtest_needs_command" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_needs_command" -s V -l version -d 'Print version'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "exec" -d 'Run a command, its shards or a list of commands, each in a cgroup of its own'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "show" -d 'Show the report of the last run again, or write it in another form'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "why" -d 'Tell what became of a job of the last run, and why: waits, freezes, evictions, ends'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "doctor" -d 'Tell what this environment allows, what is missing, and how to get it'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "profile" -d 'List, show and check profiles'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "run-wrapper" -d 'Become a test, in a cgroup of its own: put before tests by sandtest exec, or by hand'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "serve" -d 'Share one budget among all runs of a user, or of the box'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "service" -d 'Put the broker in place as a service of systemd\'s, take it away, or tell of it'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "status" -d 'Tell how things stand at the broker: runs, jobs, memory, who waits for what'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "top" -d 'Watch that live, and freeze or kill jobs of your own'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "replay" -d 'Step through a recorded run again and print what the governor decided'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "simulate" -d 'Run modelled jobs on a modelled machine, to see what the governor would do'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "completions" -d 'Print what a shell completes behind `sandtest`'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "man" -d 'Write the manual'
complete -c sandtest -n "__fish_sandtest_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -s p -l profile -d 'Profile: a name, a file, or `auto` for the one of this environment' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l memory -d 'memory.max of each job, such as 512M, 2GiB or 50% of the budget; `max` for none but the budget\'s' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l pids -d 'pids.max of each job: processes and threads; `max` for none' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l cpus -d 'cpu.max of each job, such as 1.5 or 150%; `max` for none' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l reserve -d 'Memory that is kept for the editor and everything else: a size, a percentage, or `auto`' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l max-pressure -d 'Start nothing while memory, disk or the editor\'s processors are waited for longer than this, such as 40%' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l governor -d 'Hold, freeze or evict jobs before memory runs out; `off` starts as many as there are slots' -r -f -a "on\t'Hold, freeze or evict jobs before memory runs out'
off\t'Start as many as there are slots'"
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l isolation -d 'Refuse to run without limits held by the kernel, run with what there is, or run bare' -r -f -a "required\t'Refuse to run unless the kernel holds every limit'
if-available\t'Run with what there is, and say so'
off\t'Run bare'"
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l jobs-from -d 'One command a line, in shell words; `-` for standard input' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l shards -d 'Run the command N times, each with its part: {shard} of {shards}, TEST_SHARD_INDEX, GTEST_SHARD_INDEX' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l each -d 'Make a job of each test binary (or file), or of each test, of: cargo test, pytest, or test binaries by their paths' -r -f -a "binary\t'A test binary, or a file of tests'
test\t'A test'"
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -s E -l filter -l filterset -d 'Run only jobs that the expression means, such as \'binary(cli) & test(~parse)\', as nextest has it; several: any of them' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l partition -d 'Run part M of N: slice:M/N and count:M/N in turn over all or within each binary, hash:M/N by name' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l no-tests -d 'What it is if there is nothing to run: fail (exit code 4) or pass' -r -f -a "fail\t'Exit code 4'
pass\t'Exit code 0'"
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l list-timeout -d 'Time in which a test binary has to list its tests [default: 1min]' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l source-step -d 'This is a step of another sandtest: a build, or a test binary that lists its tests' -r -f -a "build\t'To build: under the budget, and no limit of a job\'s'
list\t'To have a test binary list its tests: under a job\'s limits, in its time'"
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -s j -l jobs -d 'Jobs at once [default: what the profile says]' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l max-fail -d 'Start nothing more after N failures, and end what runs with N:immediate; `all` for never [default: 1]' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l timeout -d 'Time for each job, such as 90s or 10min; `none` for no end' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l grace -d 'Time between the stop signal and the kill' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l run-timeout -d 'Time for the whole run; `none` for no end' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l idle-timeout -d 'Time in which a job may use no processor and write nothing; `none` for no end' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l slow-after -d 'Tell of a job that takes longer than this, such as 30s; `none` for never' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l retries -d 'Try a job that failed up to N times more, without delay' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l flaky-result -d 'What a job that failed and then passed counts as: pass or fail' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l leak -d 'What is made of things that a job leaves behind: warn or fail' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l broker -d 'Share one budget with other runs: through a broker where one serves, start one, refuse to run without, or never' -r -f -a "auto\t'If one is there; else the run goes by itself'
start\t'If none is there, one is started, which ends when nobody has been there for ten minutes'
require\t'Refuse to run without one'
never\t'The run goes by itself'"
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l wait -d 'Give up if nothing of the run could be started in this time; `none` for never [default: none]' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l priority -d 'Whether you wait for it: batch goes after your interactive runs' -r -f -a "interactive\t'Somebody waits for it'
batch\t'Nobody does'"
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l weight -d 'For how many of your other runs it counts where memory and processors are shared out' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l record -d 'Write all that the governor sees and decides to FILE, for sandtest replay' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l json -d 'Write an event a line to FILE' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l junit -d 'Write JUnit XML to FILE' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l html -d 'Write a page to FILE that a browser shows: timeline, memory, every job' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l tap -d 'Write TAP to FILE, for prove and Jenkins' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l libtest-json -d 'Write the lines of cargo test\'s --format json to FILE' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l trace -d 'Write a trace to FILE, for ui.perfetto.dev and chrome://tracing' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l github -d 'Annotate what failed, and append to the job\'s summary: `auto` under GitHub Actions' -r -f -a "auto\t'If GITHUB_ACTIONS is `true`'
on\t'Always'
off\t'Never'"
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l list -d 'Print what would be run, a job a line, and run nothing'
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l jobserver -d 'Give builds in the jobs a jobserver (make 4.4, cargo, ninja 1.13, gcc -flto): with the jobs they share -j places'
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l no-runner -d 'Leave the test binaries that the command starts in the command\'s own cgroup'
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -l no-fail-fast -d 'Run all jobs even if one fails'
complete -c sandtest -n "__fish_sandtest_using_subcommand exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandtest -n "__fish_sandtest_using_subcommand show" -l run -d 'The run, by its id or the beginning of it [default: the last one]' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand show" -l json -d 'Write an event a line to FILE' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand show" -l junit -d 'Write JUnit XML to FILE' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand show" -l html -d 'Write a page to FILE that a browser shows: timeline, memory, every job' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand show" -l tap -d 'Write TAP to FILE, for prove and Jenkins' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand show" -l libtest-json -d 'Write the lines of cargo test\'s --format json to FILE' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand show" -l trace -d 'Write a trace to FILE, for ui.perfetto.dev and chrome://tracing' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand show" -l github -d 'Annotate what failed, and append to the job\'s summary: `auto` under GitHub Actions' -r -f -a "auto\t'If GITHUB_ACTIONS is `true`'
on\t'Always'
off\t'Never'"
complete -c sandtest -n "__fish_sandtest_using_subcommand show" -l list -d 'List the runs that are kept, the last one last'
complete -c sandtest -n "__fish_sandtest_using_subcommand show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandtest -n "__fish_sandtest_using_subcommand why" -l run -d 'The run, by its id or the beginning of it [default: the last one]' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand why" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand doctor" -l json -d 'Print the report as JSON'
complete -c sandtest -n "__fish_sandtest_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and not __fish_seen_subcommand_from list show check help" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and not __fish_seen_subcommand_from list show check help" -f -a "list" -d 'List the profiles that there are, and the one for this environment'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and not __fish_seen_subcommand_from list show check help" -f -a "show" -d 'Print a profile as its file has it'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and not __fish_seen_subcommand_from list show check help" -f -a "check" -d 'Say whether a file is a profile, or a project\'s file, and right'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and not __fish_seen_subcommand_from list show check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and __fish_seen_subcommand_from show" -l resolved -d 'Print what it comes to on this host, with the origin of each value'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the profiles that there are, and the one for this environment'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print a profile as its file has it'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and __fish_seen_subcommand_from help" -f -a "check" -d 'Say whether a file is a profile, or a project\'s file, and right'
complete -c sandtest -n "__fish_sandtest_using_subcommand profile; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sandtest -n "__fish_sandtest_using_subcommand run-wrapper" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -l socket -d 'Where to listen [default: $XDG_RUNTIME_DIR/sandtest/broker.sock, or /run/sandtest/broker.sock]' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -l scope -d 'Serve one user, or all of them' -r -f -a "user\t'This user\'s'
system\t'All users\''"
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -l idle-exit -d 'End after so long without a run, such as 10min; `none` for never' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -l user -d 'With --scope system: what one user may have, such as dev=weight:2,memory:8GiB,jobs:4' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -l metrics-socket -d 'Where metrics are read [default: metrics.sock beside the socket]' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -l metrics-listen -d 'Let metrics be read on a loopback port, too, such as 127.0.0.1:9464: by everybody on this machine' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -s p -l profile -d 'Profile: a name, a file, or `auto` for the one of this environment' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -l reserve -d 'Memory that is kept for the editor and everything else: a size, a percentage, or `auto`' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -l max-pressure -d 'Start nothing while memory, disk or the editor\'s processors are waited for longer than this, such as 40%' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -s j -l jobs -d 'Jobs at once, whatever processors they use; more only while those idle [default: what the profile says]' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -l background -d 'Return once it serves, and let it go on in the background'
complete -c sandtest -n "__fish_sandtest_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and not __fish_seen_subcommand_from install uninstall status help" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and not __fish_seen_subcommand_from install uninstall status help" -f -a "install" -d 'Put the units in place and listen on the socket; the first run starts the broker'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and not __fish_seen_subcommand_from install uninstall status help" -f -a "uninstall" -d 'Stop the broker and take the units away; runs go on without it'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and not __fish_seen_subcommand_from install uninstall status help" -f -a "status" -d 'Tell what there is. Exit code 3 if nobody listens, 4 if it is not installed'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and not __fish_seen_subcommand_from install uninstall status help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and __fish_seen_subcommand_from install" -l system -d 'For all users of this machine, as root; without it for yourself'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and __fish_seen_subcommand_from uninstall" -l system -d 'For all users of this machine, as root; without it for yourself'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and __fish_seen_subcommand_from uninstall" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and __fish_seen_subcommand_from status" -l system -d 'For all users of this machine, as root; without it for yourself'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "install" -d 'Put the units in place and listen on the socket; the first run starts the broker'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "uninstall" -d 'Stop the broker and take the units away; runs go on without it'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "status" -d 'Tell what there is. Exit code 3 if nobody listens, 4 if it is not installed'
complete -c sandtest -n "__fish_sandtest_using_subcommand service; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sandtest -n "__fish_sandtest_using_subcommand status" -l socket -d 'Where the broker listens [default: where a run would ask]' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand status" -l json -d 'Print what the broker says as JSON'
complete -c sandtest -n "__fish_sandtest_using_subcommand status" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand top" -l interval -d 'Ask the broker this often' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand top" -l socket -d 'Where the broker listens [default: where a run would ask]' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand top" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand replay" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand simulate" -l family -d 'The kind of suites; all unless given' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand simulate" -l cases -d 'How many suites of each kind; one of one family is told in full' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand simulate" -l seed -d 'The first seed; the others follow it' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand simulate" -l law -d 'Whose law' -r
complete -c sandtest -n "__fish_sandtest_using_subcommand simulate" -l psi -d 'Whether the kernel tells who waits; left to the seed unless given' -r -f -a "on\t''
off\t''"
complete -c sandtest -n "__fish_sandtest_using_subcommand simulate" -l swap -d 'Where memory goes when there is none left; left to the seed unless given' -r -f -a "none\t''
512M\t''
zram\t''"
complete -c sandtest -n "__fish_sandtest_using_subcommand simulate" -l plot -d 'Write a picture of the run: of a scene, or of one family with --cases 1' -r -F
complete -c sandtest -n "__fish_sandtest_using_subcommand simulate" -l declared -d 'Tell the law the exact sizes beforehand'
complete -c sandtest -n "__fish_sandtest_using_subcommand simulate" -l shuffled -d 'Leave the order of the demonstrations\' lists to the seed'
complete -c sandtest -n "__fish_sandtest_using_subcommand simulate" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand completions" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand man" -s h -l help -d 'Print help'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "exec" -d 'Run a command, its shards or a list of commands, each in a cgroup of its own'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "show" -d 'Show the report of the last run again, or write it in another form'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "why" -d 'Tell what became of a job of the last run, and why: waits, freezes, evictions, ends'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "doctor" -d 'Tell what this environment allows, what is missing, and how to get it'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "profile" -d 'List, show and check profiles'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "run-wrapper" -d 'Become a test, in a cgroup of its own: put before tests by sandtest exec, or by hand'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "serve" -d 'Share one budget among all runs of a user, or of the box'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "service" -d 'Put the broker in place as a service of systemd\'s, take it away, or tell of it'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "status" -d 'Tell how things stand at the broker: runs, jobs, memory, who waits for what'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "top" -d 'Watch that live, and freeze or kill jobs of your own'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "replay" -d 'Step through a recorded run again and print what the governor decided'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "simulate" -d 'Run modelled jobs on a modelled machine, to see what the governor would do'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "completions" -d 'Print what a shell completes behind `sandtest`'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "man" -d 'Write the manual'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and not __fish_seen_subcommand_from exec show why doctor profile run-wrapper serve service status top replay simulate completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and __fish_seen_subcommand_from profile" -f -a "list" -d 'List the profiles that there are, and the one for this environment'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and __fish_seen_subcommand_from profile" -f -a "show" -d 'Print a profile as its file has it'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and __fish_seen_subcommand_from profile" -f -a "check" -d 'Say whether a file is a profile, or a project\'s file, and right'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "install" -d 'Put the units in place and listen on the socket; the first run starts the broker'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "uninstall" -d 'Stop the broker and take the units away; runs go on without it'
complete -c sandtest -n "__fish_sandtest_using_subcommand help; and __fish_seen_subcommand_from service" -f -a "status" -d 'Tell what there is. Exit code 3 if nobody listens, 4 if it is not installed'
