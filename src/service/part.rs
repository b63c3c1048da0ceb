//! The tasks of the service. The first that ends before the stop ends the service: a replica without its
//! worker or its inbox would look healthy and do nothing.

use std::fmt;

use futures::future::BoxFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Run = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// A task that runs until its token is cancelled.
pub(super) struct Part {
    name: &'static str,
    run: Run,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Part {
    pub fn new<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        run: impl FnOnce(CancellationToken) -> F + Send + Sync + 'static,
    ) -> Self {
        let run: Run = Box::new(|stop| Box::pin(run(stop)));
        Self { name, run }
    }
}

pub(super) struct Running {
    pub name: &'static str,
    pub task: JoinHandle<()>,
}

impl Running {
    pub async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::error!(task = self.name, %error, "a task of the service failed");
        }
    }
}

pub(super) struct Parts {
    sender: UnboundedSender<&'static str>,
    ended: UnboundedReceiver<&'static str>,
}

impl Parts {
    pub fn new() -> Self {
        let (sender, ended) = unbounded_channel();
        Self { sender, ended }
    }

    pub fn start(&self, part: Part, stop: &CancellationToken) -> Running {
        let Part { name, run } = part;
        let end = End(name, self.sender.clone());
        let running = run(stop.clone());
        let task = tokio::spawn(async move {
            let _end = end;
            running.await;
        });
        Running { name, task }
    }

    pub async fn first_end(&mut self) -> &'static str {
        match self.ended.recv().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }
}

/// Dropped when the task ends, in a panic too.
struct End(&'static str, UnboundedSender<&'static str>);

impl Drop for End {
    fn drop(&mut self) {
        // While the service stops, nothing waits for it any more.
        let _ = self.1.send(self.0);
    }
}
