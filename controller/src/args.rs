//! What the command line says. Names and defaults are those of Flux's controllers, so that a platform team's patches of
//! Flux's Deployments fit ours: a flag that tunes what there is nothing of here is accepted, and told in the log. One that
//! restricts what a controller may do, and is not known here, is an error.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Turns Flux sources into Porter installations.
#[derive(Clone, Debug, Parser)]
#[command(name = "porter-flux-controller", version, about)]
#[allow(missing_docs, reason = "the text of each flag is its documentation")]
pub struct Args {
    /// Watch all namespaces; with `false` only the one that RUNTIME_NAMESPACE names.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub watch_all_namespaces: bool,

    /// The namespace that the controller runs in.
    #[arg(long, env = "RUNTIME_NAMESPACE", default_value = "flux-system")]
    pub runtime_namespace: String,

    /// How many BundleSyncs are built and applied at the same time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrent: u16,

    /// How many artifacts are downloaded at the same time; who asks for one that is under way waits for no other.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrent_fetches: u16,

    /// Where the metrics are served; empty or 0 turns them off.
    #[arg(long, default_value = ":8080", value_parser = address, env = "METRICS_ADDR")]
    pub metrics_addr: Address,

    /// Where /healthz and /readyz are served; empty or 0 turns them off.
    #[arg(long, default_value = ":9440", value_parser = address)]
    pub health_addr: Address,

    /// The address of Flux's notification-controller, to which events are posted; empty turns it off.
    #[arg(long, default_value = "", env = "EVENTS_ADDR")]
    pub events_addr: String,

    /// How much is logged. RUST_LOG, when set, is more exact; it can also ask for what libraries tell, values included.
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,

    /// How logs are written.
    #[arg(long, value_enum, default_value_t = LogEncoding::Json)]
    pub log_encoding: LogEncoding,

    /// How long to wait before looking again at a source that has no artifact yet, or at what a BundleSync depends on, e.g. 30s.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub requeue_dependency: Duration,

    /// By how many per cent an interval is varied, so that syncs do not all wake at the same time.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=99))]
    pub interval_jitter_percentage: u8,

    /// Refuse sources, documents and dependencies of another namespace than the BundleSync's own.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub no_cross_namespace_refs: bool,

    /// How many lines of the log of a failed run are kept in its BundleRelease, without the values that are known. The
    /// controller needs the right to read logs for that, which its role does not have.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=50))]
    pub run_log_lines: u16,

    /// Follow what the Secrets hold that sets name, and run an installation again when that changes. With `false` nothing of
    /// them is watched or read for that, and only a change of a set itself counts.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub watch_secrets: bool,

    /// Keep what the operator leaves behind for each AgentAction (a volume claim, Secrets, the bundle's Job) when the
    /// AgentAction is deleted.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub keep_agent_leftovers: bool,

    /// Reconcile only the BundleSyncs with these labels, e.g. sharding.fluxcd.io/key=shard1; all of them when empty.
    #[arg(long, default_value = "")]
    pub watch_label_selector: String,

    /// How often a download is tried again.
    #[arg(long, default_value_t = 9)]
    pub http_retry: u16,

    /// The label of ConfigMaps and Secrets whose change reconciles the BundleSyncs that take variables from them.
    #[arg(long, default_value = "reconcile.fluxcd.io/watch=Enabled")]
    pub watch_configs_label_selector: String,

    /// What is turned on or off, as NAME=true or NAME=false, with a comma between: StrictPostBuildSubstitutions (on): a
    /// variable without value and default is an error; DisableConfigWatchers (off): a ConfigMap or Secret with variables
    /// is read with each reconcile, and wakes none; AdditiveCELDependencyCheck (off): what is depended on has to be ready
    /// as well, where a readyExpr is given.
    #[arg(long, default_value = "", value_parser = feature_gates)]
    pub feature_gates: FeatureGates,

