//! What must pass a firewall, where one is in charge. None of it ever opens the plugin: it has no port that others may
//! reach.
//!
//! A rule that was added is in the record, so that the very same goes again: with another address or port, with another
//! firewall in charge by then, or with none.

use std::net::IpAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Seen, Site, Step};
use crate::install::run::say;
use crate::install::system::{self, QUICK};

/// A chain of nftables: family, table, name.
pub type Chain = [String; 3];

/// The firewall in charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firewall {
    /// `ufw`.
    Ufw,
    /// `firewalld`.
    Firewalld,
    /// nftables alone: the base chains that let nothing through which no rule accepts. What is to pass must pass all
    /// of a hook.
    Nftables {
        /// Of hook input.
        input: Vec<Chain>,
        /// Of hook output.
        output: Vec<Chain>,
    },
}

/// What may pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// From outside to a port of this machine; from that address only, where one is known.
    In {
        /// The port.
        port: u16,
        /// The address, or `address/prefix`.
        from: Option<String>,
    },
    /// From this machine to that port of others.
    Out {
        /// The port.
        port: u16,
    },
}

/// A rule of a firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Whose rule.
    pub firewall: Firewall,
    /// What may pass.
    pub pass: Pass,
    /// What for.
    pub why: String,
}

/// What must pass whichever firewall is in charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The firewall in charge, where there is one.
    pub firewall: Option<Firewall>,
    /// What may pass.
    pub pass: Pass,
    /// What for.
    pub why: String,
}

/// One place where a rule is, with the commands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Tells whether it is there: it succeeds, and prints a line with these words where there are any.
    pub query: (Vec<String>, Option<String>),
    /// Adds it.
    pub add: Vec<String>,
    /// Takes it away; with the handle at its end where it is one of nftables.
    pub remove: Vec<String>,
}

/// Whether this is an address, or `address/prefix`, as each firewall reads it.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|prefix| prefix <= most))
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// The word that ends a command which needs the rule's handle.
const HANDLE: &str = "handle";

impl Rule {
    /// Where it is; nowhere, where this firewall needs no such rule.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        match &self.firewall {
            Firewall::Ufw => vec![self.ufw()],
            // in the configuration and in what runs, so that no reload drops what others have set
            Firewall::Firewalld => {
                let both = [&["firewall-cmd", "--permanent"][..], &["firewall-cmd"]];
                both.iter().filter_map(|command| self.firewalld(command)).collect()
            }
            Firewall::Nftables { input, output } => {
                let chains = if matches!(self.pass, Pass::In { .. }) { input } else { output };
                chains.iter().filter_map(|chain| self.nftables(chain)).collect()
            }
        }
    }

    /// The same where the firewall does not run, but keeps its rules.
    fn entries_at_rest(&self) -> Vec<Entry> {
        match self.firewall {
            Firewall::Firewalld => self.firewalld(&["firewall-offline-cmd"]).into_iter().collect(),
            _ => self.entries(),
        }
    }

    fn ufw(&self) -> Entry {
        let rule = match &self.pass {
            Pass::In { port, from: Some(from) } => format!("allow from {from} to any port {port} proto tcp"),
            Pass::In { port, from: None } => format!("allow {port}/tcp"),
            Pass::Out { port } => format!("allow out {port}/tcp"),
        };
        let mut add = words(&format!("ufw {rule} comment"));
        add.push(format!("interlink: {}", self.why));
        Entry {
            query: (words("ufw show added"), Some(format!("ufw {rule}"))),
            add,
            remove: words(&format!("ufw delete {rule}")),
        }
    }

    /// It lets everything out.
    fn firewalld(&self, command: &[&str]) -> Option<Entry> {
        let Pass::In { port, from } = &self.pass else { return None };
        let source = from.as_ref().map_or(String::new(), |from| {
            let family = if from.contains(':') { "ipv6" } else { "ipv4" };
            format!(" family=\"{family}\" source address=\"{from}\"")
        });
        let rule = format!("rule{source} port port=\"{port}\" protocol=\"tcp\" accept");
        let line = |verb: &str| {
            let mut line: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
            line.push(format!("--{verb}-rich-rule={rule}"));
            line
        };
        Some(Entry { query: (line("query"), None), add: line("add"), remove: line("remove") })
    }

    /// Nowhere, where that chain never sees such an address.
    fn nftables(&self, [family, table, chain]: &Chain) -> Option<Entry> {
        let from = |from: &str| if from.contains(':') { "ip6" } else { "ip" };
        let what = match &self.pass {
            Pass::In { from: Some(address), .. } if family != "inet" && family != from(address) => return None,
            Pass::In { port, from: Some(address) } => format!("{} saddr {address} tcp dport {port}", from(address)),
            Pass::In { port, from: None } | Pass::Out { port } => format!("tcp dport {port}"),
        };
        let comment = format!("\"interlink: {}\"", self.why);
        let mut add = words(&format!("nft insert rule {family} {table} {chain} {what} accept comment"));
        add.push(comment.clone());
        Some(Entry {
            query: (words(&format!("nft -a list chain {family} {table} {chain}")), Some(format!("comment {comment}"))),
            add,
            remove: words(&format!("nft delete rule {family} {table} {chain} {HANDLE}")),
        })
    }
}

