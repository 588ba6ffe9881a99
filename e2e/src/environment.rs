//! The servers of a test run, and what tests ask of them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::audit::{self, AuditEvent};
use crate::binaries::ControlPlane;
use crate::cluster;
use crate::controller::{ControllerOptions, ControllerProcess};
use crate::eventually::eventually;
use crate::flux::SourceController;
use crate::git::GitServer;
use crate::process::{Process, Program, Server, remove_afterwards};
use crate::registry::Registry;
use crate::service_account_key::ServiceAccountKey;
use crate::simulation::{PlayedRunner, Simulation};
use crate::user::{User, token_file, write_kubeconfig};

/// When set, scratch folders stay after the run.
const KEEP: &str = "PORTER_FLUX_E2E_KEEP";

/// How often a start is tried: another process can take a port between its choice and its use.
const ATTEMPTS: u32 = 3;

static SHARED: OnceCell<Result<Environment, String>> = OnceCell::const_new();

/// A Kubernetes API with its real servers, the CRDs, the controller's rights and a git server, on loopback ports.
///
/// The rest starts when a test first asks for it. Everything ends with the process, however that ends.
#[derive(Debug)]
pub struct Environment {
    folder: PathBuf,
    logs: PathBuf,
    control_plane: ControlPlane,
    server: String,
    git: GitServer,
    source_controller: OnceCell<SourceController>,
    registry: OnceCell<Registry>,
    operator: OnceCell<Simulation>,
    controllers: AtomicU32,
    /// Servers that live in this process run here, so that they outlive the runtime of the test that started them.
    runtime: Option<Runtime>,
    controller_manager: Server,
    api_server: Server,
    _etcd: Process,
    /// Last, so that the folder goes after all that use it.
    _scratch: Scratch,
}

/// The folder of a run, removed when the environment is dropped or, where that never happens, after the process.
#[derive(Debug)]
struct Scratch {
    _folder: Option<TempDir>,
    _remover: Option<Process>,
}

