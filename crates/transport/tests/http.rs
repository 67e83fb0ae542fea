//! Server and client against one another, and against peers that misbehave.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use futures_util::StreamExt;
use http::Method;
use interlink_transport::{Call, CallError, Client, Endpoint, Listener, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

struct Served {
    endpoint: Endpoint,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

async fn served(router: Router) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::unix(&dir.path().join("s.sock")).unwrap();
    let listener = Listener::bind(&endpoint).await.unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, router, shutdown.clone(), Duration::from_secs(5)));
    Served { endpoint, shutdown, task, _dir: dir }
}

fn echo() -> Router {
    Router::new().route("/echo", any(|body: Bytes| async move { body }))
}

#[tokio::test]
async fn a_get_with_a_body_arrives_over_unix_and_tcp() {
    let over_unix = served(echo()).await;
    let listener = Listener::bind(&Endpoint::parse("http://127.0.0.1", "0").unwrap()).await.unwrap();
    let tcp = listener.endpoint().clone();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, echo(), shutdown.clone(), Duration::from_secs(5)));
    for endpoint in [over_unix.endpoint.clone(), tcp] {
        let answer = Client::new(endpoint).send(Call::new(Method::GET, "/echo", "[1]")).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.bytes(100, Duration::from_secs(5)).await.unwrap(), "[1]");
    }
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_one_below_it_is_not() {
    let server = served(echo()).await;
    let client = Client::new(server.endpoint.clone());
    let big = vec![b'x'; interlink_transport::BODY_LIMIT];
    let answer = client.send(Call::new(Method::POST, "/echo", big.clone())).await.unwrap();
    assert_eq!(answer.bytes(usize::MAX, Duration::from_secs(20)).await.unwrap().len(), big.len());
    let answer = client.send(Call::new(Method::POST, "/echo", [big, vec![b'x']].concat())).await.unwrap();
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn no_listener_means_that_nothing_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::unix(&dir.path().join("none.sock")).unwrap();
    let error = Client::new(endpoint).send(Call::new(Method::POST, "/create", "x")).await.unwrap_err();
    assert!(error.nothing_sent(), "{error}");
    assert!(error.to_string().contains("the socket does not exist"), "{error}");
}