impl Entry {
    /// The line that shows it, where it is there.
    async fn there(&self) -> Result<Option<String>, String> {
        let (query, words) = &self.query;
        let said = system::run(&query[0], &query[1..], QUICK).await?;
        Ok(if said.ok() { shown(&said.out, words.as_deref()) } else { None })
    }

    /// Takes it away; `false` where it was not there.
    async fn removed(&self) -> Result<bool, String> {
        // whoever took the firewall away has taken the rule away
        if !system::has(&self.query.0[0]) {
            return Ok(false);
        }
        let Some(line) = self.there().await? else { return Ok(false) };
        let mut command = self.remove.clone();
        if command.last().is_some_and(|word| word == HANDLE) {
            command.extend(handle(&line));
        }
        execute(&command).await?;
        Ok(true)
    }
}

/// The line with those words at its beginning or within; any, where there are no words to look for.
fn shown(listed: &str, words: Option<&str>) -> Option<String> {
    let Some(words) = words else { return Some(String::new()) };
    let ends = |line: &str, at: usize| line[at + words.len()..].chars().next().is_none_or(char::is_whitespace);
    let mut lines = listed.lines().map(str::trim);
    lines.find(|line| line.find(words).is_some_and(|at| ends(line, at))).map(str::to_owned)
}

/// The handle in a line of what `nft -a list chain` prints.
fn handle(line: &str) -> Option<String> {
    line.rsplit_once("# handle ").map(|(_, handle)| handle.trim().to_owned())
}

async fn execute(command: &[String]) -> Result<(), String> {
    system::must(&command[0], &command[1..], QUICK).await.map(drop)
}

impl Opening {
    fn rule(&self) -> Option<Rule> {
        let firewall = self.firewall.clone()?;
        Some(Rule { firewall, pass: self.pass.clone(), why: self.why.clone() })
    }

    /// What of the rule is missing.
    async fn missing(&self) -> Result<Vec<Entry>, String> {
        let mut missing = Vec::new();
        for entry in self.rule().iter().flat_map(Rule::entries) {
            if entry.there().await?.is_none() {
                missing.push(entry);
            }
        }
        Ok(missing)
    }

    /// One that an earlier run has added, and that is not what is wanted now.
    fn outdated<'a>(&self, site: &'a Site) -> Option<&'a Rule> {
        let wanted = self.rule()?;
        site.record.rules.get(&self.title()).filter(|old| **old != wanted)
    }
}

#[async_trait]
impl Step for Opening {
    fn title(&self) -> String {
        format!("firewall: {}", self.why)
    }

    async fn look(&self, site: &Site) -> Result<Seen, String> {
        let line = |sign: &str, command: &[String]| format!("{sign} {}", command.join(" "));
        let missing = self.missing().await?;
        let wanted = missing.iter().map(|entry| line("+", &entry.add));
        if let Some(old) = self.outdated(site) {
            let old = old.entries();
            return Ok(Seen::Differs(old.iter().map(|entry| line("-", &entry.add)).chain(wanted).collect()));
        }
        Ok(if missing.is_empty() { Seen::AsWanted } else { Seen::Missing(wanted.collect()) })
    }

