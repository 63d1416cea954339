//! HTTP beside the broker: `/metrics` for Prometheus, `/livez` and `/readyz` for whoever restarts or routes, `/` as a sign-post.
//! Knows nothing of the broker: whoever starts it says what the node says of itself. At most `CONNECTIONS_MAX` connections are
//! served at a time; more wait in the system's queue.

mod limited;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use limited::Limited;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;

/// HTTP connections served at a time: operators and scrapers, not clients.
pub const CONNECTIONS_MAX: usize = 64;

/// An answer that takes a moment.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Whether the node does its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Requests of clients are answered.
    pub ready: bool,
    /// What an operator should know, one sentence each.
    pub conditions: Vec<String>,
}

/// What the console shows.
pub trait Subject: Send + Sync + 'static {
    /// Content type and text of `/metrics`.
    fn metrics(&self) -> Answer<(&'static str, String)>;
    /// `/readyz`.
    fn readiness(&self) -> Answer<Readiness>;
}

/// Serves the console until the task is dropped.
///
/// # Errors
/// What the system says.
pub async fn serve(listener: TcpListener, subject: Arc<dyn Subject>) -> io::Result<()> {
    axum::serve(Limited::new(listener, CONNECTIONS_MAX), router(subject)).await
}

fn router(subject: Arc<dyn Subject>) -> Router {
    Router::new()
        .route("/", get(signpost))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(subject)
}

async fn signpost() -> &'static str {
    "Sternpost\n\n/metrics  OpenMetrics\n/livez    the process answers\n/readyz   requests of clients are answered, and what an operator should know\n"
}

async fn metrics(State(subject): State<Arc<dyn Subject>>) -> Response {
    let (content_type, text) = subject.metrics().await;
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(subject): State<Arc<dyn Subject>>) -> Response {
    let readiness = subject.readiness().await;
    let (status, first) = if readiness.ready {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    };
    let mut text = first.to_string();
    for condition in &readiness.conditions {
        text.push_str("- ");
        text.push_str(condition);
        text.push('\n');
    }
    (status, text).into_response()
}

#[cfg(test)]
mod tests;