#[tokio::test]
async fn a_peer_that_closes_without_an_answer_may_have_got_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::unix(&dir.path().join("s.sock")).unwrap();
    let listener = Listener::bind(&endpoint).await.unwrap();
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await;
        let mut request = [0; 16];
        stream.read_exact(&mut request).await.unwrap();
    });
    let error = Client::new(endpoint).send(Call::new(Method::POST, "/create", "x")).await.unwrap_err();
    assert!(matches!(error, CallError::Broken { .. }) && !error.nothing_sent(), "{error}");
    peer.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_never_a_short_answer() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::unix(&dir.path().join("s.sock")).unwrap();
    let listener = Listener::bind(&endpoint).await.unwrap();
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await;
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n[1").await.unwrap();
    });
    let answer = Client::new(endpoint).send(Call::new(Method::GET, "/status", "[]")).await.unwrap();
    let error = answer.bytes(100, Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, CallError::Broken { .. }), "{error}");
    peer.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_never_answers_is_given_up() {
    let server = served(Router::new().route("/", any(std::future::pending::<()>))).await;
    let call = Call::new(Method::GET, "/", "").timeout(Duration::from_millis(200));
    let error = Client::new(server.endpoint.clone()).send(call).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn what_is_in_hand_is_finished_before_the_server_ends() {
    let (started, mut begun) = tokio::sync::mpsc::channel(1);
    let slow = move || {
        let started = started.clone();
        async move {
            started.send(()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            "done"
        }
    };
    let server = served(Router::new().route("/slow", any(slow))).await;
    let client = Client::new(server.endpoint.clone());
    let request = tokio::spawn(async move { client.send(Call::new(Method::GET, "/slow", "")).await });
    begun.recv().await.unwrap();
    server.shutdown.cancel();
    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.bytes(10, Duration::from_secs(5)).await.unwrap(), "done");
    server.task.await.unwrap();
    assert!(!server.endpoint.socket().unwrap().exists());
}

#[tokio::test]
async fn dropping_a_stream_closes_it_at_the_server() {
    struct Tell(tokio::sync::mpsc::Sender<()>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.try_send(());
        }
    }
    let (gone, mut told) = tokio::sync::mpsc::channel(1);
    let follow = move || {
        let tell = Tell(gone.clone());
        async move {
            let chunks = futures_util::stream::unfold(tell, |tell| async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b"line\n")), tell))
            });
            axum::body::Body::from_stream(chunks)
        }
    };
    let server = served(Router::new().route("/follow", any(follow))).await;
    let answer = Client::new(server.endpoint.clone()).send(Call::new(Method::GET, "/follow", "")).await.unwrap();
    let mut stream = Box::pin(answer.into_stream());
    assert_eq!(stream.next().await.unwrap().unwrap(), "line\n");
    drop(stream);
    tokio::time::timeout(Duration::from_secs(5), told.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn words_that_are_not_http_get_400_and_harm_nobody() {
    let server = served(echo()).await;
    let mut stream = tokio::net::UnixStream::connect(server.endpoint.socket().unwrap()).await.unwrap();
    stream.write_all(b"test\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = Client::new(server.endpoint.clone()).send(Call::new(Method::POST, "/echo", "x")).await.unwrap();
    assert_eq!(answer.status, 200);
}

/// A peer that answers every request with 200 and tells how many connections it was asked over.
fn counting(dir: &tempfile::TempDir) -> (Endpoint, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let path = dir.path().join("s.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let count = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let connections = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while let Ok(1..) = stream.read(&mut request).await {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
            });
        }
    });
    (Endpoint::unix(&path).unwrap(), count)
}

async fn ask(client: &Client) {
    let answer = client.send(Call::new(Method::GET, "/", "")).await.unwrap();
    answer.bytes(10, Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn connections_are_kept_unless_every_request_wants_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (endpoint, connections) = counting(&dir);
    for (client, expected) in [(Client::new(endpoint.clone()), 1), (Client::unpooled(endpoint), 3)] {
        let before = connections.load(std::sync::atomic::Ordering::Relaxed);
        for _ in 0..3 {
            ask(&client).await;
        }
        assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed) - before, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_not_used_when_an_existing_server_may_be_closing_it() {
    let dir = tempfile::tempdir().unwrap();
    let (endpoint, connections) = counting(&dir);
    let client = Client::new(endpoint);
    ask(&client).await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    ask(&client).await;
    assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_outlasts_the_patience_of_every_known_client() {
    let server = served(echo()).await;
    let mut stream = tokio::net::UnixStream::connect(server.endpoint.socket().unwrap()).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"POST /echo HTTP/1.1\r\nhost: u\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
        let mut answer = vec![0; 1024];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK"), "{:?}", String::from_utf8_lossy(&answer[..read]));
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
}

#[tokio::test]
async fn a_client_that_was_taken_in_is_answered_even_if_it_asks_after_the_shutdown() {
    let server = served(echo()).await;
    let socket = server.endpoint.socket().unwrap();
    let mut early = tokio::net::UnixStream::connect(socket).await.unwrap();
    // A later one is served, so the earlier one has been taken in.
    let later = Client::new(server.endpoint.clone()).send(Call::new(Method::GET, "/echo", "1")).await.unwrap();
    assert_eq!(later.status, 200);
    server.shutdown.cancel();
    while tokio::net::UnixStream::connect(socket).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let question = b"GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    early.write_all(question).await.unwrap();
    let mut said = String::new();
    early.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with('x'), "{said}");
    server.task.await.unwrap();
}
