//! The table of Kubernetes' own kinds.
//!
//! A definition begins at the start of a line with its name; its fields follow, indented: the name, then for a list that
//! is merged its keys in brackets, then the definition of the value, or of the list's elements. A value of which nothing
//! but its being there is known has a `?`. Then come the kinds: `apiVersion`, kind, scope (`-` when it has none) and
//! definition.

use std::sync::Arc;

use super::{Kind, Scope, Shape, Table};

pub(super) const TEXT: &str = include_str!("builtin.txt");

/// What [`TEXT`] says. A line that is not as it should be says nothing; the tests see to it that there is none.
pub(super) fn table() -> Table {
    let mut table = Table::default();
    let mut definition: Option<(&str, Shape)> = None;
    for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
        let indented = line.starts_with(' ');
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if indented {
            if let Some((_, shape)) = &mut definition {
                shape.fields.insert(first.into(), field(words));
            }
            continue;
        }
        if let Some((name, shape)) = definition.take() {
            table.definitions.insert(name.into(), Arc::new(shape));
        }
        match (words.next(), words.next(), words.next()) {
            (Some(kind), Some(scope), definition) => {
                let shape = definition.and_then(|name| table.definitions.get(name)).cloned();
                let scope = (scope != "-").then_some(Scope { namespaced: scope == "namespaced", built_in: true });
                *table.kind_mut(first, kind) = Kind { shape, scope };
            }
            _ => definition = Some((first, Shape::default())),
        }
    }
    table
}

fn field<'a>(words: impl Iterator<Item = &'a str>) -> Shape {
    let mut shape = Shape::default();
    for word in words {
        if let Some(keys) = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) {
            shape.merge_keys = Some(keys.split(',').filter(|key| !key.is_empty()).map(Into::into).collect());
        } else if word == "?" {
        } else if shape.merge_keys.is_some() {
            shape.elements = Some(Box::new(Shape { reference: Some(word.into()), ..Shape::default() }));
        } else {
            shape.reference = Some(word.into());
        }
    }
    shape
}