    /// How long one request to the API server may take, e.g. 15s.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub api_timeout: Duration,

    /// How long running reconciles may go on after a signal to stop, e.g. 30s.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub graceful_shutdown_timeout: Duration,

    /// Of several controllers for the same objects one works, and the others stand by.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub enable_leader_election: bool,

    /// How long those who stand by wait for the one who leads and no longer says so, e.g. 35s.
    #[arg(long, default_value = "35s", value_parser = duration)]
    pub leader_election_lease_duration: Duration,

    /// How long the one who leads goes on without being able to say so, e.g. 30s; then it ends.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub leader_election_renew_deadline: Duration,

    /// How often it says so, and how often the others look, e.g. 5s.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub leader_election_retry_period: Duration,

    /// Give up the lead when told to stop, so that nobody has to wait for it.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub leader_election_release_on_cancel: bool,

    /// Bytes of unpacked artifacts that are kept in memory for who asks next.
    #[arg(long, default_value_t = 256 << 20)]
    pub artifact_cache_bytes: usize,

    /// Bytes of all unpacked artifacts that are in memory at a time: fetched, built from, or kept. One that may take more
    /// has to be the only one.
    #[arg(long, default_value_t = 512 << 20)]
    pub artifact_memory_bytes: u64,

    /// The largest artifact that is downloaded, in bytes.
    #[arg(long, default_value_t = 128 << 20)]
    pub artifact_max_download_bytes: u64,

    /// The largest artifact after unpacking, in bytes.
    #[arg(long, default_value_t = 256 << 20)]
    pub artifact_max_unpacked_bytes: u64,

    /// The largest file of an artifact, in bytes.
    #[arg(long, default_value_t = 32 << 20)]
    pub artifact_max_file_bytes: u64,

    /// The largest number of entries of an artifact.
    #[arg(long, default_value_t = 100_000)]
    pub artifact_max_entries: u64,

    /// Unpacked bytes for each downloaded one above which an artifact is taken for a bomb.
    #[arg(long, default_value_t = 200)]
    pub artifact_max_compression_ratio: u64,

    /// Host and port that replace those of source-controller's artifact URLs, to run outside the cluster.
    #[arg(long, env = "SOURCE_CONTROLLER_LOCALHOST", hide = true)]
    pub source_controller_localhost: Option<String>,

    /// The same for artifacts of source-watcher.
    #[arg(long, env = "SOURCE_WATCHER_LOCALHOST", hide = true)]
    pub source_watcher_localhost: Option<String>,

    /// Flags of Flux's controllers for what there is nothing of here.
    #[command(flatten)]
    pub without_effect: WithoutEffect,
}

/// Flags that Flux's controllers have in common and that change nothing here: requests are not limited but bounded by
/// `--concurrent`, and retries follow the BundleSync.
#[derive(Clone, Debug, Default, clap::Args)]
#[allow(missing_docs, reason = "they have no meaning")]
pub struct WithoutEffect {
    #[arg(long, hide = true)]
    pub kube_api_qps: Option<String>,
    #[arg(long, hide = true)]
    pub kube_api_burst: Option<String>,
    #[arg(long, hide = true)]
    pub min_retry_delay: Option<String>,
    #[arg(long, hide = true)]
    pub max_retry_delay: Option<String>,
    #[arg(long, hide = true)]
    pub concurrent_ssa: Option<String>,
    #[arg(long, hide = true)]
    pub token_cache_max_size: Option<String>,
    #[arg(long, hide = true)]
    pub token_cache_max_duration: Option<String>,
    /// No build fetches anything here.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub no_remote_bases: Option<String>,
}

