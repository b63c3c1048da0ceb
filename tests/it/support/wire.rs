//! A TCP connection between two real parts that can be cut, held, slowed down and lost.
//!
//! Its port stays while what lies behind it moves, so a server can come back elsewhere.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A wire; dropped, it ends with all its connections.
pub struct Wire {
    address: SocketAddr,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    target: SocketAddr,
    /// No server listens.
    refused: bool,
    /// No byte passes, none is lost.
    held: bool,
    /// Each piece arrives so much later.
    delay: Duration,
    /// Connections made earlier than this are closed.
    cut: u64,
    /// Connections made earlier than this stay open and pass nothing.
    lost: u64,
    ended: bool,
}

impl Wire {
    /// A wire to `target`.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            target,
            refused: false,
            held: false,
            delay: Duration::ZERO,
            cut: 0,
            lost: 0,
            ended: false,
        };
        let (sender, receiver) = watch::channel(state);
        tokio::spawn(listen(listener, receiver));
        Self {
            address,
            state: sender,
        }
    }

    /// This end of it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections lead elsewhere.
    pub fn lead_to(&self, target: SocketAddr) {
        self.state.send_modify(|state| state.target = target);
    }

    /// Closes the port and every connection, or opens the port again.
    pub fn refuse(&self, refused: bool) {
        self.state.send_modify(|state| {
            state.refused = refused;
            state.cut += u64::from(refused);
        });
    }

    /// Holds every byte, or lets them go.
    pub fn hold(&self, held: bool) {
        self.state.send_modify(|state| state.held = held);
    }

    /// Each piece takes so much longer, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// The connections there are fall silent without an end, as when a machine loses its power. New
    /// ones work.
    pub fn lose_connections(&self) {
        self.state.send_modify(|state| state.lost += 1);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.ended = true);
    }
}

async fn listen(listener: TcpListener, mut state: watch::Receiver<State>) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    loop {
        let now = *state.borrow_and_update();
        if now.ended {
            return;
        }
        if now.refused {
            listener = None;
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => TcpListener::bind(address).await.unwrap(),
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(connect(stream, now, state.clone()));
                }
            }
            _ = state.changed() => {}
        }
        listener = Some(open);
    }
}

async fn connect(near: TcpStream, made: State, state: watch::Receiver<State>) {
    let Ok(far) = TcpStream::connect(made.target).await else {
        return;
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let ended = until(state.clone(), |state| state.ended || state.cut > made.cut);
    tokio::select! {
        () = ended => {}
        () = carry(near_read, far_write, made, state.clone()) => {}
        () = carry(far_read, near_write, made, state.clone()) => {}
    }
}

/// Carries one direction. A half that ends ends the connection, as every protocol used here wants.
async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    made: State,
    state: watch::Receiver<State>,
) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut piece).await;
        let now = *state.borrow();
        if now.lost > made.lost {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(now.delay).await;
        until(state.clone(), |state| !state.held || state.lost > made.lost).await;
        if state.borrow().lost > made.lost {
            std::future::pending::<()>().await;
        }
        match read {
            Ok(length @ 1..) if to.write_all(&piece[..length]).await.is_ok() => {}
            _ => return,
        }
    }
}

async fn until(mut state: watch::Receiver<State>, holds: impl Fn(&State) -> bool) {
    if state.wait_for(holds).await.is_err() {
        // The wire is gone with its test.
        std::future::pending::<()>().await;
    }
}
