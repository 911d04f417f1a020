//! Values from standard input, in the output formats of etcdctl.

use std::io::Read;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::etcd::Stored;
use crate::etcd::value::{Format, Value, recognise};
use crate::exit::usage;

/// Placeholder for the key of a value without one.
pub const NO_KEY: &str = "-";
/// Maximum number of bytes. etcd accepts 1.5 MiB per request by default, and clusters have some
/// 100,000 values.
const MAX_INPUT_BYTES: u64 = 1 << 30;
const PIPE: &str = "pipe in `etcdctl get KEY --print-value-only`, or `etcdctl get KEY -w json`";

/// Output of `etcdctl -w json` for a range.
#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    create_revision: i64,
    #[serde(default)]
    mod_revision: i64,
    #[serde(default)]
    version: i64,
}

/// Parses `input`: a value of the etcd key `key`, a value preceded by its key, or a range in
/// etcdctl's JSON.
pub fn read(input: impl Read, key: Option<&str>) -> anyhow::Result<Vec<Stored>> {
    let mut bytes = Vec::new();
    input
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| usage(format!("standard input: {error}")))?;
    if bytes.is_empty() {
        return Err(usage(format!("standard input is empty: {PIPE}")));
    }
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        return Err(usage(
            "standard input is longer than 1 GiB: read etcd with --etcd, or a file with --snapshot",
        ));
    }
    if let Some(range) = json_range(&bytes)? {
        return Ok(range);
    }
    reject_other_formats(&bytes)?;
    let (printed_key, value) = split_key(bytes)?;
    let key = match (key, printed_key) {
        (Some(given), Some(printed)) if given != printed => {
            return Err(usage(format!(
                "--key is {given}, standard input begins with the key {printed}: leave --key out"
            )));
        }
        (Some(key), _) => key.to_owned(),
        (None, printed) => printed.unwrap_or_else(|| NO_KEY.to_owned()),
    };
    let value = strip_trailing_newline(value);
    Ok(vec![Stored {
        key,
        value,
        create_revision: 0,
        mod_revision: 0,
        version: 0,
    }])
}

/// Parses the values of `etcdctl -w json`. A Kubernetes object stored as JSON has no `kvs` next to
/// its `header`.
fn json_range(bytes: &[u8]) -> anyhow::Result<Option<Vec<Stored>>> {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(bytes) else {
        return Ok(None);
    };
    let is_range = object.contains_key("header") && !object.contains_key("apiVersion");
    if !is_range {
        return Ok(None);
    }
    let unusable = |what: &str| {
        usage(format!(
            "standard input is JSON of etcdctl, but {what}: {PIPE}"
        ))
    };
    let range: Range =
        serde_json::from_value(object.into()).map_err(|_| unusable("not of a `get`"))?;
    if range.kvs.is_empty() {
        return Err(unusable("it has no value: the key is not there"));
    }
    let decoded = range.kvs.into_iter().map(|kv| {
        let text = |base64: &str| {
            STANDARD
                .decode(base64)
                .map_err(|_| unusable("a key or value is not base64"))
        };
        let key = String::from_utf8_lossy(&text(&kv.key)?).into_owned();
        let KeyValue {
            create_revision,
            mod_revision,
            version,
            ..
        } = kv;
        Ok(Stored {
            key,
            value: text(&kv.value)?,
            create_revision,
            mod_revision,
            version,
        })
    });
    decoded.collect::<anyhow::Result<_>>().map(Some)
}

/// Output formats of etcdctl that change the bytes.
fn reject_other_formats(bytes: &[u8]) -> anyhow::Result<()> {
    if bytes.starts_with(b"\"ClusterID\"") || bytes.starts_with(b"\"Key\"") {
        bail!("standard input is `etcdctl -w fields`, which quotes the value: {PIPE}");
    }
    if bytes.starts_with(b"\\x") {
        bail!("standard input is `etcdctl --hex`, which spells the value out: {PIPE}");
    }
    Ok(())
}

/// `etcdctl get KEY` prints the key, a newline, the value and a newline.
fn split_key(bytes: Vec<u8>) -> anyhow::Result<(Option<String>, Vec<u8>)> {
    let Some(end) = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .filter(|_| bytes.starts_with(b"/"))
    else {
        return Ok((None, bytes));
    };
    let Ok(key) = str::from_utf8(&bytes[..end]) else {
        return Ok((None, bytes));
    };
    let value = &bytes[end + 1..];
    if recognise(value).format() == Format::Unrecognised {
        if value.is_empty() {
            bail!("standard input is the key {key} alone, of `etcdctl --keys-only`: {PIPE}");
        }
        return Ok((None, bytes));
    }
    // A value may contain any bytes, so the start of another key cannot be determined for certain.
    if value.windows(2).any(|pair| pair == b"\n/") && has_another_key(value, key) {
        bail!(
            "standard input has several keys, and where a value ends cannot be told: pipe in `etcdctl get -w json`, or read etcd with --etcd"
        );
    }
    Ok((Some(key.to_owned()), value.to_vec()))
}

