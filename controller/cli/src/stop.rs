//! Being asked to end: once, and once more.

use tokio::sync::watch;

/// How often the process was asked to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<u32>);

impl Stop {
    /// Listens at once, in a task of its own.
    ///
    /// # Errors
    /// When the system allows no handler.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let (count, counted) = watch::channel(0);
        let mut signals = Signals::listen()?;
        tokio::spawn(async move {
            loop {
                signals.next().await;
                count.send_modify(|count| *count += 1);
            }
        });
        Ok(Self(counted))
    }

    /// Never is asked.
    pub(crate) fn never() -> Self {
        Self(watch::channel(0).1)
    }

    /// Whether it was asked.
    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Is there when it is asked.
    pub(crate) async fn asked(&self) {
        self.times(1).await;
    }

    /// Is there when it is asked again.
    pub(crate) async fn insisted(&self) {
        self.times(2).await;
    }

    async fn times(&self, times: u32) {
        let mut counted = self.0.clone();
        if counted.wait_for(|count| *count >= times).await.is_err() {
            // Nobody counts, so nobody asks.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
    fn listen() -> anyhow::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
