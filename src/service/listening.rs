//! The server of both listeners: how connections begin, what they may cost, and how they end.
//!
//! A client that sends nothing, sends half a head or reads no answer costs one of a bounded number of
//! connections and a bounded buffer, for a limited time. When all connections are in use, a new one
//! replaces the one that has been silent for longest, those of strangers first, so hostile connections
//! keep out no others. A stranger gets one answer a connection on the callback listener, and on the other one
//! while all its connections are in use, so that many requests cost as many connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::StartError;
use crate::telemetry::warn_seldom;

/// Connections that wait to be accepted. The kernel may allow fewer.
const BACKLOG: i32 = 4096;

/// What a connection buffers of a head, and of a body at a time.
const BUFFER: usize = 32 * 1024;

const CALLBACK_CONNECTIONS: usize = 4096;
const ADMIN_CONNECTIONS: usize = 512;
/// Open files for all else: the database, Chat, a backend, logs.
const OTHER_FILES: usize = 256;

/// The pause before another try to accept a connection or to make room for one.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// Connections that make room for new ones at the same time.
const CLOSING_AT_ONCE: usize = 16;

/// How long a new connection, and one that was just answered, keeps its place in any case: its request
/// may be on its way.
const GRACE: Duration = Duration::from_millis(100);

/// How long a listener that stops waits for the first request of a connection. A proxy that opened it
/// for a request does not send a POST again.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_millis(500);

/// What the connections of a listener may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub connections: usize,
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Without a byte in either direction while no request is being handled.
    pub silence: Duration,
    /// Whether a connection may ask again before one of its requests proved who sends it, while not all
    /// are in use.
    pub keeps_strangers: bool,
}

impl Limits {
    fn new(connections: usize, keeps_strangers: bool) -> Self {
        Self {
            connections,
            keeps_strangers,
            head: Duration::from_secs(10),
            // Longer than common proxies keep a connection (60 s), so that they close it first.
            silence: Duration::from_secs(75),
        }
    }

    /// Those of the callback and of the admin listener, as the limit of open files allows.
    pub fn of_both() -> (Self, Self) {
        let files = open_files();
        let free = files.saturating_sub(OTHER_FILES);
        let admin = (free / 8).clamp(16, ADMIN_CONNECTIONS);
        let callback = free.saturating_sub(admin).clamp(64, CALLBACK_CONNECTIONS);
        if callback < CALLBACK_CONNECTIONS {
            let enough = CALLBACK_CONNECTIONS + ADMIN_CONNECTIONS + OTHER_FILES;
            tracing::warn!(
                open_files = files,
                callback_connections = callback,
                admin_connections = admin,
                "the limit of open files (ulimit -n) allows few connections; raise it to {enough}"
            );
        }
        (Self::new(callback, false), Self::new(admin, true))
    }
}

/// The limit of open files, after it was raised as far as the system allows.
fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let files = match setrlimit(Resource::Nofile, highest) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let files = files.and_then(|files| usize::try_from(files).ok());
    files.unwrap_or(usize::MAX)
}

/// Binds the address of a key. `[::]` also takes IPv4; a machine without IPv6 gets `0.0.0.0`.
pub(crate) fn listen(
    key: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |reason| StartError::Listen {
        key,
        address,
        reason,
    };
    let bound = match bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && !is_refused(&error) => {
            tracing::info!(key, %error, "cannot listen on IPv6, listening on IPv4 only");
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        bound => bound,
    };
    let listener = bound.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Whether another address of this port would be refused too.
fn is_refused(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, PermissionDenied};
    matches!(error.kind(), AddrInUse | PermissionDenied)
}

