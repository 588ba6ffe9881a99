//! An OCI registry on a loopback port, over plain HTTP, for anybody.

use anyhow::Result;

use crate::environment::{Environment, free_ports};
use crate::eventually::{PATIENCE, eventually};
use crate::process::{Process, Program};

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    address: String,
    _process: Process,
}

impl Registry {
    pub(crate) async fn start(environment: &Environment) -> Result<Self> {
        let [port] = free_ports().await?;
        let address = format!("127.0.0.1:{port}");
        let folder = environment.folder().join("registry");
        std::fs::create_dir_all(&folder)?;
        let config = environment.folder().join("registry.yaml");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {:?}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"{address}\"}}\n",
            folder.display().to_string(),
        );
        std::fs::write(&config, text)?;
        let binary = environment.control_plane().binary("registry");
        let mut process = Program::new("registry", &binary, &environment.logs().join("registry.log"))
            .arg("serve")
            .arg(config)
            // Its default exporter looks for a collector.
            .env("OTEL_TRACES_EXPORTER", "none")
            .start()?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("http://{address}/v2/");
        let up = eventually(PATIENCE, "the registry to answer", || async {
            http.get(&url).send().await?.error_for_status()
        });
        if let Err(error) = up.await {
            process.check()?;
            return Err(error);
        }
        Ok(Self { address, _process: process })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }
}
