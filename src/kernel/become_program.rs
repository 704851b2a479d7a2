//! Becoming another program: exec(3) in the place of this process, which had nothing to say in it.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;

/// Becomes `words`, with `environment` and all else as it is. Looked up in `PATH` if the first word holds no slash.
///
/// # Errors
/// The system's; it does not return otherwise.
pub fn become_program(
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
) -> io::Result<Infallible> {
    let c_string = |text: OsString| CString::new(text.into_vec()).map_err(io::Error::other);
    let argv = words.into_iter().map(c_string).collect::<io::Result<Vec<CString>>>()?;
    let entry = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        c_string(name)
    };
    let envp = environment.into_iter().map(entry).collect::<io::Result<Vec<CString>>>()?;
    let program = argv.first().ok_or_else(|| io::Error::other("no command"))?;
    // SAFETY: sets no handler. Rust's runtime ignores it at its start, which no program expects to inherit.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    Ok(nix::unistd::execvpe(program, &argv, &envp)?)
}
