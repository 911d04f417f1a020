//! Permissions of the socket. Whoever can connect can decrypt every secret.

use nix::unistd::Group;

/// Mode and group of the socket. By default only the owner may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    mode: u32,
    group: Option<u32>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            mode: 0o600,
            group: None,
        }
    }
}

impl Access {
    /// `group` is a group id. A group without a mode implies 0660.
    pub fn new(mode: Option<u32>, group: Option<u32>) -> Self {
        let default = if group.is_some() { 0o660 } else { 0o600 };
        Self {
            mode: mode.unwrap_or(default),
            group,
        }
    }

    pub(super) fn mode(self) -> u32 {
        self.mode
    }

    pub(super) fn group(self) -> Option<u32> {
        self.group
    }
}

/// Parses `--socket-mode`: octal, such as 0660.
pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    let octal = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(octal, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && !octal.starts_with('+'));
    let mode =
        mode.ok_or_else(|| format!("{text:?} is not a mode in octal such as 0600 or 0660"))?;
    if mode & 0o600 != 0o600 {
        return Err(format!(
            "{text} takes the socket from the plugin's own user: give 0600 or 0660"
        ));
    }
    if mode & 0o007 != 0 {
        return Err(format!(
            "{text} lets every local user decrypt: give 0660, and the API server's group with --socket-group"
        ));
    }
    Ok(mode)
}

/// Parses `--socket-group`: a name or a number.
pub(crate) fn parse_group(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!(
            "there is no group {text:?} on this machine: add it with `groupadd`, or give its number"
        )),
        Err(error) => Err(format!(
            "the group {text:?} cannot be looked up: {error}; give its number"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_mode_is_octal_and_never_world_accessible() {
        assert_eq!(parse_mode("0600"), Ok(0o600));
        assert_eq!(parse_mode("660"), Ok(0o660));
        assert_eq!(parse_mode("0o770"), Ok(0o770));
        for (wrong, says) in [
            ("", "not a mode"),
            ("rw", "not a mode"),
            ("0888", "not a mode"),
            ("01660", "not a mode"),
            ("+660", "not a mode"),
            ("0666", "every local user"),
            ("0602", "every local user"),
            ("0060", "the plugin's own user"),
        ] {
            let error = parse_mode(wrong).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }

    #[test]
    fn socket_group_is_a_name_or_a_number() {
        assert_eq!(parse_group("65532"), Ok(65532));
        assert_eq!(parse_group("root"), Ok(0));
        assert!(
            parse_group("no-such-group")
                .unwrap_err()
                .contains("there is no group")
        );
    }

    #[test]
    fn socket_group_without_mode_may_connect() {
        assert_eq!(Access::new(None, Some(7)).mode(), 0o660);
        assert_eq!(Access::new(Some(0o600), Some(7)).mode(), 0o600);
        assert_eq!(Access::new(None, None), Access::default());
    }
}