impl WithoutEffect {
    /// The names of those that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("--kube-api-qps", &self.kube_api_qps),
            ("--kube-api-burst", &self.kube_api_burst),
            ("--min-retry-delay", &self.min_retry_delay),
            ("--max-retry-delay", &self.max_retry_delay),
            ("--concurrent-ssa", &self.concurrent_ssa),
            ("--token-cache-max-size", &self.token_cache_max_size),
            ("--token-cache-max-duration", &self.token_cache_max_duration),
            ("--no-remote-bases", &self.no_remote_bases),
        ];
        flags.into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name).collect()
    }
}

/// What can be turned on or off. Names and defaults are those of kustomize-controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    /// A variable without value and default is an error, rather than empty.
    pub strict_post_build_substitutions: bool,
    /// ConfigMaps and Secrets with variables are not watched.
    pub disable_config_watchers: bool,
    /// What is depended on has to be ready as well, where a `readyExpr` is given.
    pub additive_cel_dependency_check: bool,
    /// Those that were given and change nothing here.
    pub without_effect: Vec<String>,
}

/// An address to serve on, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub Option<SocketAddr>);

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Error,
}

impl LogLevel {
    /// The directives for the log filter. What a library tells in detail may hold values of objects, such as the answers
    /// of the API server word by word: only our own crates are heard then.
    pub fn directives(self) -> &'static str {
        match self {
            Self::Trace => "info,controller=trace,artifact=trace",
            Self::Debug => "info,controller=debug,artifact=debug",
            Self::Info => "info",
            Self::Error => "error",
        }
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogEncoding {
    /// One JSON object a line, with Flux's field names.
    Json,
    /// For people.
    Console,
}

/// Go's `:8080` means every address of the machine, of IPv4 and of IPv6.
fn address(text: &str) -> Result<Address, String> {
    if matches!(text, "" | "0") {
        return Ok(Address(None));
    }
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    match full.parse() {
        Ok(address) => Ok(Address(Some(address))),
        Err(_) => Err("expected ADDRESS:PORT or :PORT, or 0 to turn it off".to_owned()),
    }
}

/// The gates that turn something on or off here.
const GATES: [&str; 3] = ["StrictPostBuildSubstitutions", "DisableConfigWatchers", "AdditiveCELDependencyCheck"];

/// Gates of Flux's controllers for what there is nothing of here.
const GATES_OF_FLUX: [&str; 9] = [
    "CacheSecretsAndConfigMaps",
    "CancelHealthCheckOnNewRevision",
    "DirectSourceFetch",
    "DisableFailFastBehavior",
    "DisableStatusPollerCache",
    "ExternalArtifact",
    "GroupChangeLog",
    "MigrateAPIVersion",
    "ObjectLevelWorkloadIdentity",
];

fn feature_gates(text: &str) -> Result<FeatureGates, String> {
    let mut gates = FeatureGates {
        strict_post_build_substitutions: true,
        disable_config_watchers: false,
        additive_cel_dependency_check: false,
        without_effect: Vec::new(),
    };
    for gate in text.split(',').map(str::trim).filter(|gate| !gate.is_empty()) {
        let (name, value) = gate.split_once('=').ok_or_else(|| format!("{gate}: expected NAME=true or NAME=false"))?;
        let value = value.trim().parse().map_err(|_| format!("{gate}: expected NAME=true or NAME=false"))?;
        match name.trim() {
            "StrictPostBuildSubstitutions" => gates.strict_post_build_substitutions = value,
            "DisableConfigWatchers" => gates.disable_config_watchers = value,
            "AdditiveCELDependencyCheck" => gates.additive_cel_dependency_check = value,
            name if GATES_OF_FLUX.contains(&name) => gates.without_effect.push(name.to_owned()),
            name => return Err(format!("{name} is no feature gate; known are {}", GATES.join(", "))),
        }
    }
    Ok(gates)
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse().map(|duration: api::Duration| duration.as_std()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;

    /// docs/controller.md names each flag of `--help` in its table, and no other.
    #[test]
    fn every_flag_is_in_the_manual() {
        let manual = include_str!("../../docs/controller.md");
        let cells = manual.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        let told: BTreeSet<&str> =
            cells.flat_map(|cell| cell.split('`')).filter_map(|part| part.strip_prefix("--")).collect();
        let command = Args::command();
        let flags = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let known: BTreeSet<&str> = flags.filter_map(|argument| argument.get_long()).collect();
        assert_eq!(told, known);
    }

    #[test]
    fn every_feature_gate_is_in_the_help_and_in_the_manual() {
        let command = Args::command();
        let flag = command.get_arguments().find(|argument| argument.get_long() == Some("feature-gates")).unwrap();
        let help = flag.get_help().unwrap().to_string();
        let manual = include_str!("../../docs/controller.md");
        let row = manual.lines().find(|line| line.starts_with("| `--feature-gates`")).unwrap();
        for gate in GATES {
            assert!(feature_gates(&format!("{gate}=true")).unwrap().without_effect.is_empty(), "{gate}");
            assert!(help.contains(gate), "{gate}: {help}");
            assert!(row.contains(gate), "{gate}: {row}");
        }
    }

    #[test]
    fn flags_read_as_those_of_flux() {
        Args::try_parse_from(["x"]).unwrap();
        let args = Args::try_parse_from([
            "x",
            "--watch-all-namespaces=false",
            "--metrics-addr",
            "0",
            "--health-addr=127.0.0.1:1234",
            "--requeue-dependency=1m5s",
            "--feature-gates=StrictPostBuildSubstitutions=false",
        ])
        .unwrap();
        assert!(!args.watch_all_namespaces);
        assert_eq!(args.metrics_addr, Address(None));
        assert_eq!(args.health_addr.0.unwrap().port(), 1234);
        assert_eq!(args.requeue_dependency, Duration::from_secs(65));
        assert!(!args.feature_gates.strict_post_build_substitutions);
        assert!(Args::try_parse_from(["x"]).unwrap().feature_gates.strict_post_build_substitutions);
        // As the manifests of Flux have them, and as those who run it patch them.
        let args = Args::try_parse_from([
            "x",
            "--events-addr=http://notification-controller.flux-system.svc.cluster.local./",
            "--watch-all-namespaces=true",
            "--log-level=info",
            "--log-encoding=json",
            "--enable-leader-election",
            "--no-cross-namespace-refs=true",
            "--no-remote-bases=true",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--http-retry=3",
            "--min-retry-delay=5s",
            "--feature-gates=CancelHealthCheckOnNewRevision=true,StrictPostBuildSubstitutions=false",
            "--watch-label-selector=sharding.fluxcd.io/key=shard1",
            "--concurrent=10",
            "--requeue-dependency=5s",
        ])
        .unwrap();
        assert!(args.no_cross_namespace_refs && args.enable_leader_election);
        assert_eq!(args.feature_gates.without_effect, ["CancelHealthCheckOnNewRevision"]);
        assert_eq!((args.http_retry, args.watch_label_selector.as_str()), (3, "sharding.fluxcd.io/key=shard1"));
        assert_eq!(
            args.without_effect.given(),
            ["--kube-api-qps", "--kube-api-burst", "--min-retry-delay", "--no-remote-bases"]
        );
        assert!(Args::try_parse_from(["x", "--no-cross-namespace-refs"]).unwrap().no_cross_namespace_refs);
        // What restricts, and would not.
        assert!(Args::try_parse_from(["x", "--default-service-account=limited"]).is_err());
        for bad in [
            ["x", "--concurrent=0"],
            ["x", "--health-addr=nowhere"],
            ["x", "--api-timeout=-1s"],
            ["x", "--api-timeout="],
            ["x", "--api-timeout=99999999999999999999h"],
            ["x", "--feature-gates=Unheard=true"],
            ["x", "--feature-gates=StrictPostBuildSubstitutions"],
        ] {
            assert!(Args::try_parse_from(bad).is_err(), "{bad:?}");
        }
    }
}
