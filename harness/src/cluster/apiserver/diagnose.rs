//! Interprets the last lines of a log of etcd or kube-apiserver.

/// A cause that the log shows, with its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Another process uses the port.
    PortTaken,
    /// The disk is full.
    DiskFull,
    /// The EncryptionConfiguration is rejected.
    EncryptionConfig(String),
    /// The program is for another platform.
    WrongPlatform,
    /// etcd or a plugin is not reachable.
    Unreachable(String),
    /// The program's last error message.
    LastMessage(String),
}

impl Cause {
    /// Returns the most specific cause in the last lines of a log.
    pub fn find(tail: &str) -> Option<Self> {
        let has = |words: &str| tail.to_ascii_lowercase().contains(words);
        if has("address already in use") {
            return Some(Self::PortTaken);
        }
        if has("no space left on device") {
            return Some(Self::DiskFull);
        }
        if has("exec format error") || has("bad cpu type") {
            return Some(Self::WrongPlatform);
        }
        let said = last_message(tail)?;
        let lower = said.to_ascii_lowercase();
        if lower.contains("encryption provider config") || lower.contains("kms provider") {
            return Some(Self::EncryptionConfig(said));
        }
        if lower.contains("connection refused") || lower.contains("deadline exceeded") {
            return Some(Self::Unreachable(said));
        }
        Some(Self::LastMessage(said))
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PortTaken => f.write_str("its port was taken by another process: try again"),
            Self::DiskFull => {
                f.write_str("the disk is full: free some room, or set XDG_RUNTIME_DIR to a directory with more")
            }
            Self::EncryptionConfig(said) => {
                write!(f, "the EncryptionConfiguration is rejected: {said}; check resources, provider name and socket")
            }
            Self::WrongPlatform => f.write_str(
                "the program is for another system or processor: `kmslab assets install` gets the right one",
            ),
            Self::Unreachable(said) => write!(f, "what it needs does not answer: {said}"),
            Self::LastMessage(said) => f.write_str(said),
        }
    }
}

/// The message of the last fatal line: klog's `F…`, cobra's `Error:` or `"command failed" err="…"`,
/// zap's fatal and panic (etcd), or exec-child's.
fn last_message(tail: &str) -> Option<String> {
    tail.lines().rev().find_map(|line| {
        if let Some((_, error)) = line.split_once("\"command failed\" err=") {
            return Some(error.trim_matches('"').replace("\\\"", "\""));
        }
        if let Some(error) = line
            .strip_prefix("Error: ")
            .or_else(|| line.strip_prefix("kmslab exec-child: "))
        {
            return Some(error.into());
        }
        if let Ok(zap) = serde_json::from_str::<serde_json::Value>(line) {
            let text = |name: &str| {
                zap.get(name)
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            return matches!(&*text("level"), "fatal" | "panic")
                .then(|| format!("{}: {}", text("msg"), text("error")));
        }
        let klog_fatal = line.starts_with('F')
            && line
                .as_bytes()
                .get(1..5)
                .is_some_and(|d| d.iter().all(u8::is_ascii_digit));
        klog_fatal.then(|| {
            line.split_once("] ")
                .map_or(line, |(_, message)| message)
                .into()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_found_in_real_logs() {
        let taken = r#"E1124 14:00:00.000000       1 run.go:72] "command failed" err="failed to create listener: failed to listen on 127.0.0.1:6443: listen tcp 127.0.0.1:6443: bind: address already in use""#;
        assert_eq!(Cause::find(taken), Some(Cause::PortTaken));
        let etcd = r#"{"level":"fatal","ts":"2026-11-24T14:00:00Z","caller":"etcdmain/etcd.go:183","msg":"discovery failed","error":"open x: permission denied"}"#;
        assert_eq!(
            Cause::find(etcd),
            Some(Cause::LastMessage(
                "discovery failed: open x: permission denied".into()
            ))
        );
        let child = "kmslab exec-child: cannot run /x/etcd: Exec format error (os error 8)";
        assert_eq!(Cause::find(child), Some(Cause::WrongPlatform));
        assert_eq!(
            Cause::find("F1124 14:00:00.000000 1 a.go:1] boom"),
            Some(Cause::LastMessage("boom".into()))
        );
        assert_eq!(
            Cause::find("Error: unknown flag: --x"),
            Some(Cause::LastMessage("unknown flag: --x".into()))
        );
        assert_eq!(Cause::find("I1124 all is well\nFé"), None);
    }

    #[test]
    fn rejected_encryption_configuration_is_recognised() {
        let line = r#"E1124 14:00:00.000000       1 run.go:72] "command failed" err="error while parsing encryption provider configuration file \"/x\": resources[0].providers[0].kms.name: Required value""#;
        let Some(Cause::EncryptionConfig(said)) = Cause::find(line) else {
            panic!("{line}")
        };
        assert!(said.contains("kms.name: Required value"));
    }
}
