//! `labels`, `commonLabels`, and LabelTransformer.

use manifest::Diagnostic;

use super::set_pairs;
use crate::config::{TransformerConfig, merge_all};
use crate::fieldspec::FieldSpec;
use crate::kustomization::Labels;
use crate::limits::Budget;
use crate::resmap::ResMap;

/// Adds labels to the fields of the specs, which may be selectors too.
///
/// # Errors
/// When a path leads through a scalar, or to what is no mapping.
pub(crate) fn labels(
    resources: &mut ResMap,
    pairs: &[(String, String)],
    specs: &[FieldSpec],
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    set_pairs(resources, pairs, specs, budget)
}

/// The fields that an entry of `labels` sets: its own, the configured ones, and those of the entry's options.
///
/// # Errors
/// When two of them are the same field and differ in `create`.
pub(crate) fn label_specs(labels: &Labels, config: &TransformerConfig) -> Result<Vec<FieldSpec>, String> {
    let mut specs = labels.fields.clone();
    let mut add =
        |more: &[FieldSpec]| merge_all(&mut specs, more).map_err(|fault| format!("failed to merge labels: {fault}"));
    add(&config.labels)?;
    if labels.include_selectors {
        add(&config.common_labels)?;
    } else {
        if labels.include_templates {
            add(&config.template_labels)?;
        }
        add(&[FieldSpec::new("metadata/labels", true)])?;
    }
    Ok(specs)
}
