//! The reference pages, beside what the code says.
//!
//! Tables are written by hand and compared: where their first column is called key, variable or name, it names each key,
//! variable and annotation, no more and no less. The output of `--help` is put in by [`refresh`].

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

use interlink_testkit::binaries;

use super::{Page, keys, sources};

/// What a page of the reference must name: in tables, in their first column.
///
/// # Errors
/// A source that can't be read.
pub fn wanted(page: &str) -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    let variables = |folders: &[&str]| -> Result<BTreeSet<String>, String> {
        let mut found = BTreeSet::new();
        for folder in folders {
            found.extend(sources::variables(&sources::below(folder)?));
        }
        Ok(found)
    };
    match page {
        "reference/interlink.md" => {
            names.extend(keys::of::<interlink_api::config::file::File>());
            names.extend(variables(&["api/src/config"])?);
        }
        "reference/virtual-kubelet.md" => {
            names.extend(keys::of::<interlink_kubelet::config::file::File>());
            names.extend(variables(&["kubelet/src/config"])?);
            // read by the part that connects
            names.insert("KUBECONFIG".to_owned());
        }
        "reference/interlink-plugin.md" => {
            names.extend(keys::of::<interlink_plugin::config::file::File>());
            names.extend(variables(&["plugin/src/config"])?);
        }
        "reference/ssh-tunnel.md" => names.extend(variables(&["tunnel/src/config"])?),
        "reference/annotations.md" => {
            for folder in ["api/src", "kubelet/src", "plugin/src", "supervisor/src"] {
                names.extend(sources::annotations(&sources::below(folder)?));
            }
            // the one without a domain, as the existing programs call it
            names.insert("JobID".to_owned());
        }
        other => return Err(format!("{other} is not a page that is compared with the code")),
    }
    Ok(names)
}

/// What page and code don't have in common, in words.
#[must_use]
pub fn differences(page: &Page, wanted: &BTreeSet<String>) -> Vec<String> {
    let compared = |column: &str| ["key", "variable", "name"].contains(&column);
    let named: BTreeSet<String> =
        page.first_cells.iter().filter(|(column, _)| compared(column)).map(|(_, code)| code.clone()).collect();
    let missing = wanted.difference(&named).map(|name| format!("{} does not name {name}", page.name));
    let surplus =
        named.difference(wanted).map(|name| format!("{} names {name}, which the code does not have", page.name));
    missing.chain(surplus).collect()
}

/// The page with what its marks ask for: `<!-- help: PROGRAM SUBCOMMAND -->` before a fenced block.
///
/// # Errors
/// A mark without a block, a program that is not there.
pub fn refresh(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let _ = writeln!(out, "{line}");
        let Some(command) = line.strip_prefix("<!-- help: ").and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
        let fence = lines.next().filter(|line| line.starts_with("```"));
        let fence = fence.ok_or_else(|| format!("no fenced block follows {line}"))?;
        let _ = writeln!(out, "{fence}\n{}\n```", help(command)?);
        if !lines.by_ref().any(|line| line == "```") {
            return Err(format!("the block after {line} does not end"));
        }
    }
    Ok(out)
}

/// What `PROGRAM SUBCOMMAND --help` prints.
///
/// # Errors
/// The program is not there or has no such subcommand.
pub fn help(command: &str) -> Result<String, String> {
    let mut words = command.split_whitespace();
    let program = binaries::find(words.next().unwrap_or_default())?;
    let output = Command::new(program).args(words).arg("--help").env_clear().output();
    let output = output.map_err(|error| format!("{command} can't be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command} --help: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.trim_end().lines().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"))
}

/// The subcommands that a program's `--help` lists.
///
/// # Errors
/// Those of [`help`].
pub fn subcommands(program: &str) -> Result<Vec<String>, String> {
    let text = help(program)?;
    let list = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let name = |line: &str| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
    let first = |line: String| line.split_whitespace().next().map(str::to_owned);
    Ok(list.filter_map(name).filter_map(first).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_on_one_side_only_is_a_difference() {
        let page = Page::parse("p.md", "| key | |\n|---|---|\n| `A` | |\n| `B` | |\n\n| x | |\n|---|---|\n| `Z` | |\n");
        let wanted = ["B", "C"].map(str::to_owned).into_iter().collect();
        let found = differences(&page, &wanted);
        assert_eq!(found, ["p.md does not name C", "p.md names A, which the code does not have"]);
    }

    #[test]
    fn a_mark_without_a_block_is_a_mistake() {
        assert!(refresh("<!-- help: interlinkctl -->\nwords\n").is_err());
        assert_eq!(refresh("# Title\n\nwords\n").as_deref(), Ok("# Title\n\nwords\n"));
    }
}