impl Environment {
    /// The environment of this test process; the first call starts it.
    ///
    /// # Panics
    /// When it does not start: no test can go on then.
    #[expect(clippy::panic, reason = "tests have nobody else to tell")]
    pub async fn shared() -> &'static Self {
        let outcome = SHARED.get_or_init(|| async { Self::start().await.map_err(|error| format!("{error:#}")) });
        match outcome.await {
            Ok(environment) => environment,
            Err(error) => panic!("the test environment does not start: {error}"),
        }
    }

    /// Starts an environment of its own.
    ///
    /// # Errors
    /// When the pinned servers cannot be built, or one does not start.
    pub async fn start() -> Result<Self> {
        let control_plane = tokio::task::spawn_blocking(ControlPlane::build).await??;
        let mut attempt = 1;
        loop {
            match Self::start_once(control_plane.clone()).await {
                Err(error) if attempt < ATTEMPTS => {
                    eprintln!("e2e: start {attempt} of {ATTEMPTS} failed, trying again: {error:#}");
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn start_once(control_plane: ControlPlane) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("porter-flux-e2e-").tempdir()?;
        let folder = scratch.path().to_owned();
        let scratch = match std::env::var_os(KEEP) {
            Some(_) => {
                eprintln!("e2e: {KEEP} is set: {} stays", scratch.keep().display());
                Scratch { _folder: None, _remover: None }
            }
            None => {
                let remover = remove_afterwards(&folder)?;
                Scratch { _folder: Some(scratch), _remover: Some(remover) }
            }
        };
        let logs = log_folder()?;
        let [etcd_client, etcd_peer, api, manager] = free_ports().await?;

        let client_url = format!("http://127.0.0.1:{etcd_client}");
        let peer_url = format!("http://127.0.0.1:{etcd_peer}");
        let etcd = Program::new("etcd", &control_plane.binary("etcd"), &logs.join("etcd.log"))
            .args([&format!("--listen-client-urls={client_url}"), &format!("--advertise-client-urls={client_url}")])
            .args([&format!("--listen-peer-urls={peer_url}"), &format!("--initial-advertise-peer-urls={peer_url}")])
            .arg(format!("--initial-cluster=default={peer_url}"))
            .arg(format!("--data-dir={}", folder.join("etcd").display()))
            .args(["--unsafe-no-fsync", "--log-level=warn"]);
        let mut etcd = etcd.start()?;

        let (key, public_key) = (folder.join("service-account.pem"), folder.join("service-account-public.pem"));
        let generated = ServiceAccountKey::generate()?;
        std::fs::write(&key, generated.private)?;
        std::fs::write(&public_key, generated.public)?;
        let tokens = folder.join("tokens.csv");
        std::fs::write(&tokens, token_file())?;
        let policy = folder.join("audit-policy.yaml");
        std::fs::write(&policy, audit::POLICY)?;
        let certificates = folder.join("certificates");
        let server = format!("https://127.0.0.1:{api}");
        let apiserver =
            Program::new("kube-apiserver", &control_plane.binary("kube-apiserver"), &logs.join("kube-apiserver.log"))
                .arg(format!("--etcd-servers={client_url}"))
                .args([&format!("--secure-port={api}"), "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
                .arg(format!("--cert-dir={}", certificates.display()))
                .arg(format!("--token-auth-file={}", tokens.display()))
                .args(["--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"])
                .arg(format!("--service-account-issuer={server}"))
                .arg(format!("--service-account-key-file={}", public_key.display()))
                .arg(format!("--service-account-signing-key-file={}", key.display()))
                .arg("--service-cluster-ip-range=10.0.0.0/24")
                // The endpoints of the service `kubernetes` may not be loopback, and nobody needs them.
                .arg("--endpoint-reconciler-type=none")
                .arg(format!("--audit-policy-file={}", policy.display()))
                .arg(format!("--audit-log-path={}", folder.join("audit.log").display()))
                // No rotation: events are counted over the whole run.
                .arg("--audit-log-maxsize=4096");
        let api_server = Server::start(apiserver)?;
        wait_until_ready(&server, || etcd.check().and_then(|()| api_server.check())).await?;

        let authority = std::fs::read_to_string(certificates.join("apiserver.crt"))
            .context("kube-apiserver wrote no certificate of its own")?;
        let kubeconfigs = folder.join("kubeconfig");
        std::fs::create_dir_all(&kubeconfigs)?;
        for user in User::ALL {
            write_kubeconfig(&kubeconfigs.join(user.name()), &server, &authority, user)?;
        }

        let admin = Client::try_from(config(&kubeconfigs.join(User::Admin.name())).await?)?;
        cluster::set_up(&admin, &control_plane.crds()).await?;

        // After the CRDs: its garbage collector looks for new kinds every 30 s only, and until then collects none of theirs.
        let manager_config = kubeconfigs.join(User::ControllerManager.name());
        let manager_config = manager_config.display();
        let controller_manager = Program::new(
            "kube-controller-manager",
            &control_plane.binary("kube-controller-manager"),
            &logs.join("kube-controller-manager.log"),
        )
        .arg(format!("--kubeconfig={manager_config}"))
        .arg(format!("--authentication-kubeconfig={manager_config}"))
        .arg(format!("--authorization-kubeconfig={manager_config}"))
        .args(["--leader-elect=false", "--bind-address=127.0.0.1", &format!("--secure-port={manager}")])
        .arg(format!("--cert-dir={}", folder.join("controller-manager").display()))
        .arg(format!("--service-account-private-key-file={}", key.display()))
        .args(["--kube-api-qps=300", "--kube-api-burst=600", "--concurrent-gc-syncs=20"])
        .arg(
            "--controllers=job-controller,ttl-after-finished-controller,garbage-collector-controller,\
             namespace-controller,serviceaccount-controller,persistentvolumeclaim-protection-controller",
        );
        let controller_manager = Server::start(controller_manager)?;

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("e2e-environment")
            .enable_all()
            .build()?;
        let git_folder = folder.join("git");
        let git = runtime.spawn(async move { GitServer::start(&git_folder).await }).await??;
        Ok(Self {
            folder,
            logs,
            control_plane,
            server,
            git,
            source_controller: OnceCell::new(),
            registry: OnceCell::new(),
            operator: OnceCell::new(),
            controllers: AtomicU32::new(0),
            runtime: Some(runtime),
            controller_manager,
            api_server,
            _etcd: etcd,
            _scratch: scratch,
        })
    }

    /// Where the API server listens.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The API server, which whoever wants can take away for a time. It comes back at the same place with all that was
    /// in it. Tests that share an environment all suffer.
    pub fn api_server(&self) -> &Server {
        &self.api_server
    }

    /// kube-controller-manager: Jobs, their pods, garbage collection, namespaces. Tests that share an environment all suffer
    /// when it is away.
    pub fn controller_manager(&self) -> &Server {
        &self.controller_manager
    }

    /// Waits until the API server answers.
    ///
    /// # Errors
    /// When it has ended, or is not ready in time.
    pub async fn api_server_is_ready(&self) -> Result<()> {
        wait_until_ready(&self.server, || self.api_server.check()).await
    }

    /// The scratch folder of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where every process writes its log. It stays after the run, until the next run of the same executable.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The pinned servers and tools.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// A file that lets `user` in.
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.folder.join("kubeconfig").join(user.name())
    }

    /// A client for `user`, for the runtime that asks.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn client(&self, user: User) -> Result<Client> {
        Ok(Client::try_from(self.config(user).await?)?)
    }

    pub(crate) async fn config(&self, user: User) -> Result<Config> {
        config(&self.kubeconfig(user)).await
    }

    /// A fresh namespace whose name begins with `prefix`.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.client(User::Test).await?);
        let metadata = ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let made = namespaces.create(&PostParams::default(), &namespace).await?;
        made.metadata.name.context("the API server made a namespace without a name")
    }

    /// The git server.
    pub fn git(&self) -> &GitServer {
        &self.git
    }

    /// source-controller; the first call starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn source_controller(&self) -> Result<&SourceController> {
        self.source_controller.get_or_try_init(|| SourceController::start(self)).await
    }

    /// An OCI registry; the first call starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn registry(&self) -> Result<&Registry> {
        self.registry.get_or_try_init(|| Registry::start(self)).await
    }

    /// The Porter operator; the first call starts it. It is the simulated one, or with `PORTER_OPERATOR` the binary that
    /// it names.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn operator(&self) -> Result<()> {
        self.operator.get_or_try_init(|| Simulation::operator(self)).await?;
        Ok(())
    }

    /// Plays the pods of Porter's Jobs. No namespace may have two such players: either each test has one for its own
    /// namespace, or one plays them all.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub async fn runner(&self, options: simulated_runner::Options) -> Result<PlayedRunner> {
        PlayedRunner::start(self, options).await
    }

    /// Starts the controller under test, and waits until it is ready. Dropping the answer kills it.
    ///
    /// # Errors
    /// When it was not built, or does not become ready.
    pub async fn controller(&self, options: ControllerOptions) -> Result<ControllerProcess> {
        let mut controller = self.launch_controller(options).await?;
        controller.wait_until_ready().await?;
        Ok(controller)
    }

    /// Starts the controller under test without waiting, where it is not to be ready yet.
    ///
    /// # Errors
    /// When it was not built.
    pub async fn launch_controller(&self, options: ControllerOptions) -> Result<ControllerProcess> {
        let number = self.controllers.fetch_add(1, Ordering::Relaxed);
        ControllerProcess::start(self, options, number).await
    }

    /// What `user` asked of the API server at or after `since`.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn audit(&self, user: User, since: Timestamp) -> Result<Vec<AuditEvent>> {
        audit::read(&self.folder.join("audit.log"), user, since)
    }

    /// Runs the flux CLI as [`User::Test`] and gives what it printed on both outputs.
    ///
    /// # Errors
    /// When it fails, with what it printed.
    pub async fn flux<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        let arguments: Vec<String> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let output = tokio::process::Command::new(self.control_plane.binary("flux"))
            .args(&arguments)
            .env("KUBECONFIG", self.kubeconfig(User::Test))
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run flux")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "flux {} failed ({}): {text}", arguments.join(" "), output.status);
        Ok(text)
    }

    /// Runs a future on the environment's own runtime, where it outlives the test that starts it.
    ///
    /// # Errors
    /// When the environment is being dropped.
    pub fn spawn<F>(&self, future: F) -> Result<tokio::task::JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Ok(self.runtime.as_ref().context("the environment is gone")?.spawn(future))
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        drop(self.operator.take());
        drop(self.source_controller.take());
        drop(self.registry.take());
        if let Some(runtime) = self.runtime.take() {
            // A plain drop would block, which is a panic inside another runtime.
            runtime.shutdown_background();
        }
    }
}

