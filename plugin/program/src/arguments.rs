//! Long flags with a single dash, as Go programs accept them. clap would read `-health-listen=…` as
//! `-h` and print the help with exit code 0.

use std::ffi::OsStr;

/// Parses the command line of this process. Exits with clap's message and code 2 if it is invalid.
pub fn parse<C: clap::Parser>() -> C {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(message) = single_dash(args.iter().map(|arg| arg.as_os_str())) {
        C::command()
            .error(clap::error::ErrorKind::UnknownArgument, message)
            .exit();
    }
    C::parse()
}

/// Returns an error message if a flag of several letters has a single dash. It does not repeat the
/// value, which may be secret.
fn single_dash<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Option<String> {
    let args = args
        .into_iter()
        .map(OsStr::to_string_lossy)
        .take_while(|arg| arg != "--");
    args.filter_map(|arg| {
        let name = arg.strip_prefix('-')?.split('=').next()?.to_owned();
        let is_name = name.len() > 1
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        (is_name && name.starts_with(|first: char| first.is_ascii_alphabetic())).then_some(name)
    })
    .map(|name| format!("-{name} is a flag with one dash; flags have two: --{name}"))
    .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(args: &[&str]) -> Option<String> {
        single_dash(args.iter().map(OsStr::new))
    }

    #[test]
    fn single_dash_flag_is_reported_without_its_value() {
        for args in [
            &["aws", "-health-listen=127.0.0.1:1"][..],
            &["-health-listen", "127.0.0.1:1"],
            &["aws", "--key=k", "-health-listen"],
        ] {
            let said = said(args).unwrap();
            assert_eq!(
                said,
                "-health-listen is a flag with one dash; flags have two: --health-listen"
            );
        }
        assert!(!said(&["-secret=hunter2"]).unwrap().contains("hunter2"));
    }

    #[test]
    fn other_arguments_are_left_to_clap() {
        for args in [
            &["-h"][..],
            &["-V"],
            &["-c", "x"],
            &["--help"],
            &["-"],
            &["-5"],
            &["--", "-health"],
            &["--key", "-=x"],
            &["x-y"],
        ] {
            assert_eq!(said(args), None, "{args:?}");
        }
    }
}
