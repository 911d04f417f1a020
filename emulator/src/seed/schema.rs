//! The JSON Schema of seed files.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::SeedFile;

impl SeedFile {
    /// The JSON Schema of seed files, draft 2020-12, for editors and validators.
    pub fn schema() -> Value {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.into_root_schema_for::<Self>();
        schema.insert(
            "title".to_owned(),
            "Seed file of the kmslab emulator".into(),
        );
        schema.into()
    }
}
