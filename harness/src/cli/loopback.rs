//! Exempts requests to this machine from the proxies of the environment.
//!
//! Google's SDK builds its own HTTP client, which uses `HTTP_PROXY` for requests to 127.0.0.1 as
//! well. A process cannot safely change its environment once it has threads, so the command
//! executes itself again before it has any. The proxies stay set: downloads need them.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::cloud::sdk_variables;

const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Executes the same command with loopback exempt from proxies. Returns if it is exempt already, or
/// with the system's error.
pub(super) fn exempt_loopback() -> io::Result<()> {
    let Some(exceptions) = missing_exceptions(|name| std::env::var(name).ok()) else {
        return Ok(());
    };
    let mut words = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(words.next().unwrap_or_else(|| OsString::from("kmslab")));
    command
        .args(words)
        .envs(EXCEPTIONS.map(|name| (name, &exceptions)));
    Err(command.exec())
}

/// The value that both variables need, if a proxy is set and an exception is missing.
fn missing_exceptions(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let value = |name: &&str| variable(name).filter(|value| !value.is_empty());
    sdk_variables::PROXY
        .iter()
        .filter(|name| !EXCEPTIONS.contains(name))
        .find_map(value)?;
    // As curl and reqwest read them: the first that is set counts, and `*` means every host.
    let now = EXCEPTIONS.iter().find_map(value).unwrap_or_default();
    let entries: Vec<&str> = now
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .collect();
    if entries.contains(&"*") || LOOPBACK.iter().all(|host| entries.contains(host)) {
        return None;
    }
    let added = LOOPBACK.into_iter().filter(|host| !entries.contains(host));
    Some(
        entries
            .iter()
            .copied()
            .chain(added)
            .collect::<Vec<_>>()
            .join(","),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing_in(variables: &[(&str, &str)]) -> Option<String> {
        missing_exceptions(|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn loopback_is_added_to_no_proxy_once() {
        assert_eq!(
            missing_in(&[("NO_PROXY", "example.com")]),
            None,
            "no proxy is named"
        );
        assert_eq!(missing_in(&[("http_proxy", "")]), None);
        assert_eq!(
            missing_in(&[("http_proxy", "http://p")]).unwrap(),
            "localhost,127.0.0.1,::1"
        );
        let some = missing_in(&[
            ("ALL_PROXY", "http://p"),
            ("no_proxy", "example.com, localhost"),
        ])
        .unwrap();
        assert_eq!(some, "example.com,localhost,127.0.0.1,::1");
        assert_eq!(
            missing_in(&[
                ("ALL_PROXY", "http://p"),
                ("NO_PROXY", &some),
                ("no_proxy", &some)
            ]),
            None
        );
        assert_eq!(
            missing_in(&[("HTTPS_PROXY", "http://p"), ("NO_PROXY", "*")]),
            None
        );
    }
}
