//! Many connections over one stream of bytes.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use interlink_transport::mux::{self, Greeting, MuxStream, OpenError, Opener};
use interlink_transport::{Endpoint, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(30);

/// What a service does with a connection.
#[derive(Clone, Copy)]
enum Habit {
    Echo,
    Count,
    Flood,
    /// Says a word, and neither reads nor ends.
    Idle,
    /// Answers and closes without reading to the end.
    Impatient,
}

/// A service and both ends of a multiplexed stream to it.
struct Rig {
    opener: Opener,
    answerer: JoinHandle<std::io::Result<()>>,
    driver: JoinHandle<Option<String>>,
    dir: tempfile::TempDir,
}

impl Rig {
    async fn new(habit: Option<Habit>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        if let Some(habit) = habit {
            let listener = UnixListener::bind(&path).unwrap();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, habit));
                }
            });
        }
        let service = Endpoint::unix(&path).unwrap();
        let (near, far) = tokio::io::duplex(64 << 10);
        let answerer = tokio::spawn(async move { mux::answer(far, &service).await });
        let near = greeted(near).await;
        let (opener, driver) = mux::opener(near);
        Self { opener, answerer, driver: tokio::spawn(driver), dir }
    }

    async fn open(&self) -> MuxStream {
        timeout(SOON, self.opener.open()).await.unwrap().unwrap()
    }

    async fn ask(&self, word: &str) -> String {
        ask(self.open().await, word).await
    }
}

async fn ask(mut stream: MuxStream, word: &str) -> String {
    let mut answer = String::new();
    stream.write_all(word.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

async fn greeted(mut near: DuplexStream) -> DuplexStream {
    let mut greeting = Greeting::default();
    let mut byte = [0];
    loop {
        near.read_exact(&mut byte).await.unwrap();
        if greeting.feed(&byte).unwrap().is_some() {
            return near;
        }
    }
}

async fn serve(mut stream: UnixStream, habit: Habit) {
    match habit {
        Habit::Echo => {
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        }
        Habit::Count => {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            let _ = stream.write_all(all.len().to_string().as_bytes()).await;
        }
        Habit::Flood => while stream.write_all(&[7; 16 << 10]).await.is_ok() {},
        Habit::Idle => {
            let _ = stream.write_all(b"x").await;
            std::future::pending::<()>().await;
        }
        Habit::Impatient => {
            let _ = stream.write_all(b"no").await;
        }
    }
}

#[tokio::test]
async fn a_thousand_connections_at_once_each_reach_the_service() {
    let rig = Rig::new(Some(Habit::Echo)).await;
    let mut asked = JoinSet::new();
    for n in 0..1000 {
        let opener = rig.opener.clone();
        asked.spawn(async move { (n.to_string(), ask(opener.open().await.unwrap(), &n.to_string()).await) });
    }
    while let Some(done) = asked.join_next().await {
        let (sent, received) = done.unwrap();
        assert_eq!(sent, received);
    }
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_open() {
    let rig = Rig::new(Some(Habit::Count)).await;
    assert_eq!(rig.ask("12345").await, "5");
    assert_eq!(rig.ask("").await, "0");
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_up_nobody() {
    let rig = Rig::new(Some(Habit::Flood)).await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        stalled.push(rig.open().await);
    }
    let mut steady = rig.open().await;
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..16 {
        timeout(SOON, steady.read_exact(&mut buffer)).await.unwrap().unwrap();
        assert!(buffer.iter().all(|b| *b == 7));
    }
}

#[tokio::test]
async fn a_service_that_is_away_is_said_and_the_others_go_on() {
    let rig = Rig::new(None).await;
    let err = timeout(SOON, rig.opener.open()).await.unwrap().unwrap_err();
    assert!(matches!(&err, OpenError::Refused(why) if why.contains("s.sock")), "{err}");
    let listener = UnixListener::bind(rig.dir.path().join("s.sock")).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Habit::Echo));
        }
    });
    assert_eq!(rig.ask("hello").await, "hello");
}