    async fn make(&self, site: &mut Site) -> Result<(), String> {
        for entry in self.outdated(site).map(Rule::entries).unwrap_or_default() {
            entry.removed().await?;
        }
        let missing = self.missing().await?;
        match self.rule() {
            Some(rule) if !missing.is_empty() => drop(site.record.rules.insert(self.title(), rule)),
            // an operator's own rule is what is wanted now
            _ => {
                site.record.rules.remove(&self.title());
                site.record.made.remove(&self.title());
            }
        }
        for entry in missing {
            execute(&entry.add).await?;
            if let ["nft", "insert", "rule", family, table, chain, rule @ ..] =
                entry.add.iter().map(String::as_str).collect::<Vec<_>>().as_slice()
            {
                say(format!(
                    "note      nftables forgets this when its rules are loaded again, as at a boot: put it into the \
                     chain {chain} of table {family} {table} in /etc/nftables.conf, too: {}",
                    rule.join(" ")
                ));
            }
        }
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        let recorded = site.record.rules.get(&self.title()).cloned();
        // one that was being added when its run died
        let begun = || self.rule().filter(|_| site.record.made.contains(&self.title()));
        let Some(rule) = recorded.or_else(begun) else { return Ok(false) };
        let rests = rule.firewall == Firewall::Firewalld
            && !system::run("firewall-cmd", ["--state"], QUICK).await.is_ok_and(|said| said.ok());
        let mut removed = false;
        for entry in if rests { rule.entries_at_rest() } else { rule.entries() } {
            removed |= entry.removed().await?;
        }
        site.record.rules.remove(&self.title());
        Ok(removed)
    }
}

/// Which firewall is active.
pub async fn active() -> Option<Firewall> {
    let says = async |program: &str, args: &[&str]| system::run(program, args, QUICK).await.unwrap_or_default();
    if system::has("ufw") && says("ufw", &["status"]).await.out.starts_with("Status: active") {
        return Some(Firewall::Ufw);
    }
    if system::has("firewall-cmd") && says("firewall-cmd", &["--state"]).await.ok() {
        return Some(Firewall::Firewalld);
    }
    if !system::has("nft") {
        return None;
    }
    // without what is in sets, which may be the addresses of half the world
    let listed = says("nft", &["-j", "-t", "list", "ruleset"]).await.out;
    let (input, output) = (closed(&listed, "input"), closed(&listed, "output"));
    (!input.is_empty() || !output.is_empty()).then_some(Firewall::Nftables { input, output })
}

