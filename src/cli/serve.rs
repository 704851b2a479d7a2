//! `sandtest serve`: one budget for all runs of a user, or of the box.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};

use super::exit_code::{OK, OWN_FAILURE};
use super::settings::{self, Overrides, Settings};
use super::terms::UserTerms;
use crate::broker::protocol::Scope;
use crate::broker::server::{Config, Listening, Outside, Scrape, View, serve};
use crate::broker::socket;
use crate::kernel::{handed, process};
use crate::model::Limits;
use crate::profile::values::{Percent, Reserve, Timeout, option};
use crate::run::look::Outlook;
use crate::systemd::{ScopeError, notify, slice};

/// Options of `sandtest serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Where to listen [default: $XDG_RUNTIME_DIR/sandtest/broker.sock, or /run/sandtest/broker.sock]
    #[arg(long, value_name = "PATH", help_heading = "Who is served")]
    socket: Option<PathBuf>,
    /// Serve one user, or all of them
    #[arg(long, value_name = "SCOPE", default_value = "user", help_heading = "Who is served")]
    scope: ForWhom,
    /// End after so long without a run, such as 10min; `none` for never
    #[arg(long, value_name = "TIME", value_parser = option::<Timeout>, help_heading = "Who is served")]
    idle_exit: Option<Timeout>,
    /// With --scope system: what one user may have, such as dev=weight:2,memory:8GiB,jobs:4
    #[arg(long = "user", value_name = "WHO=TERMS", help_heading = "Who is served")]
    users: Vec<UserTerms>,
    /// Return once it serves, and let it go on in the background
    #[arg(long, help_heading = "Who is served")]
    background: bool,

    /// Where metrics are read [default: metrics.sock beside the socket]
    #[arg(long, value_name = "PATH", help_heading = "Who looks on")]
    metrics_socket: Option<PathBuf>,
    /// Let metrics be read on a loopback port, too, such as 127.0.0.1:9464: by everybody on this machine
    #[arg(long, value_name = "ADDRESS", help_heading = "Who looks on")]
    metrics_listen: Option<SocketAddr>,

    /// Profile: a name, a file, or `auto` for the one of this environment
    #[arg(short, long, default_value = "auto", value_name = "NAME|FILE", help_heading = "What may be used")]
    profile: String,
    /// Memory that is kept for the editor and everything else: a size, a percentage, or `auto`
    #[arg(long, value_name = "SIZE", value_parser = option::<Reserve>, help_heading = "What may be used")]
    reserve: Option<Reserve>,
    /// Start nothing while memory, disk or the editor's processors are waited for longer than this, such as 40%
    #[arg(long, value_name = "PERCENT", value_parser = option::<Percent>, help_heading = "What may be used")]
    max_pressure: Option<Percent>,
    /// Jobs at once, whatever processors they use; more only while those idle [default: what the profile says]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "What may be used")]
    jobs: Option<u32>,
}

const EXAMPLES: &str = "Examples:
  sandtest serve                              for this user's runs, until it is told to end
  sandtest serve --background --idle-exit 10min
  sandtest serve --scope system               for all users, as root
  sandtest serve --socket /tmp/b.sock         then SANDTEST_BROKER=/tmp/b.sock sandtest exec ...";

/// Whose runs are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ForWhom {
    /// This user's
    User,
    /// All users'
    System,
}

/// In the background, the one line that says that it serves.
const READY: &str = "ready";

/// Set for the process in the background.
const IN_BACKGROUND: &str = "SANDTEST_SERVE_IN_BACKGROUND";

/// Serves until it is told to end, and returns the exit code.
pub fn run(args: &ServeArgs) -> u8 {
    let served = if args.background { background() } else { try_run(args) };
    match served {
        Ok(()) => OK,
        Err(message) => {
            tell(&message);
            OWN_FAILURE
        }
    }
}

