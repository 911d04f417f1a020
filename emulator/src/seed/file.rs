//! Seed files on disk: read with the files that they name, and written.

use std::io;
use std::path::Path;

use kmslab_program::file;

use super::{SeedError, SeedFile, position};
use crate::nearest::nearest;
use crate::private_file;

impl SeedFile {
    /// Reads a seed file and the files of key material that it names.
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let text = read_text(path)?;
        // Without the parser's excerpt of the file, which may contain a secret.
        let options = serde_saphyr::options! { with_snippet: false };
        let parsed = serde_saphyr::from_str_with_options::<Self>(&text, options);
        let invalid = |reason| SeedError::Parse {
            path: path.to_owned(),
            reason,
        };
        let mut seed = parsed.map_err(|error| invalid(with_nearest(&error.to_string())))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        for material in seed.materials() {
            let read = material.read_file(directory);
            read.map_err(|reason| invalid(format!("a material {reason}")))?;
        }
        Ok(seed)
    }

    /// Writes the seed file, as YAML if the name ends with `.yaml` or `.yml`, else as JSON. Only
    /// its owner may read it. After an error the previous file is unchanged.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        let text = match is_yaml {
            true => serde_saphyr::to_string(self).map_err(io::Error::other)?,
            false => format!("{:#}\n", serde_json::to_value(self)?),
        };
        private_file::write(path, text.as_bytes(), 0o600)
    }
}

impl SeedError {
    /// Adds line and column of the value to an error of a seed that was read from `path`.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        let Some(place) = self.place() else {
            return self;
        };
        let position = read_text(path)
            .ok()
            .and_then(|text| position::find(&text, place));
        match position {
            Some((line, column)) => Self::InFile {
                path: path.to_owned(),
                line,
                column,
                source: Box::new(self),
            },
            None => self,
        }
    }
}

fn read_text(path: &Path) -> Result<zeroize::Zeroizing<String>, SeedError> {
    let text = file::read_text(path, file::MAX_CONFIGURATION_BYTES);
    text.map_err(|source| SeedError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Adds the nearest known name to the parser's message about an unknown field or variant, which
/// lists all of them: "unknown field `a`, expected one of b, c at line 1, column 2".
fn with_nearest(message: &str) -> String {
    let nearest_in = |message: &str| -> Option<String> {
        let (_, rest) = message
            .split_once("unknown field `")
            .or_else(|| message.split_once("unknown variant `"))?;
        let (unknown, rest) = rest.split_once('`')?;
        let (_, known) = rest.split_once("expected ")?;
        let known = known.split(" at line").next()?;
        let known = known.strip_prefix("one of ").unwrap_or(known);
        let names = known.split(", ").flat_map(|names| names.split(" or "));
        let names: Vec<&str> = names.map(|name| name.trim_matches('`')).collect();
        nearest(unknown, &names).map(str::to_owned)
    };
    match nearest_in(message) {
        Some(name) => format!("{message}; did you mean {name}?"),
        None => message.to_owned(),
    }
}