async fn config(kubeconfig: &Path) -> Result<Config> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// `target/e2e-logs/NAME OF THE EXECUTABLE`, emptied.
fn log_folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let name = own.file_stem().unwrap_or_default().to_string_lossy();
    // cargo puts a hash behind the name of a test executable; without it the folder of the last run is found again.
    let name = match name.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 => name.to_owned(),
        _ => name.into_owned(),
    };
    let target = own.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned);
    let logs = target.unwrap_or_else(std::env::temp_dir).join("e2e-logs").join(name);
    if logs.exists() {
        std::fs::remove_dir_all(&logs).with_context(|| format!("cannot empty {}", logs.display()))?;
    }
    std::fs::create_dir_all(&logs)?;
    Ok(logs)
}

/// Where ports are looked for: below those that operating systems give to outgoing connections, or a connection that a
/// neighbour opens could take one between its choice and its use.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// How many ports a process takes at a time.
const BLOCK: u16 = 500;

/// Ports that this process alone gives out: what dies and comes back finds its own free, though others look for some meanwhile.
#[derive(Default)]
struct Ports {
    left: std::ops::Range<u16>,
    /// Held for as long as the process lives.
    locks: Vec<File>,
}

static OURS: Mutex<Ports> = Mutex::new(Ports { left: 0..0, locks: Vec::new() });

