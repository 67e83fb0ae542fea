//! A client that asks one question after the other, whatever is done to the services meanwhile, and keeps count.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use interlink_testkit::wait;
use interlink_transport::{Call, CallError, Endpoint};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No answer takes longer, not even one that waits for a program to be started again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(25);
/// Answers after which a client counts as served again.
const OFTEN: usize = 5;

/// What is asked, and of whom.
pub struct Question {
    /// The socket, as the test sees it.
    pub socket: std::path::PathBuf,
    /// The path of the question with that number, which begins with `/`.
    pub path: fn(client: usize, number: usize) -> String,
    /// The status of a good answer.
    pub good: u16,
}

/// What a client was told since it was last asked.
#[derive(Debug, Default)]
pub struct Seen {
    /// Good answers.
    pub answered: usize,
    /// Connections that nobody took.
    pub refused: Vec<String>,
    /// Connections that were taken and ended without an answer.
    pub broken: Vec<String>,
    /// Other answers: something further on is away.
    pub failed: Vec<String>,
}

/// What became of all its questions.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// How many it asked; their numbers are those below.
    pub asked: usize,
    /// The numbers of those that had no good answer.
    pub unanswered: Vec<usize>,
}

#[derive(Debug, Default)]
struct Book {
    seen: Seen,
    tally: Tally,
}

/// A client. Dropped, it asks no more.
pub struct Client {
    name: String,
    number: usize,
    book: Arc<Mutex<Book>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Client {
    /// Starts the client `number`, which makes a connection for each question. Its name is for messages.
    ///
    /// # Panics
    /// When the socket's path is too long.
    #[must_use]
    pub fn start(name: &str, number: usize, question: Question) -> Self {
        let (book, stop) = (Arc::<Mutex<Book>>::default(), CancellationToken::new());
        let endpoint = endpoint(&question.socket);
        let task = tokio::spawn({
            let (book, stop) = (Arc::clone(&book), stop.clone());
            async move {
                let client = interlink_transport::Client::unpooled(endpoint);
                while !stop.is_cancelled() {
                    let next = lock(&book).tally.asked;
                    lock(&book).tally.asked += 1;
                    let told = ask(&client, (question.path)(number, next), question.good).await;
                    note(&mut lock(&book), next, told);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        Self { name: name.to_owned(), number, book, stop, task }
    }

    /// Who it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number that its questions have been asked with.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Waits until it has got some more good answers, one after the other.
    ///
    /// # Panics
    /// When it has not in time.
    pub async fn goes_on(&self) {
        let (mut before, mut since) = (0, usize::MAX);
        wait::until(&format!("good answers for {}", self.name), PATIENCE, async || {
            let book = lock(&self.book);
            let good = book.tally.asked - book.tally.unanswered.len();
            // one that had none since begins to count anew
            if since != book.tally.unanswered.len() {
                (before, since) = (good, book.tally.unanswered.len());
            }
            if good >= before + OFTEN { Ok(()) } else { Err(format!("{:?}", book.seen)) }
        })
        .await;
    }

    /// What it was told since this was last asked.
    #[must_use]
    pub fn take(&self) -> Seen {
        std::mem::take(&mut lock(&self.book).seen)
    }

    /// Ends it.
    ///
    /// # Panics
    /// When it has panicked.
    pub async fn end(mut self) -> Tally {
        self.stop.cancel();
        (&mut self.task).await.expect("a client does not panic");
        lock(&self.book).tally.clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What one question came to.
enum Told {
    Good,
    Refused(String),
    Broken(String),
    Failed(String),
}

async fn ask(client: &interlink_transport::Client, path: String, good: u16) -> Told {
    let answer = match client.send(Call::new(Method::GET, path, "").timeout(PATIENCE)).await {
        Ok(answer) => answer,
        Err(error @ CallError::Unreachable { .. }) => return Told::Refused(error.to_string()),
        Err(error) => return Told::Broken(error.to_string()),
    };
    let status = answer.status.as_u16();
    match answer.bytes(1 << 20, PATIENCE).await {
        Ok(_) if status == good => Told::Good,
        Ok(body) => Told::Failed(format!("{status} {}", String::from_utf8_lossy(&body))),
        Err(error) => Told::Broken(error.to_string()),
    }
}

fn note(book: &mut Book, number: usize, told: Told) {
    let (list, what) = match told {
        Told::Good => {
            book.seen.answered += 1;
            return;
        }
        Told::Refused(what) => (&mut book.seen.refused, what),
        Told::Broken(what) => (&mut book.seen.broken, what),
        Told::Failed(what) => (&mut book.seen.failed, what),
    };
    list.push(what);
    book.tally.unanswered.push(number);
}

fn endpoint(socket: &Path) -> Endpoint {
    Endpoint::unix(socket).expect("a machine's sockets have short paths")
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