/// The base chains of that hook that let nothing through which no rule accepts, in what `nft -j list ruleset` prints:
/// by their policy, or by a last rule that drops or rejects whatever comes.
fn closed(listed: &str, hook: &str) -> Vec<Chain> {
    let listed: serde_json::Value = serde_json::from_str(listed).unwrap_or_default();
    let entries = listed["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let word = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let is_last_word = |rule: &serde_json::Value| {
        let expressions = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
        let keys = || expressions.iter().flat_map(|one| one.as_object().into_iter().flat_map(|one| one.keys()));
        keys().any(|key| key == "drop" || key == "reject")
            && keys().all(|key| ["drop", "reject", "counter", "log"].contains(&key.as_str()))
    };
    let mut found = Vec::new();
    for chain in entries.iter().map(|entry| &entry["chain"]).filter(|chain| chain["hook"] == hook) {
        let [family, table, name] = ["family", "table", "name"].map(|key| word(chain, key));
        if !["ip", "ip6", "inet"].contains(&family.as_str()) {
            continue;
        }
        let mut rules = entries.iter().map(|entry| &entry["rule"]);
        let last = rules.rfind(|rule| {
            [("family", &family), ("table", &table), ("chain", &name)].iter().all(|(key, is)| rule[*key] == is.as_str())
        });
        if chain["policy"] == "drop" || last.is_some_and(is_last_word) {
            found.push([family, table, name]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(firewall: Firewall, pass: Pass) -> Rule {
        Rule { firewall, pass, why: "SSH for the tunnel".into() }
    }

    fn from(address: &str) -> Pass {
        Pass::In { port: 22, from: Some(address.into()) }
    }

    fn adds(rule: &Rule) -> Vec<String> {
        rule.entries().iter().map(|entry| entry.add.join(" ")).collect()
    }

    #[test]
    fn ufw_is_told_with_a_comment_and_asked_without() {
        let entry = rule(Firewall::Ufw, from("192.0.2.7")).ufw();
        let plain = "allow from 192.0.2.7 to any port 22 proto tcp";
        assert_eq!(entry.add.join(" "), format!("ufw {plain} comment interlink: SSH for the tunnel"));
        assert_eq!(entry.remove.join(" "), format!("ufw delete {plain}"));
        let listed = format!("Added user rules:\nufw allow 22/tcp\nufw {plain} comment 'interlink: SSH'\n");
        assert!(shown(&listed, entry.query.1.as_deref()).is_some());
        assert!(shown("ufw allow out 2222/tcp6\n", Some("ufw allow out 2222/tcp")).is_none());
        let out = rule(Firewall::Ufw, Pass::Out { port: 2222 }).ufw();
        assert_eq!(out.remove.join(" "), "ufw delete allow out 2222/tcp");
    }

    #[test]
    fn firewalld_gets_a_rich_rule_for_now_and_for_later_and_lets_everything_out() {
        let rich = "rule family=\"ipv6\" source address=\"2001:db8::7\" port port=\"22\" protocol=\"tcp\" accept";
        let firewalld = rule(Firewall::Firewalld, from("2001:db8::7"));
        assert_eq!(
            adds(&firewalld),
            [
                format!("firewall-cmd --permanent --add-rich-rule={rich}"),
                format!("firewall-cmd --add-rich-rule={rich}")
            ]
        );
        let rests = firewalld.entries_at_rest();
        assert_eq!(rests.len(), 1);
        assert_eq!(rests[0].remove.join(" "), format!("firewall-offline-cmd --remove-rich-rule={rich}"));
        assert_eq!(rule(Firewall::Firewalld, Pass::Out { port: 22 }).entries(), []);
    }

    #[test]
    fn nftables_gets_a_rule_in_each_chain_that_is_closed_and_loses_it_by_its_handle() {
        let chain = |family: &str, name: &str, hook: &str, policy: &str| {
            format!(
                r#"{{"chain":{{"family":"{family}","table":"filter","name":"{name}","hook":"{hook}","policy":"{policy}"}}}}"#
            )
        };
        let last = |family: &str, name: &str, verdict: &str| {
            format!(
                r#"{{"rule":{{"family":"{family}","table":"filter","chain":"{name}","expr":[{{"counter":{{}}}},{verdict}]}}}}"#
            )
        };
        let entries = [
            chain("inet", "input", "input", "drop"),
            chain("ip6", "in6", "input", "accept"),
            chain("ip", "in4", "input", "accept"),
            chain("arp", "input", "input", "drop"),
            chain("inet", "output", "output", "accept"),
            last("ip6", "in6", r#"{"reject":null}"#),
            last("ip", "in4", r#"{"match":{}},{"drop":null}"#),
        ];
        let listed = format!(r#"{{"nftables":[{{"metainfo":{{}}}},{}]}}"#, entries.join(","));
        let (input, output) = (closed(&listed, "input"), closed(&listed, "output"));
        assert_eq!(input, [["inet", "filter", "input"], ["ip6", "filter", "in6"]].map(|c| c.map(str::to_owned)));
        assert_eq!(output, [[""; 3]; 0]);
        let firewall = Firewall::Nftables { input, output };
        assert_eq!(rule(firewall.clone(), Pass::Out { port: 22 }).entries(), []);
        let comment = "comment \"interlink: SSH for the tunnel\"";
        assert_eq!(
            adds(&rule(firewall.clone(), from("192.0.2.7"))),
            [format!("nft insert rule inet filter input ip saddr 192.0.2.7 tcp dport 22 accept {comment}")]
        );
        assert_eq!(
            adds(&rule(firewall.clone(), Pass::In { port: 22, from: None })),
            ["inet filter input", "ip6 filter in6"]
                .map(|chain| format!("nft insert rule {chain} tcp dport 22 accept {comment}"))
        );
        let listed = format!("table inet filter {{\n tcp dport 22 accept {comment} # handle 17\n}}\n");
        let entry = &rule(firewall, from("192.0.2.7")).entries()[0];
        let line = shown(&listed, entry.query.1.as_deref()).unwrap();
        assert_eq!(handle(&line), Some("17".into()));
        // nor by one that begins alike
        assert_eq!(shown(&listed.replace("tunnel\"", "tunnel to the plugin\""), entry.query.1.as_deref()), None);
    }

    #[test]
    fn an_address_is_one_with_or_without_a_prefix() {
        for good in ["192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "::1"] {
            assert!(is_address(good), "{good}");
        }
        for wrong in ["hpc.example.org", "192.0.2.7/33", "192.0.2.7 to any port 4000", "", "192.0.2.7/", "::/129"] {
            assert!(!is_address(wrong), "{wrong}");
        }
    }
}