/// `[::]` includes IPv4 whatever the system's default is.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Answers until stopped and every request under way has ended.
pub(super) async fn serve(
    (listener, router): (TcpListener, Router),
    limits: Limits,
    stop: CancellationToken,
) {
    let connections = Arc::new(Connections::new(limits));
    let tasks = TaskTracker::new();
    let begin = async |(stream, peer)| {
        let place = connections.place().await;
        let stream = TimedStream::new(stream, Arc::clone(&place));
        tasks.spawn(answer_all(
            stream,
            peer,
            router.clone(),
            place,
            stop.clone(),
        ));
    };
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok(accepted) => begin(accepted).await,
            Err(error) => {
                warn_seldom!(%error, "cannot accept a connection; closing a silent one");
                connections.open.lock().close_most_silent();
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    // To close the port resets the connections that wait to be accepted. The system is asked for them:
    // tokio knows only those of its last look.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, peer)) = listener.accept() {
            let stream = stream.set_nonblocking(true).map(|()| stream);
            if let Ok(stream) = stream.and_then(TcpStream::from_std) {
                begin((stream, peer)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// Answers the requests of one connection.
async fn answer_all(
    stream: TimedStream,
    peer: SocketAddr,
    router: Router,
    place: Arc<Place>,
    stop: CancellationToken,
) {
    let answering = Arc::clone(&place);
    let service = service_fn(move |mut request: Request<Incoming>| {
        // Forwarded callbacks name the peer they came from.
        request.extensions_mut().insert(ConnectInfo(peer));
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let handling = Handling::begin(&answering, request.body());
        // Dropped with the body, read or not.
        let mut body = Some(BodyExpected(Arc::clone(&answering)));
        let at_its_end = poll_fn(move |_| {
            drop(body.take());
            Poll::Ready(None)
        });
        let request = request.map(|body| Body::new(body.with_trailers(at_its_end)));
        let answer = router.clone().oneshot(request);
        async move {
            let Ok(mut answer) = answer.await;
            let proves = !reads && answer.status().is_success();
            let trusted = handling.0.trusts(proves);
            if !trusted && !handling.0.connections.keep_strangers() {
                close_after(&mut answer);
            }
            drop(handling);
            Ok::<_, Infallible>(answer)
        }
    });
    // hyper's own limit of time for a head also runs between requests, and would close what proxies keep
    // open.
    let mut connection = http1::Builder::new();
    connection.header_read_timeout(None).max_buf_size(BUFFER);
    let mut connection = pin!(connection.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
            return;
        }
        () = place.activity.close.notified() => return,
        () = stop.cancelled() => {}
    }
    let ended = async {
        if !place.activity.progress.lock().answered {
            let first = tokio::time::timeout(FIRST_REQUEST_WITHIN, connection.as_mut());
            if first.await.is_ok() {
                return;
            }
        }
        connection.as_mut().graceful_shutdown();
        // The client gets its answer or not; there is nothing left to do.
        let _ = connection.await;
    };
    tokio::select! {
        () = ended => {}
        () = place.activity.close.notified() => {}
    }
}

/// The open connections of a listener.
struct Connections {
    limits: Limits,
    open: Mutex<Open>,
    freed: Notify,
}

#[derive(Default)]
struct Open {
    last_id: u64,
    /// How many of them were told to close: their sockets are still open.
    closing: usize,
    by_id: HashMap<u64, Arc<Activity>>,
}

/// What one connection does.
struct Activity {
    progress: Mutex<Progress>,
    close: Notify,
}

struct Progress {
    phase: Phase,
    /// When the phase began, or the last bytes went out in it.
    since: Instant,
    /// The time of the latest answer or head of a request, else of the connection's begin.
    latest: Instant,
    answered: bool,
    /// Whether a request that is not just a read succeeded: on the callback listener only a callback that
    /// proved its origin does.
    trusted: bool,
    closing: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Silent,
    /// A part of a head came.
    Head,
    /// A request is handled, whose body may never be complete.
    Incomplete,
    Complete,
}

impl Activity {
    fn new() -> Self {
        let now = Instant::now();
        let progress = Progress {
            phase: Phase::Silent,
            since: now,
            latest: now,
            answered: false,
            trusted: false,
            closing: false,
        };
        Self {
            progress: Mutex::new(progress),
            close: Notify::new(),
        }
    }
}

impl Progress {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }

    fn is_handling(&self) -> bool {
        matches!(self.phase, Phase::Incomplete | Phase::Complete)
    }

    /// Whether it handles no complete request and its grace is over.
    fn may_close(&self, now: Instant) -> bool {
        !self.closing && self.phase != Phase::Complete && self.latest + GRACE <= now
    }
}

impl Connections {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Mutex::default(),
            freed: Notify::new(),
        }
    }

    fn keep_strangers(&self) -> bool {
        self.limits.keeps_strangers && self.open.lock().by_id.len() < self.limits.connections
    }

    /// A place for one more, which may cost the most silent one its own.
    async fn place(self: &Arc<Self>) -> Arc<Place> {
        loop {
            {
                let mut open = self.open.lock();
                if open.by_id.len() < self.limits.connections {
                    let activity = Arc::new(Activity::new());
                    open.last_id += 1;
                    let id = open.last_id;
                    open.by_id.insert(id, Arc::clone(&activity));
                    return Arc::new(Place {
                        connections: Arc::clone(self),
                        id,
                        activity,
                    });
                }
                // Several at once: each ends only in the next turn of its task.
                for _ in open.closing..(self.limits.connections / 64).clamp(1, CLOSING_AT_ONCE) {
                    open.close_most_silent();
                }
            }
            // Or none could be closed yet.
            let _ = tokio::time::timeout(ACCEPT_AGAIN, self.freed.notified()).await;
        }
    }
}