/// Whether a line of `value` begins like `key` and is followed by a value.
fn has_another_key(value: &[u8], key: &str) -> bool {
    let root = key
        .as_bytes()
        .iter()
        .skip(1)
        .position(|byte| *byte == b'/')
        .map_or(key, |at| &key[..at + 2]);
    let mut lines = value.split(|byte| *byte == b'\n').skip(1).peekable();
    while let Some(line) = lines.next() {
        let next = lines
            .peek()
            .map_or(Format::Unrecognised, |next| recognise(next).format());
        if line.starts_with(root.as_bytes()) && next != Format::Unrecognised {
            return true;
        }
    }
    false
}

/// etcdctl appends a newline that is not in etcd; it is removed if the value is not valid with it.
fn strip_trailing_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    let broken = |bytes: &[u8]| matches!(recognise(bytes), Value::Malformed { .. });
    if let Some((b'\n', rest)) = bytes.split_last()
        && broken(&bytes)
        && !broken(rest)
    {
        bytes.pop();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use kmslab_kmsv2::stored::{self, EncryptedObject};

    use super::*;

    fn one(piped: &[u8], key: Option<&str>) -> Stored {
        let [stored] = &read(piped, key).unwrap()[..] else {
            panic!("not one")
        };
        stored.clone()
    }

    fn refused(piped: &[u8], key: Option<&str>) -> (u8, String) {
        let error = read(piped, key).unwrap_err();
        (crate::exit::code(&error), error.to_string())
    }

    #[test]
    fn trailing_newline_is_removed_only_if_it_breaks_the_value() {
        let object = EncryptedObject {
            encrypted_data: vec![7; 60],
            key_id: "k".into(),
            encrypted_dek_source: vec![1],
            encrypted_dek_source_type: 1,
            ..Default::default()
        };
        let value = stored::encode("p", &object).unwrap();
        for (stored, piped) in [
            (value.clone(), value.clone()),
            (value.clone(), [&value[..], b"\n"].concat()),
            (b"{}\n".to_vec(), b"{}\n".to_vec()),
            (b"k8s\0\n\x02\n\0".to_vec(), b"k8s\0\n\x02\n\0\n".to_vec()),
        ] {
            assert_eq!(
                one(&piped, None),
                Stored {
                    key: NO_KEY.into(),
                    value: stored,
                    create_revision: 0,
                    mod_revision: 0,
                    version: 0
                }
            );
        }
    }

    #[test]
    fn leading_key_is_the_values_key() {
        let value = [b"k8s:enc:aescbc:v1:key1:", &[0; 48][..]].concat();
        let piped = [b"/registry/secrets/default/s1\n", &value[..], b"\n"].concat();
        for key in [None, Some("/registry/secrets/default/s1")] {
            let stored = one(&piped, key);
            assert_eq!(
                (stored.key.as_str(), &stored.value),
                ("/registry/secrets/default/s1", &value)
            );
        }
        let (code, message) = refused(&piped, Some("/registry/secrets/default/s2"));
        assert!(
            code == 2 && message.contains("leave --key out"),
            "{message}"
        );
        let two = [&piped[..], b"/registry/secrets/default/s2\n", &value, b"\n"].concat();
        let (code, message) = refused(&two, None);
        assert!(code == 1 && message.contains("several keys"), "{message}");
    }

    #[test]
    fn etcdctl_json_has_key_and_revision_of_each_value() {
        let piped = br#"{"header":{"revision":9},"kvs":[{"key":"L3I=","create_revision":3,"mod_revision":7,"version":2,"value":"azhz"},{"key":"L3M=","value":""}],"count":2}"#;
        let values = read(&piped[..], None).unwrap();
        let first = Stored {
            key: "/r".into(),
            value: b"k8s".to_vec(),
            create_revision: 3,
            mod_revision: 7,
            version: 2,
        };
        assert_eq!(
            (values.len(), &values[0], values[1].key.as_str()),
            (2, &first, "/s")
        );
        for (piped, says) in [
            (&br#"{"header":{"revision":9}}"#[..], "the key is not there"),
            (
                br#"{"header":{},"kvs":[{"key":"L3I=","value":"*"}]}"#,
                "not base64",
            ),
            (br#"{"header":{},"kvs":7}"#, "not of a `get`"),
        ] {
            let (code, message) = refused(piped, None);
            assert!(code == 2 && message.contains(says), "{message}");
        }
        let object = br#"{"apiVersion":"e.com/v1","kind":"Widget","header":{},"kvs":[]}"#;
        assert_eq!(
            one(object, None).value,
            object,
            "an object that is stored as JSON"
        );
    }

    #[test]
    fn other_etcdctl_formats_are_rejected_with_a_remedy() {
        for (piped, says) in [
            (
                &b"\"ClusterID\" : 14841639068965178418\n"[..],
                "etcdctl -w fields",
            ),
            (b"\\x2f\\x72\n", "etcdctl --hex"),
            (b"/registry/secrets/default/s1\n", "--keys-only"),
        ] {
            let (code, message) = refused(piped, None);
            assert!(
                code == 1 && message.contains(says) && message.contains("--print-value-only"),
                "{message}"
            );
        }
        assert!(refused(b"", None).1.contains("etcdctl get KEY"));
    }
}
