//! `namespace`, and NamespaceTransformer.

use manifest::Diagnostic;
use manifest::yaml::{Node, Value};

use super::{of_resource, set_scalar};
use crate::fieldspec::{FieldSpec, Make};
use crate::limits::Budget;
use crate::resmap::ResMap;
use crate::resource::Resource;
use crate::schema::Schemas;

/// How namespaces are set; the default is what the `namespace` of a kustomization means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamespaceOptions {
    /// What has a namespace keeps it.
    pub(crate) unset_only: bool,
    pub(crate) subjects: SubjectMode,
}

/// Which subjects of a RoleBinding or ClusterRoleBinding get the namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SubjectMode {
    /// Those with the name `default`.
    #[default]
    DefaultOnly,
    AllServiceAccounts,
    None,
}

/// Sets the namespace of all resources that are not certainly cluster-scoped, and the fields of the specs.
///
/// # Errors
/// When a path leads through a scalar, or to what is none; when two resources have the same id then.
pub(crate) fn namespace(
    resources: &mut ResMap,
    namespace: &str,
    options: &NamespaceOptions,
    specs: &[FieldSpec],
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    if namespace.is_empty() {
        return Ok(());
    }
    let setter = Setter { namespace, options, budget, of_metadata: FieldSpec::new("metadata/namespace", true) };
    for resource in resources.resources_mut() {
        budget.remember(resource)?;
        resource.store_previous_id(schemas);
        let is_namespaced = !resource.is_cluster_scoped(schemas);
        setter.set_all(&mut resource.node, is_namespaced, specs).map_err(|fault| of_resource(resource, fault))?;
    }
    resources.check_ids(schemas)
}

/// Sets the namespace of one resource when it is not certainly cluster-scoped, and that of its subjects named `default`
/// when it is a binding; its history knows nothing of it.
///
/// # Errors
/// When a path leads through a scalar, or to what is none.
pub(crate) fn namespace_of_one(
    resource: &mut Resource,
    namespace: &str,
    schemas: &Schemas,
    budget: &Budget<'_>,
) -> Result<(), Diagnostic> {
    let options = NamespaceOptions::default();
    let setter =
        Setter { namespace, options: &options, budget, of_metadata: FieldSpec::new("metadata/namespace", true) };
    let is_namespaced = !resource.is_cluster_scoped(schemas);
    setter.set_all(&mut resource.node, is_namespaced, &[]).map_err(|fault| of_resource(resource, fault))
}

struct Setter<'a> {
    namespace: &'a str,
    options: &'a NamespaceOptions,
    of_metadata: FieldSpec,
    budget: &'a Budget<'a>,
}

impl Setter<'_> {
    fn set_all(&self, object: &mut Node, is_namespaced: bool, specs: &[FieldSpec]) -> Result<(), Diagnostic> {
        if is_namespaced {
            // Unlike at any other path, a null stays one when only what is unset is to be set.
            let field = object.at_path(&["metadata", "namespace"]).and_then(Node::as_scalar);
            let stays = self.options.unset_only && field.is_some_and(|scalar| !scalar.text.is_empty());
            if !stays {
                self.of_metadata
                    .apply(object, Make::Scalar, self.budget, &mut |field| self.set(field, &self.of_metadata))?;
            }
        }
        let text = |key: &str| object.get(key).and_then(Node::as_str).unwrap_or_default();
        let is_core = text("apiVersion") == "v1";
        let is_binding = matches!(text("kind"), "RoleBinding" | "ClusterRoleBinding");
        if is_binding {
            self.set_subjects(object)?;
        }
        for spec in specs {
            let applies = match spec.path.as_str() {
                "metadata/namespace" => false,
                "metadata/name" => is_core,
                "subjects/namespace" => {
                    !(is_binding && matches!(spec.gvk.kind.as_str(), "RoleBinding" | "ClusterRoleBinding"))
                }
                _ => true,
            };
            if applies {
                spec.apply(object, Make::Scalar, self.budget, &mut |field| self.set(field, spec))?;
            }
        }
        Ok(())
    }

    fn set_subjects(&self, binding: &mut Node) -> Result<(), Diagnostic> {
        let (key, wanted) = match self.options.subjects {
            SubjectMode::None => return Ok(()),
            SubjectMode::DefaultOnly => ("name", "default"),
            SubjectMode::AllServiceAccounts => ("kind", "ServiceAccount"),
        };
        let Some(subjects) = binding.get_mut("subjects").filter(|subjects| !subjects.is_null()) else {
            return Ok(());
        };
        let type_name = subjects.type_name();
        let Value::Sequence(items) = &mut subjects.value else {
            return Err(subjects.fault(format!("`subjects` of a role binding is {type_name}, not a list")));
        };
        let spec = FieldSpec::new("namespace", true);
        for subject in items.iter_mut().filter(|subject| !subject.is_null()) {
            if subject.as_mapping().is_none() {
                let type_name = subject.type_name();
                return Err(subject.fault(format!("a subject of a role binding is {type_name}, not a mapping")));
            }
            let is_wanted = match subject.get(key).filter(|field| !field.is_null()) {
                None => false,
                Some(field) => super::scalar_text(field, &FieldSpec::new(key, false))? == wanted,
            };
            if !is_wanted {
                continue;
            }
            self.budget.measured(subject, &mut |subject| match subject.get_mut("namespace") {
                Some(field) => self.set(field, &spec),
                None => {
                    subject.set("namespace", Node::string(self.namespace));
                    Ok(())
                }
            })?;
        }
        Ok(())
    }

    fn set(&self, field: &mut Node, spec: &FieldSpec) -> Result<(), Diagnostic> {
        let is_set = !field.is_null() && field.as_scalar().is_some_and(|scalar| !scalar.text.is_empty());
        if self.options.unset_only && is_set {
            return Ok(());
        }
        set_scalar(field, Node::string(self.namespace), spec)
    }
}