impl Open {
    /// Closes one that may be closed, if there is one. Those that are not trusted come first. Among them an
    /// answer is no merit: a stranger gets one at once, while a new connection of Chat may still have to
    /// send its request.
    fn close_most_silent(&mut self) {
        let now = Instant::now();
        let silent = self.by_id.iter().filter_map(|(id, activity)| {
            let progress = activity.progress.lock();
            let rank = (progress.trusted, progress.latest, *id);
            progress.may_close(now).then_some((rank, activity))
        });
        if let Some((_, activity)) = silent.min_by_key(|(rank, _)| *rank) {
            activity.progress.lock().closing = true;
            activity.close.notify_one();
            self.closing += 1;
        }
    }
}

/// One of the connections that a listener may have; dropped, it is free again.
struct Place {
    connections: Arc<Connections>,
    id: u64,
    activity: Arc<Activity>,
}

impl Place {
    /// Whether a request of the connection, this one included, proved who sends it.
    fn trusts(&self, proves: bool) -> bool {
        let mut progress = self.activity.progress.lock();
        progress.trusted |= proves;
        progress.trusted
    }

    fn body_is_complete(&self) {
        let mut progress = self.activity.progress.lock();
        if progress.phase == Phase::Incomplete {
            progress.phase = Phase::Complete;
        }
    }
}

/// A body that is neither complete nor dropped yet.
struct BodyExpected(Arc<Place>);

impl Drop for BodyExpected {
    fn drop(&mut self) {
        self.0.body_is_complete();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.by_id.remove(&self.id);
        if self.activity.progress.lock().closing {
            open.closing -= 1;
        }
        self.connections.freed.notify_one();
    }
}

/// A request that is being handled.
struct Handling(Arc<Place>);

impl Handling {
    fn begin(place: &Arc<Place>, body: &Incoming) -> Self {
        let mut progress = place.activity.progress.lock();
        progress.enter(match body.is_end_stream() {
            true => Phase::Complete,
            false => Phase::Incomplete,
        });
        progress.latest = progress.since;
        drop(progress);
        Self(Arc::clone(place))
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        let mut progress = self.0.activity.progress.lock();
        progress.enter(Phase::Silent);
        progress.latest = progress.since;
        progress.answered = true;
    }
}

/// A connection that fails when its client is silent for too long or sends a head too slowly. What
/// happens while a request is handled is the handler's concern.
struct TimedStream {
    stream: TcpStream,
    place: Arc<Place>,
    alarm: Pin<Box<Sleep>>,
}

impl TimedStream {
    fn new(stream: TcpStream, place: Arc<Place>) -> Self {
        // Answers are written in one piece.
        let _ = stream.set_nodelay(true);
        let deadline = Instant::now() + place.connections.limits.silence;
        Self {
            stream,
            place,
            alarm: Box::pin(sleep_until(deadline)),
        }
    }

    fn has_read(&self) {
        let mut progress = self.place.activity.progress.lock();
        if progress.phase == Phase::Silent {
            progress.enter(Phase::Head);
        }
    }

    fn has_written(&self) {
        let mut progress = self.place.activity.progress.lock();
        if !progress.is_handling() {
            progress.enter(Phase::Silent);
        }
    }

    fn deadline(&self) -> Instant {
        let limits = self.place.connections.limits;
        let progress = self.place.activity.progress.lock();
        match progress.phase {
            Phase::Silent => progress.since + limits.silence,
            Phase::Head => progress.since + limits.head,
            Phase::Incomplete | Phase::Complete => Instant::now() + limits.silence,
        }
    }

    /// Fails at the deadline. The alarm is always set, because the server does not look again when a
    /// request has ended; it is only moved when it would ring too late.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let deadline = self.deadline();
            if self.alarm.deadline() > deadline {
                self.alarm.as_mut().reset(deadline);
            }
            ready!(self.alarm.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.alarm.as_mut().reset(deadline);
        }
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() {
            return self.poll_deadline(cx).map(Err);
        }
        if buffer.filled().len() > before {
            self.has_read();
        }
        read
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_pending() {
            return self.poll_deadline(cx).map(Err);
        }
        self.has_written();
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Asks the client to use another connection next, and so another replica.
pub(super) async fn say_goodbye(
    State(leaving): State<CancellationToken>,
    mut response: Response,
) -> Response {
    if leaving.is_cancelled() {
        close_after(&mut response);
    }
    response
}

fn close_after(response: &mut Response) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}
