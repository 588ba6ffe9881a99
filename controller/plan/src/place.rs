//! Where things stand: the Kubernetes namespace and name by which [`crate::Live`] and the releases are found.

use api::{BundleRelease, InstallationId};
use porter::DesiredInstallation;

use crate::release::{namespace, release_name};

/// Kubernetes namespace and name.
pub(crate) type Place = (String, String);

/// A release.
pub(crate) fn release(release: &BundleRelease) -> Place {
    (namespace(release), release_name(release))
}

/// The release of an installation, or where it would be.
pub(crate) fn release_of(id: &InstallationId) -> Place {
    (id.kube_namespace.clone(), BundleRelease::object_name(id))
}

/// The Installation of a release.
pub(crate) fn object(release: &BundleRelease) -> Place {
    (namespace(release), release.spec.object_name.clone())
}

/// The Installation that the source asks for.
pub(crate) fn asked(desired: &DesiredInstallation) -> Place {
    (desired.id.kube_namespace.clone(), desired.object_name.clone())
}