#[tokio::test]
async fn the_loss_of_the_stream_is_no_proper_end() {
    let rig = Rig::new(Some(Habit::Echo)).await;
    let mut open = rig.open().await;
    open.write_all(b"a").await.unwrap();
    open.read_exact(&mut [0]).await.unwrap();
    rig.answerer.abort();
    let end = timeout(SOON, open.read(&mut [0])).await.unwrap();
    assert!(end.is_err(), "{end:?}");
    assert_eq!(timeout(SOON, rig.opener.open()).await.unwrap().unwrap_err(), OpenError::Lost);
    assert_eq!(timeout(SOON, rig.driver).await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn the_answerer_ends_with_its_input() {
    let rig = Rig::new(Some(Habit::Echo)).await;
    let _open = rig.open().await;
    rig.driver.abort();
    timeout(SOON, rig.answerer).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_before_the_question_ended_arrives_and_the_rest_is_thrown_away() {
    let rig = Rig::new(Some(Habit::Impatient)).await;
    let (local, far) = UnixStream::pair().unwrap();
    let carried = tokio::spawn(mux::carry(Stream::Unix(far), rig.open().await));
    let (mut reader, mut writer) = local.into_split();
    // More than all buffers and windows on the way hold.
    let upload = tokio::spawn(async move {
        let sent = writer.write_all(&vec![1; 8 << 20]).await;
        let _ = writer.shutdown().await;
        sent
    });
    let mut answer = String::new();
    timeout(SOON, reader.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "no");
    timeout(SOON, upload).await.unwrap().unwrap().unwrap();
    timeout(SOON, carried).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_service_that_never_reads_is_ended_once_its_client_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let service = Endpoint::unix(&dir.path().join("s.sock")).unwrap();
    let listener = UnixListener::bind(service.socket().unwrap()).unwrap();
    let ended = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, Habit::Flood).await;
    });
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move { mux::answer(far, &service).await });
    let (opener, driver) = mux::opener(greeted(near).await);
    tokio::spawn(driver);
    let (client, local) = UnixStream::pair().unwrap();
    let carried = tokio::spawn(async move { mux::carry(Stream::Unix(local), opener.open().await.unwrap()).await });
    let mut client = client;
    client.read_exact(&mut [0; 4096]).await.unwrap();
    // Its end is passed on before it is seen to be gone.
    client.shutdown().await.unwrap();
    client.read_exact(&mut [0; 4096]).await.unwrap();
    drop(client);
    timeout(SOON, ended).await.unwrap().unwrap();
    timeout(SOON, carried).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_broke_off_is_not_kept_by_a_service_that_only_waits() {
    let rig = Rig::new(Some(Habit::Idle)).await;
    let (client, near) = UnixStream::pair().unwrap();
    let carried = tokio::spawn(mux::carry(Stream::Unix(near), rig.open().await));
    // Closed with a word unread, it is a reset and no end.
    timeout(SOON, client.readable()).await.unwrap().unwrap();
    drop(client);
    assert_eq!(timeout(SOON, carried).await.unwrap().unwrap(), mux::carry::End::LocalBroke);
}

#[tokio::test]
async fn a_connection_that_is_given_up_is_ended_at_a_service_that_goes_on_after_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move { mux::answer(far, &Endpoint::unix(&path).unwrap()).await });
    let (opener, driver) = mux::opener(greeted(near).await);
    tokio::spawn(driver);
    let (given_up, accepted) = tokio::join!(timeout(SOON, opener.open()), listener.accept());
    drop(given_up.unwrap().unwrap());
    let (mut service, _) = accepted.unwrap();
    assert_eq!(timeout(SOON, service.read(&mut [0])).await.unwrap().unwrap(), 0);
    let gone = async {
        while !service.ready(Interest::WRITABLE).await.unwrap().is_write_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, gone).await.unwrap();
}

#[tokio::test]
async fn whoever_does_not_greet_back_is_turned_away_in_words() {
    let service = Endpoint::unix(std::path::Path::new("/nonexistent.sock")).unwrap();
    let (near, far) = tokio::io::duplex(1024);
    let answerer = tokio::spawn(async move { mux::answer(far, &service).await });
    let mut near = greeted(near).await;
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let err = timeout(SOON, answerer).await.unwrap().unwrap().unwrap_err().to_string();
    assert!(err.contains("GET / HTTP") && err.contains("-rexec"), "{err}");
}