fn try_run(args: &ServeArgs) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    if !args.users.is_empty() && args.scope == ForWhom::User {
        return Err("--user is for a broker of all users: --scope system".to_owned());
    }
    let handed = handed::take().map_err(|error| format!("what LISTEN_FDS names: {error}"))?;
    let in_background = std::env::var_os(IN_BACKGROUND).is_some();
    if in_background {
        // Not of the terminal that started us, nor of its jobs.
        nix::unistd::setsid().map_err(|error| format!("leave the session: {error}"))?;
    }
    let overrides = Overrides { reserve: args.reserve, stall: args.max_pressure, ..Overrides::default() };
    let settings = settings::resolve(&args.profile, &overrides).map_err(|error| text(&error))?;
    let profile = &settings.profile;
    let outlook = Outlook {
        memory: settings.visible.visible_memory,
        cpus: settings.visible.cpus,
        usual_jobs: args.jobs.map_or(profile.jobs.max, |jobs| jobs as usize),
        own_machine: settings.environment.owns_proc(),
        editor: settings.protected.group.clone(),
    };
    // Four for each client, and some for each of its jobs.
    process::raise_nofile();
    let scope = match args.scope {
        ForWhom::User => Scope::User,
        ForWhom::System => Scope::System,
    };
    // Before there is a socket to connect to.
    let mut scrape = Scrape::new();
    let port = as_asked(&mut scrape, args, scope)?;
    let listening = match handed.into_iter().next() {
        Some(socket) => Listening::handed(socket),
        None => Listening::at(&args.socket.clone().unwrap_or_else(|| socket::usual(scope)), scope),
    };
    let listening = listening.map_err(|error| text(&error))?;
    if listening.path() == socket::usual(scope) {
        limit_slice(&profile.budget);
    }
    let mut config = Config::new(scope, outlook.settings(profile), outside(&settings));
    let name = args.profile.clone();
    config.look_outside = Some(Box::new(move || match settings::resolve(&name, &overrides) {
        Ok(settings) => Some(outside(&settings)),
        Err(error) => {
            tell(&format!("{error}; what was there before holds"));
            None
        }
    }));
    config.idle_exit = match args.idle_exit {
        Some(Timeout::After(time)) => Some(time),
        Some(Timeout::None) | None => None,
    };
    for terms in &args.users {
        config.agree(terms.uid, terms.weight, terms.memory, terms.jobs);
    }
    config.log = Box::new(tell);
    config.heartbeat = notify::watchdog().map(|every| (every, notify::alive as fn()));
    let budget = profile.budget.memory_max.map_or("all that there is".to_owned(), |bytes| bytes.to_string());
    let status = format!("{} for {budget}, profile {}{port}", listening.path().display(), profile.name);
    let log = socket::beside(listening.path(), ".log");
    let lacks = as_usual(&mut scrape, args, listening.path(), scope);
    let served = serve(listening, config, |handle| {
        let lacks = scrape.spawn(&handle).err().map(|error| format!("no metrics: {error}")).or(lacks);
        notify::ready(&status);
        if in_background {
            let _ = writeln!(io::stdout(), "{READY}");
            part_from_terminal(&log);
        } else {
            tell(&format!("serving {status}"));
        }
        lacks.iter().for_each(|lacks| tell(lacks));
    });
    notify::stopping();
    served.map_err(|error| text(&error))
}

/// Has systemd keep the budget, too: what we write in the slice's files holds until its next `daemon-reload`.
fn limit_slice(budget: &Limits) {
    match slice::limit(budget) {
        // Without systemd there is no slice.
        Ok(()) | Err(ScopeError::NoBus { .. }) => {}
        Err(error) => tell(&format!("warning: {error}; its limits are written by the broker alone")),
    }
}

/// What there is beside the runs, here and now.
fn outside(settings: &Settings) -> Outside {
    Outside {
        budget: settings.profile.budget,
        view: View {
            own_machine: settings.environment.owns_proc(),
            editor: settings.protected.group.clone(),
        },
    }
}

/// Lets metrics be read where that is asked for. Returns the port's address, in words.
fn as_asked(scrape: &mut Scrape, args: &ServeArgs, scope: Scope) -> Result<String, String> {
    if let Some(path) = &args.metrics_socket {
        scrape.at_socket(path, scope).map_err(|error| error.to_string())?;
    }
    let Some(address) = args.metrics_listen else { return Ok(String::new()) };
    let bound = scrape.at_port(address).map_err(|error| format!("--metrics-listen {address}: {error}"))?;
    Ok(format!(", metrics at http://{bound}/metrics"))
}

/// Lets metrics be read beside the broker's socket if nobody said where. Nobody asked for that: if it can't be, that is no
/// reason not to serve, but told.
fn as_usual(scrape: &mut Scrape, args: &ServeArgs, socket: &Path, scope: Scope) -> Option<String> {
    if args.metrics_socket.is_some() {
        return None;
    }
    let error = scrape.at_socket(&socket::metrics(socket), scope).err()?;
    Some(format!("no metrics there: {error}"))
}

/// Starts the same in the background, and returns once it serves.
fn background() -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("find our own program: {error}"))?;
    let words = std::env::args_os().skip(1).filter(|word| word != "--background");
    let mut child = Command::new(&program)
        .args(words)
        .env(IN_BACKGROUND, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("start {}: {error}", program.display()))?;
    let mut line = String::new();
    let told = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    if matches!(told, Some(Ok(_))) && line.trim() == READY {
        return Ok(());
    }
    let ended = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    // What was wrong it has said itself.
    Err(format!("the broker did not come up: {ended}"))
}

/// Whoever reads what our starter writes must not wait for our end.
fn part_from_terminal(log: &Path) {
    let null = || File::options().read(true).write(true).open("/dev/null");
    let log = File::options().create(true).write(true).truncate(true).mode(0o600).open(log);
    if let Ok(log) = log.or_else(|_| null()) {
        let _ = nix::unistd::dup2_stderr(log);
    }
    if let Ok(null) = null() {
        let _ = nix::unistd::dup2_stdout(null);
    }
}

fn tell(message: &str) {
    let mut stderr = io::stderr().lock();
    let mark = if stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        "\u{1b}[1msandtest:\u{1b}[0m"
    } else {
        "sandtest:"
    };
    let _ = writeln!(stderr, "{mark} {message}");
}
