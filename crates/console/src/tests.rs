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
    ask_with(readiness, path, "").await
}

/// With further header lines.
async fn ask_with(readiness: Readiness, path: &str, headers: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Arc::new(Sample(readiness))));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: sternpost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn pages() {
    let ready = Readiness { ready: true, ..Readiness::default() };
    assert!(ask(ready.clone(), "/livez").await.starts_with("HTTP/1.1 200"));
    let answer = ask(ready.clone(), "/readyz").await;
    assert!(answer.ends_with("\r\n\r\nready\nsafe to take the next node down: yes\n"), "{answer}");
    assert!(ask(ready.clone(), "/nothing").await.starts_with("HTTP/1.1 404"));
    let metrics = ask(ready, "/metrics").await;
    assert!(metrics.contains("content-type: text/x-sample"));
    assert!(metrics.ends_with("sample 1\n"));
    let full = Readiness { ready: false, conditions: vec!["the disk is full".into()], must_stay: Vec::new() };
    let answer = ask(full, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"));
    assert!(answer.ends_with("not ready\n- the disk is full\nsafe to take the next node down: yes\n"));
}

#[tokio::test]
async fn whether_a_node_may_go_is_a_question_of_its_own() {
    let bare =
        Readiness { ready: true, conditions: Vec::new(), must_stay: vec!["node 2 is not heard".into()] };
    let told = "safe to take the next node down: no\n- node 2 is not heard\n";
    let answer = ask(bare.clone(), "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("ready\n{told}")), "{answer}");
    let answer = ask(bare.clone(), "/readyz/safe-to-stop").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with(&format!("\r\n\r\n{told}")), "{answer}");
    let json = "{\"conditions\":[],\"not_safe_because\":[\"node 2 is not heard\"],\"ready\":true,\"safe_to_stop\":false}\n";
    let answer = ask(bare.clone(), "/readyz/safe-to-stop?output=json").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with(json), "{answer}");
    let answer = ask_with(bare.clone(), "/readyz", "accept: application/json\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(json), "{answer}");
    assert!(answer.contains("content-type: application/json"), "{answer}");
    let answer = ask_with(bare, "/readyz?output=text", "accept: application/json\r\n").await;
    assert!(answer.ends_with(told), "{answer}");
    // One does not follow from the other.
    let starting = Readiness { ready: false, ..Readiness::default() };
    assert!(ask(starting.clone(), "/readyz/safe-to-stop").await.starts_with("HTTP/1.1 200"));
    assert!(ask(starting, "/readyz").await.starts_with("HTTP/1.1 503"));
}
