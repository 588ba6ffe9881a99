//! Writes the table of Kubernetes' own kinds that `controller/kustomize` has built in, as the pinned API server tells
//! them.

use anyhow::{Context, Result};
use e2e::{Environment, kustomize_schema};

#[tokio::main]
async fn main() -> Result<()> {
    let environment = Environment::start().await?;
    let path = kustomize_schema::path();
    let table = kustomize_schema::generate(&environment).await?;
    std::fs::write(&path, table).with_context(|| format!("cannot write {}", path.display()))
}
