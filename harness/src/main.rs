//! The kmslab command: see [`kmslab::cli`].

fn main() -> std::process::ExitCode {
    kmslab::cli::main()
}
