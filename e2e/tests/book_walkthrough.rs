//! The book's commands, executed: from two empty machines to a pod's log, then a day's operations, then its troubleshooting.
#![allow(clippy::unwrap_used, clippy::panic)]

use interlink_e2e::book::stage::Stage;
use interlink_e2e::book::{Book, guide, runner};

/// In the order in which an operator comes to them.
const EXECUTED: [&str; 3] = ["walkthrough.md", "operations.md", "troubleshooting.md"];

#[tokio::test(flavor = "multi_thread")]
async fn the_walkthrough_operations_and_troubleshooting_do_what_the_book_says() {
    let book = Book::read().unwrap();
    let stage = Stage::set().await;
    for name in EXECUTED {
        let page = book.page(name).unwrap();
        let tally = runner::run(page, &stage).await.unwrap_or_else(|why| panic!("{why}"));
        eprintln!("{name}: {} commands did what the page says, {} blocks were not run", tally.ran, tally.unrun.len());
        assert!(tally.ran > 0, "{name}");
    }
    // the table of the guide's commands says the truth about each
    let ran = guide::run(&stage).await.unwrap_or_else(|why| panic!("{why}"));
    eprintln!("{ran} commands of the existing guide did what operations.md says");
}
