//! HTTP beside the broker: `/metrics` for Prometheus, `/livez` and `/readyz` for whoever restarts or routes, `/` as a sign-post.
//! `/readyz/safe-to-stop` is what a rolling restart waits for before it takes the next node down.
//! Knows nothing of the broker: whoever starts it says what the node says of itself. At most `CONNECTIONS_MAX` connections are
//! served at a time; more wait in the system's queue.

mod limited;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use limited::Limited;
use serde_json::json;
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
    /// Why the next node of the cluster must not be taken down, one sentence each; none: it may.
    pub must_stay: Vec<String>,
}

/// What the console shows.
pub trait Subject: Send + Sync + 'static {
    /// Content type and text of `/metrics`.
    fn metrics(&self) -> Answer<(&'static str, String)>;
    /// `/readyz` and `/readyz/safe-to-stop`.
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
        .route("/readyz/safe-to-stop", get(safe_to_stop))
        .with_state(subject)
}

async fn signpost() -> &'static str {
    "Sternpost\n\n\
     /metrics              OpenMetrics\n\
     /livez                the process answers\n\
     /readyz               requests of clients are answered, and what an operator should know\n\
     /readyz/safe-to-stop  any one node of the cluster may be taken down now\n"
}

async fn metrics(State(subject): State<Arc<dyn Subject>>) -> Response {
    let (content_type, text) = subject.metrics().await;
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

async fn livez() -> &'static str {
    "ok\n"
}

/// Whether JSON is wanted: `?output=` says so, else the header `Accept`.
fn wants_json(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match pairs.find_map(|pair| pair.strip_prefix("output=")) {
        Some(output) => output == "json",
        None => accept.is_some_and(|accept| accept.contains("application/json")),
    }
}

async fn readyz(State(subject): State<Arc<dyn Subject>>, uri: Uri, headers: HeaderMap) -> Response {
    let readiness = subject.readiness().await;
    if wants_json(&uri, &headers) {
        return as_json(readiness.ready, &readiness);
    }
    let mut text = if readiness.ready { "ready\n" } else { "not ready\n" }.to_string();
    list(&mut text, &readiness.conditions);
    text.push_str(safety(&readiness));
    list(&mut text, &readiness.must_stay);
    (status(readiness.ready), text).into_response()
}

async fn safe_to_stop(State(subject): State<Arc<dyn Subject>>, uri: Uri, headers: HeaderMap) -> Response {
    let readiness = subject.readiness().await;
    let is_safe = readiness.must_stay.is_empty();
    if wants_json(&uri, &headers) {
        return as_json(is_safe, &readiness);
    }
    let mut text = safety(&readiness).to_string();
    list(&mut text, &readiness.must_stay);
    (status(is_safe), text).into_response()
}

fn status(is_well: bool) -> StatusCode {
    if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn safety(readiness: &Readiness) -> &'static str {
    match readiness.must_stay.is_empty() {
        true => "safe to take the next node down: yes\n",
        false => "safe to take the next node down: no\n",
    }
}

fn list(text: &mut String, sentences: &[String]) {
    for sentence in sentences {
        text.push_str("- ");
        text.push_str(sentence);
        text.push('\n');
    }
}

fn as_json(is_well: bool, readiness: &Readiness) -> Response {
    let value = json!({
        "ready": readiness.ready, "conditions": readiness.conditions,
        "safe_to_stop": readiness.must_stay.is_empty(), "not_safe_because": readiness.must_stay,
    });
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status(is_well), content_type, format!("{value}\n")).into_response()
}

#[cfg(test)]
mod tests;
