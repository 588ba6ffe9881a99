//! Writes the CRDs of porter-flux, a file each, to the folder given (`manifests/crd` unless told).

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    let folder = env::args_os().nth(1).map_or_else(|| PathBuf::from("manifests/crd"), PathBuf::from);
    for crd in api::crd::crds() {
        let written = api::crd::file(&crd)
            .map_err(|error| error.to_string())
            .and_then(|(name, text)| fs::write(folder.join(name), text).map_err(|error| error.to_string()));
        if let Err(error) = written {
            eprintln!("generate-crds: {}: {error}", folder.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