impl Ports {
    fn next(&mut self) -> Result<u16> {
        if self.left.is_empty() {
            let (block, lock) = free_block()?;
            self.left = block;
            self.locks.push(lock);
        }
        self.left.next().context("a block without ports")
    }
}

/// A block that no process of this machine has.
fn free_block() -> Result<(std::ops::Range<u16>, File)> {
    // What another user made cannot be opened.
    let user = std::env::var("USER").unwrap_or_default();
    let folder = std::env::temp_dir().join(format!("porter-flux-e2e-ports-{user}"));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for first in PORTS.step_by(usize::from(BLOCK)) {
        let path = folder.join(first.to_string());
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        if file.try_lock().is_ok() {
            return Ok((first..first.saturating_add(BLOCK).min(PORTS.end), file));
        }
    }
    bail!("all loopback ports of {PORTS:?} are taken, by the locks in {}", folder.display())
}

/// Loopback ports that nobody listens on; this process is given each once.
///
/// # Errors
/// When all are in use.
pub async fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    for port in &mut ports {
        *port = free_port().await?;
    }
    Ok(ports)
}

async fn free_port() -> Result<u16> {
    loop {
        let port = OURS.lock().unwrap_or_else(PoisonError::into_inner).next()?;
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return Ok(port);
        }
    }
}

async fn wait_until_ready(server: &str, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    // Its certificate is made while it starts; all that is asked here is whether it answers.
    let http = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build()?;
    let url = format!("{server}/readyz");
    let waited = Duration::from_secs(120);
    let deadline = std::time::Instant::now() + waited;
    loop {
        check()?;
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let look = eventually(left.min(Duration::from_secs(1)), "an answer of the API server", || async {
            http.get(&url).send().await?.error_for_status()
        });
        match look.await {
            Ok(_) => return Ok(()),
            Err(error) if left.is_zero() => {
                return Err(error.context(format!("kube-apiserver was not ready within {} s", waited.as_secs())));
            }
            Err(_) => {}
        }
    }
}
