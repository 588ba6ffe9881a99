//! What is made from the pinned servers and lies in the tree is what they would make now.

use anyhow::{Context, Result, ensure};
use e2e::{Environment, kustomize_schema};

#[tokio::test]
async fn the_kinds_that_overlays_know_are_those_of_the_api_server() -> Result<()> {
    let environment = Environment::shared().await;
    let path = kustomize_schema::path();
    let there = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let now = kustomize_schema::generate(environment).await?;
    let line = there.lines().zip(now.lines()).position(|(there, now)| there != now).map(|index| index + 1);
    ensure!(there == now, "{} is stale, first at line {line:?}: run hack/generate.sh", path.display());
    Ok(())
}
