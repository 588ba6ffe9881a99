//! Documents of installations that ask for more than [`super::installation`].

use super::{REPOSITORY, installation};

/// One of Porter's documents that depends on others.
pub(crate) fn after(name: &str, size: u32, others: &str) -> String {
    let metadata = format!("metadata: {{annotations: {{flux.getporter.org/depends-on: '{others}'}}}}\n");
    installation(name, "0.1.0", size) + &metadata
}

/// One of Porter's documents that asks for a custom action.
pub(crate) fn asking(name: &str, size: u32, invoke: &str) -> String {
    let document = installation(name, "0.1.0", size);
    format!("{document}metadata:\n  annotations:\n    flux.getporter.org/invoke: {invoke}\n")
}

/// An operator's resource whose object is named otherwise than the installation in Porter.
pub(crate) fn resource(object: &str, name: &str, size: u32) -> String {
    format!(
        "apiVersion: getporter.org/v1\nkind: Installation\nmetadata: {{name: {object}}}\nspec: {{schemaVersion: 1.0.2, name: {name}, namespace: dev, bundle: {{repository: {REPOSITORY}, version: 0.1.0}}, parameters: {{size: {size}}}}}\n"
    )
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n")
}
