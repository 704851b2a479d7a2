//! Parse, run, exit code.

fn main() -> std::process::ExitCode {
    sandtest::cli::main().into()
}
