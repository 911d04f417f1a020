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
        let mut seed = parsed.map_err(|error| invalid(message(&error)))?;
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

/// The parser's message, with the nearest known name of an unknown field or variant.
fn message(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error::{SerdeUnknownField, SerdeUnknownVariant};
    let nearest = match error {
        SerdeUnknownField {
            field, expected, ..
        } => nearest(field, expected),
        SerdeUnknownVariant {
            variant, expected, ..
        } => nearest(variant, expected),
        _ => None,
    };
    match nearest {
        Some(name) => format!("{error}; did you mean {name}?"),
        None => error.to_string(),
    }
}
