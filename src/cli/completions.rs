//! `sandtest completions`: what a shell completes behind `sandtest`.

use clap::Args;
use clap_complete::Shell;

use super::answer::answer;

/// Options of `sandtest completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  For this user
    sandtest completions bash > ~/.local/share/bash-completion/completions/sandtest
    sandtest completions fish > ~/.config/fish/completions/sandtest.fish
    sandtest completions zsh > ~/.zfunc/_sandtest    with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script on standard output. Exit code 0; 125 if it can't be written.
pub fn run(args: &CompletionsArgs) -> u8 {
    answer(&script(args.shell))
}

/// The script for a shell to read.
pub fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "sandtest", &mut script);
    script
}
