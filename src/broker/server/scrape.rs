//! What Prometheus reads: `GET /metrics`, on a Unix socket of its own and on a loopback port where that is asked for.
//!
//! Never on the protocol's socket: who reads metrics asks for no permits. One request a connection, so that nobody keeps
//! a place who does not need it: a scrape comes every some seconds.
//!
//! ```text
//! accepted ── one of 16? ── header within 2 s, all of it within 10 s ──▶ GET, HEAD /metrics ──▶ 200
//!                 │ no: waits in the kernel's queue                       └ anything else   ──▶ 404, 405
//! ```

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Handle, ListenError, Listening};
use crate::broker::metrics::CONTENT_TYPE as METRICS;
use crate::broker::protocol::Scope;

/// Connections at once, on all listeners.
const MOST_AT_ONCE: usize = 16;

/// The request is to be there after so long.
const HEADER_WITHIN: Duration = Duration::from_secs(2);

/// And all of the answer read after so long.
const ALL_WITHIN: Duration = Duration::from_secs(10);

/// A request is a line and some headers; hyper takes no less than this.
const LONGEST_REQUEST: usize = 8 << 10;

/// An address that others than this machine could reach.
#[derive(Debug, thiserror::Error)]
#[error("others could reach it; use 127.0.0.1:{port}, and a proxy if they are to", port = .0.port())]
pub struct NotLoopback(SocketAddr);

/// Where metrics can be read.
#[derive(Debug, Default)]
pub struct Scrape {
    socket: Option<Removed>,
    port: Option<StdTcpListener>,
}

impl Scrape {
    /// Nowhere.
    pub fn new() -> Scrape {
        Scrape::default()
    }

    /// On a Unix socket, too.
    ///
    /// # Errors
    /// [`ListenError`], with what to do.
    pub fn at_socket(&mut self, path: &Path, scope: Scope) -> Result<(), ListenError> {
        self.socket = Some(Removed(Listening::at(path, scope)?));
        Ok(())
    }

    /// On a loopback port, too. Returns the address, with the port that was chosen where it said 0.
    ///
    /// # Errors
    /// [`NotLoopback`], or the system's.
    pub fn at_port(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, NotLoopback(address)));
        }
        let listener = StdTcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        self.port = Some(listener);
        Ok(address)
    }

    /// Serves until the local set ends. `log`: told what people should know.
    pub fn spawn(self, handle: &Handle) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(MOST_AT_ONCE));
        if let Some(port) = self.port {
            let listener = TcpListener::from_std(port)?;
            let accept = async move || listener.accept().await.map(|(stream, _)| stream);
            tokio::task::spawn_local(serve(accept, handle.clone(), places.clone()));
        }
        if let Some(socket) = self.socket {
            let owned = socket.0.listener.try_clone()?;
            owned.set_nonblocking(true)?;
            let listener = UnixListener::from_std(owned)?;
            let accept = async move || {
                // It goes with this task.
                let _ = &socket;
                listener.accept().await.map(|(stream, _)| stream)
            };
            tokio::task::spawn_local(serve(accept, handle.clone(), places));
        }
        Ok(())
    }
}

/// A socket that goes with its owner.
#[derive(Debug)]
struct Removed(Listening);

impl Drop for Removed {
    fn drop(&mut self) {
        self.0.remove();
    }
}

async fn serve<S>(accept: impl AsyncFn() -> io::Result<S>, handle: Handle, places: Arc<Semaphore>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let handle = Rc::new(handle);
    loop {
        // Before somebody is accepted: those for whom there is no place wait outside.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok(stream) = accept().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let handle = handle.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(&handle, request));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN);
            http.keep_alive(false).max_buf_size(LONGEST_REQUEST);
            // Whatever is wrong with a connection is its own business.
            let _ = timeout(ALL_WITHIN, http.serve_connection(TokioIo::new(stream), service)).await;
            drop(place);
        });
    }
}

async fn answer(handle: &Handle, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let plain = |status, text: &'static str| of(status, "text/plain; charset=utf-8", text.into());
    if request.uri().path() != "/metrics" {
        return Ok(plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n"));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    Ok(match handle.metrics().await {
        Some(Ok(text)) => of(StatusCode::OK, METRICS, text.into()),
        Some(Err(error)) => {
            of(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", error.to_string().into())
        }
        None => plain(StatusCode::SERVICE_UNAVAILABLE, "the broker ends\n"),
    })
}

fn of(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
