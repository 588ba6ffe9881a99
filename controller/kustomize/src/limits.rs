//! What a build may use, so that a hostile overlay exhausts neither memory nor time.

use std::cell::Cell;

use manifest::Diagnostic;
use manifest::yaml::{Node, Value};

use crate::resource::Resource;

/// The bounds of one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Kustomizations that are entered, each time it is; a base that two overlays share counts twice.
    pub kustomizations: usize,
    /// Resources that are loaded or generated, counted likewise.
    pub resources: usize,
    /// Steps of all transformers together: a transformer makes one for each resource that it looks at.
    pub steps: usize,
    /// Bytes of all texts of all resources together, at any time.
    pub bytes: usize,
}

impl Default for Limits {
    /// Far beyond what any team keeps in one path, and within a few seconds and some hundred MiB.
    fn default() -> Self {
        Self { kustomizations: 10_000, resources: 100_000, steps: 20_000_000, bytes: 256 << 20 }
    }
}

/// What is left of the bounds.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    kustomizations: Cell<usize>,
    resources: Cell<usize>,
    steps: Cell<usize>,
    /// Bytes of the resources that were loaded or generated.
    loaded: Cell<usize>,
}

fn spend(left: &Cell<usize>, amount: usize) -> bool {
    let rest = left.get().checked_sub(amount);
    left.set(rest.unwrap_or_default());
    rest.is_some()
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            kustomizations: Cell::new(limits.kustomizations),
            resources: Cell::new(limits.resources),
            steps: Cell::new(limits.steps),
            loaded: Cell::new(limits.bytes),
        }
    }

    /// Counts a kustomization that is entered.
    pub(crate) fn enter(&self, file: &str) -> Result<(), Diagnostic> {
        if spend(&self.kustomizations, 1) {
            return Ok(());
        }
        let limit = self.limits.kustomizations;
        Err(Diagnostic::general(format!("more than {limit} kustomizations are entered, the last one {file}")))
    }

    /// Counts a resource that is loaded or generated.
    pub(crate) fn resource(&self, resource: &Resource) -> Result<(), Diagnostic> {
        if !spend(&self.resources, 1) {
            return Err(resource.fault(format!("more than {} resources are loaded", self.limits.resources)));
        }
        if !spend(&self.loaded, size(&resource.node)) {
            return Err(resource.fault(self.too_large()));
        }
        Ok(())
    }

    /// Whether no resource has been loaded yet.
    pub(crate) fn is_untouched(&self) -> bool {
        self.resources.get() == self.limits.resources
    }

    /// Counts what a transformer looks at.
    pub(crate) fn work(&self, resources: usize) -> Result<(), Diagnostic> {
        if spend(&self.steps, resources.max(1)) {
            return Ok(());
        }
        let limit = self.limits.steps;
        Err(Diagnostic::general(format!("the transformers look at resources more than {limit} times in all")))
    }

    /// Counts what a transformer whose configuration holds some bytes may add to as many resources.
    pub(crate) fn growth(&self, bytes: usize, resources: usize) -> Result<(), Diagnostic> {
        match bytes.checked_mul(resources).filter(|grown| *grown <= self.limits.bytes) {
            Some(_) => Ok(()),
            None => Err(Diagnostic::general(self.too_large())),
        }
    }

    /// Measures resources while a transformer changes them one after the other.
    pub(crate) fn meter(&self) -> Meter<'_> {
        Meter { budget: self, left: self.limits.bytes }
    }

    fn too_large(&self) -> String {
        format!("the resources of the build hold more than {} bytes", self.limits.bytes)
    }
}

/// What one transformer may still make resources hold.
#[derive(Debug)]
pub(crate) struct Meter<'b> {
    budget: &'b Budget,
    left: usize,
}

impl Meter<'_> {
    /// Counts a resource as it is now.
    pub(crate) fn resource(&mut self, resource: &Resource) -> Result<(), Diagnostic> {
        self.take(size(&resource.node)).map_err(|message| resource.fault(message))
    }

    /// Counts a value that is about to be put into a resource.
    pub(crate) fn value(&mut self, node: &Node) -> Result<(), String> {
        self.take(size(node))
    }

    fn take(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| self.budget.too_large())?;
        Ok(())
    }
}

/// About how many bytes a node holds.
pub(crate) fn size(node: &Node) -> usize {
    /// What a node without text costs.
    const NODE: usize = 16;
    NODE + match &node.value {
        Value::Scalar(scalar) => scalar.text.len(),
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(entries) => entries.iter().map(|(key, value)| key.name.len() + size(value)).sum(),
    }
}

/// How many lists and mappings deep a value is.
pub(crate) fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::Sequence(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Mapping(entries) => 1 + entries.iter().map(|(_, node)| depth(node)).max().unwrap_or_default(),
    }
}
