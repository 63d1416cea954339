//! Metrics and health as a scraper and an orchestrator ask for them.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Sample(Readiness);

impl Subject for Sample {
    fn metrics(&self) -> Answer<(&'static str, String)> {
        Box::pin(async { ("text/x-sample", "sample 1\n".to_string()) })
    }

    fn readiness(&self) -> Answer<Readiness> {
        let readiness = self.0.clone();
        Box::pin(async move { readiness })
    }
}

async fn ask(readiness: Readiness, path: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Arc::new(Sample(readiness))));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: sternpost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn pages() {
    let ready = Readiness { ready: true, conditions: Vec::new() };
    assert!(ask(ready.clone(), "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(ask(ready.clone(), "/readyz").await.ends_with("ready\n"));
    assert!(ask(ready.clone(), "/nothing").await.starts_with("HTTP/1.1 404"));
    let metrics = ask(ready, "/metrics").await;
    assert!(metrics.contains("content-type: text/x-sample"));
    assert!(metrics.ends_with("sample 1\n"));
    let full = Readiness { ready: false, conditions: vec!["the disk is full".into()] };
    let answer = ask(full, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"));
    assert!(answer.ends_with("not ready\n- the disk is full\n"));
}
