//! `commonAnnotations`, and AnnotationsTransformer.

use manifest::Diagnostic;

use super::set_pairs;
use crate::fieldspec::FieldSpec;
use crate::limits::Budget;
use crate::resmap::ResMap;

/// Adds annotations to the fields of the specs.
///
/// # Errors
/// When a path leads through a scalar, or to what is no mapping.
pub(crate) fn annotations(
    resources: &mut ResMap,
    pairs: &[(String, String)],
    specs: &[FieldSpec],
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    set_pairs(resources, pairs, specs, budget)
}
