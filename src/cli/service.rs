//! `sandtest service`: the broker as a service of systemd's, for one user or for all.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::answer::answer;
use super::exit_code::{OK, OWN_FAILURE};
use crate::broker::protocol::Scope;
use crate::broker::socket;
use crate::host::{self, HostView};
use crate::model::Bytes;
use crate::systemd::service::{Manager, ServiceError, Whose, place, status};

/// It is installed, and nobody listens on the socket: as `systemctl status` says it.
const NOT_RUNNING: u8 = 3;

/// It is not installed.
const NOT_INSTALLED: u8 = 4;

/// Of `sandtest service`.
pub const EXAMPLES: &str = "Examples:
  For yourself
    sandtest service install             from now on the first run starts the broker
    sandtest service status              whether it is there, and listened for
    sandtest service uninstall
  For all users of the machine, as root
    sandtest service install --system";

/// What to do with the service
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ServiceCommand {
    /// Put the units in place and listen on the socket; the first run starts the broker
    Install(ServiceArgs),
    /// Stop the broker and take the units away; runs go on without it
    Uninstall(ServiceArgs),
    /// Tell what there is. Exit code 3 if nobody listens, 4 if it is not installed
    Status(ServiceArgs),
}

/// Options of `sandtest service`.
#[derive(Debug, Clone, Copy, Args)]
pub struct ServiceArgs {
    /// For all users of this machine, as root; without it for yourself
    #[arg(long)]
    system: bool,
}

/// Does it and tells so on standard output. 125 if it can't be done, with the way out on standard error.
pub fn run(command: &ServiceCommand) -> u8 {
    let done = match command {
        ServiceCommand::Install(args) => install(args.whose()).map(|text| (OK, text)),
        ServiceCommand::Uninstall(args) => uninstall(args.whose()).map(|text| (OK, text)),
        ServiceCommand::Status(args) => tell(args.whose()),
    };
    match done {
        Ok((code, text)) => match answer(text.as_bytes()) {
            OK => code,
            failed => failed,
        },
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "sandtest: {error}\nfix: {}", error.fix());
            OWN_FAILURE
        }
    }
}

impl ServiceArgs {
    fn whose(self) -> Whose {
        if self.system { Whose::System } else { Whose::User }
    }
}

fn install(whose: Whose) -> Result<String, ServiceError> {
    permitted(whose)?;
    let program = program()?;
    let manager = Manager::reach(whose)?;
    // A box reaches the host's manager by the host's bus, and has no systemd itself.
    let here = host::detect(&HostView::capture());
    if !here.systemd && here.is_boxed() {
        return Err(ServiceError::Boxed { whose, program });
    }
    let socket = socket_of(whose);
    let placed = place::install(&manager, &program, &socket)?;
    let files = match placed.written.as_slice() {
        [] => "as before".to_owned(),
        written => written.join(", "),
    };
    Ok(format!(
        "units      {} ({files})\nsocket     {}\nThe first sandtest exec that needs it starts the broker.\n",
        placed.folder.display(),
        socket.display()
    ))
}

fn uninstall(whose: Whose) -> Result<String, ServiceError> {
    permitted(whose)?;
    let manager = match Manager::reach(whose) {
        Ok(manager) => Some(manager),
        // Nobody runs what these files would have started.
        Err(ServiceError::NoManager { booted: false, .. }) => None,
        Err(error) => return Err(error),
    };
    let removed = place::uninstall(whose, manager.as_ref(), &socket_of(whose))?;
    if removed.is_empty() {
        return Ok("It was not installed.\n".to_owned());
    }
    Ok(removed.iter().map(|path| format!("removed    {}\n", path.display())).collect())
}

fn tell(whose: Whose) -> Result<(u8, String), ServiceError> {
    let found = status::look(&Manager::reach(whose)?, &program()?)?;
    let option = if whose == Whose::System { " --system" } else { "" };
    let Some(folder) = &found.folder else {
        return Ok((NOT_INSTALLED, format!("It is not installed: sandtest service install{option}\n")));
    };
    let listens = found.socket == "active";
    let other =
        if found.current { "" } else { "; not those of this sandtest: sandtest service install renews them" };
    let broker = match (found.pid, found.broker.as_str()) {
        (Some(pid), state) => format!("{state}, process {pid}"),
        (None, "inactive") if listens => "not needed now; the next sandtest exec starts it".to_owned(),
        (None, state) => state.to_owned(),
    };
    let memory = match (found.memory, found.memory_max) {
        (None, _) => "no runs".to_owned(),
        (Some(now), None) => format!("{} of memory, no limit", Bytes(now)),
        (Some(now), Some(max)) => format!("{} of {} of memory", Bytes(now), Bytes(max)),
    };
    let text = format!(
        "units      {}{other}\nsocket     {}, {}\nbroker     {broker}\nruns       {memory}\n",
        folder.display(),
        found.socket,
        socket_of(whose).display()
    );
    Ok((if listens { OK } else { NOT_RUNNING }, text))
}

fn permitted(whose: Whose) -> Result<(), ServiceError> {
    place::may(whose, nix::unistd::geteuid().is_root(), std::env::var("SUDO_USER").ok())
}

/// What the service is to run: this very binary.
fn program() -> Result<PathBuf, ServiceError> {
    let path = PathBuf::from("/proc/self/exe");
    std::env::current_exe().map_err(|source| ServiceError::File { what: "read", path, source })
}

/// Where the units have it.
fn socket_of(whose: Whose) -> PathBuf {
    socket::usual(if whose == Whose::System { Scope::System } else { Scope::User })
}
