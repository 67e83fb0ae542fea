//! The book against the code: links lead somewhere, blocks can be run, and the reference names what there is.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use interlink_e2e::book::{Book, guide, links, messages, reference, runner};

/// The pages with a table that the code decides on.
const COMPARED: [&str; 5] = [
    "reference/interlink.md",
    "reference/virtual-kubelet.md",
    "reference/interlink-plugin.md",
    "reference/ssh-tunnel.md",
    "reference/annotations.md",
];
/// The programs, and the page with the output of their `--help`.
const PROGRAMS: [(&str, &str); 5] = [
    ("interlink", "reference/interlink.md"),
    ("virtual-kubelet", "reference/virtual-kubelet.md"),
    ("interlink-plugin", "reference/interlink-plugin.md"),
    ("ssh-tunnel", "reference/ssh-tunnel.md"),
    ("interlinkctl", "reference/interlinkctl.md"),
];

#[test]
fn every_link_of_the_book_leads_somewhere() {
    let broken = links::broken(&Book::read().unwrap());
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_shell_block_says_on_which_machine_it_runs() {
    let book = Book::read().unwrap();
    let wrong: Vec<String> = book.pages.iter().filter_map(|page| runner::blocks(page).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reference_names_every_key_variable_and_annotation_of_the_code() {
    let book = Book::read().unwrap();
    let mut found = Vec::new();
    for name in COMPARED {
        found.extend(reference::differences(book.page(name).unwrap(), &reference::wanted(name).unwrap()));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_message_of_the_code_is_explained() {
    let book = Book::read().unwrap();
    let mut found = Vec::new();
    for (name, folders) in messages::PAGES {
        found.extend(messages::differences(book.page(name).unwrap(), folders).unwrap());
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_reference_has_every_subcommand() {
    let book = Book::read().unwrap();
    for (program, page) in PROGRAMS {
        let page = book.page(page).unwrap();
        for subcommand in reference::subcommands(program).unwrap().iter().filter(|name| *name != "help") {
            let mark = format!("<!-- help: {program} {subcommand} -->");
            assert!(page.text.contains(&mark), "{} has no {mark}", page.name);
        }
        assert!(page.text.contains(&format!("<!-- help: {program} -->")), "{}", page.name);
    }
}

#[test]
fn the_reference_has_the_flags_as_help_prints_them() {
    let write = std::env::var_os("BOOK_WRITE").is_some();
    let book = Book::read().unwrap();
    for page in &book.pages {
        let mut text = page.text.clone();
        if let Some((program, _)) = PROGRAMS.iter().find(|(_, name)| write && *name == page.name) {
            for subcommand in reference::subcommands(program).unwrap() {
                let mark = format!("<!-- help: {program} {subcommand} -->");
                if !text.contains(&mark) {
                    text.push_str(&format!("\n{mark}\n```text\n```\n"));
                }
            }
        }
        let fresh = reference::refresh(&text).unwrap_or_else(|why| panic!("{}: {why}", page.name));
        if write && fresh != page.text {
            fs::write(book.folder.join(&page.name), fresh).unwrap();
        } else {
            let different = page.text.lines().zip(fresh.lines()).find(|(has, wanted)| has != wanted);
            assert_eq!(different, None, "{} is out of date: run `make reference`", page.name);
            assert_eq!(page.text.lines().count(), fresh.lines().count(), "{}: run `make reference`", page.name);
        }
    }
}

#[test]
fn every_command_of_the_existing_guide_has_a_row() {
    let book = Book::read().unwrap();
    let rows = &book.page("operations.md").unwrap().first_cells;
    let commands = guide::COMMANDS.map(|asked| asked.command);
    let missing: Vec<&str> =
        commands.into_iter().filter(|command| !rows.iter().any(|(_, row)| row == command)).collect();
    assert!(missing.is_empty(), "no row for {missing:#?}; the rows are {rows:#?}");
}
