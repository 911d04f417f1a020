//! The one binary: see [`kmslab::cli`].

fn main() -> std::process::ExitCode {
    kmslab::cli::main()
}
