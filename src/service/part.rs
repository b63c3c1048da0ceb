//! The tasks of the service. The first that ends before the stop ends the service: a replica without its
//! worker or its inbox would look healthy and do nothing.

use futures::future::BoxFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// A task that runs until it is stopped, and its name.
pub(super) type Part = (&'static str, BoxFuture<'static, ()>);

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

    pub fn start(&self, (name, running): Part) -> Running {
        let end = End(name, self.sender.clone());
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
