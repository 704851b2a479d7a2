//! `sandtest man`: the manual, a page a subcommand.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use super::exit_code::{OK, OWN_FAILURE};
use super::reports::tell;

/// Options of `sandtest man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  For this user
    sandtest man ~/.local/share/man/man1    then: man sandtest-exec")]
pub struct ManArgs {
    /// The folder; it is made if it is not there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Writes the pages. Exit code 0; 125 if they can't be written.
pub fn run(args: &ManArgs) -> u8 {
    match write(&args.folder) {
        Ok(()) => OK,
        Err(error) => {
            tell(&format!("write the manual to {}: {error}", args.folder.display()));
            OWN_FAILURE
        }
    }
}

/// Writes `sandtest.1`, `sandtest-exec.1` and so on into a folder.
///
/// # Errors
/// The folder's, or a file's.
pub fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    write_pages(folder, command)
}

fn write_pages(folder: &Path, command: Command) -> io::Result<()> {
    for command in command.get_subcommands().cloned() {
        write_pages(folder, command)?;
    }
    let page = Man::new(command.clone());
    fs::write(folder.join(page.get_filename()), text(&page, &command)?)
}

/// As clap_mangen has it, but for the head, where it leaves the date's place to what comes next, and for the examples, whose
/// lines it fills.
fn text(page: &Man, command: &Command) -> io::Result<Vec<u8>> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let mut text = Vec::new();
    // What is generated anew has no date of its own.
    writeln!(text, ".TH {} 1 \"\" \"sandtest {}\"", name.to_uppercase(), env!("CARGO_PKG_VERSION"))?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(examples) = command.get_after_help() {
        text.extend(as_it_stands("EXAMPLES", &examples.to_string()).into_bytes());
    }
    Ok(text)
}

/// A section whose lines stay lines.
fn as_it_stands(heading: &str, text: &str) -> String {
    let lines = text.strip_prefix("Examples:\n").unwrap_or(text).lines();
    // A line that begins with one of these would be a request.
    let line = |line: &str| {
        format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\*(Aq"))
    };
    format!(".SH {heading}\n.nf\n{}.fi\n", lines.map(line).collect::<String>())
}
