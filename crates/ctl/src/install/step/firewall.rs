//! A firewall's rule, where a firewall is active. None ever opens the plugin: it has no port that others may reach.

use async_trait::async_trait;

use super::{Seen, Site, Step};
use crate::install::system::{self, QUICK};

/// The firewall in charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firewall {
    /// `ufw`.
    Ufw,
    /// `firewalld`.
    Firewalld,
    /// nftables alone: the chains of hook input and output that drop what no rule accepts, as `family table chain`.
    Nftables {
        /// Of hook input.
        input: Option<[String; 3]>,
        /// Of hook output.
        output: Option<[String; 3]>,
    },
}

/// What may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pass {
    /// From outside to a port of this machine; from that address only, where one is known.
    In {
        /// The port.
        port: u16,
        /// The address.
        from: Option<String>,
    },
    /// From this machine to that port of others.
    Out {
        /// The port.
        port: u16,
    },
}

/// A rule of the firewall in charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose rule.
    pub firewall: Firewall,
    /// What may pass.
    pub pass: Pass,
    /// What for.
    pub why: String,
}

/// The commands for a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Tells whether it is there: it succeeds, and prints these words where there are any.
    pub query: (Vec<String>, Option<String>),
    /// Adds it.
    pub add: Vec<Vec<String>>,
    /// Takes it away.
    pub remove: Vec<Vec<String>>,
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

impl Rule {
    /// Its commands; `None` where this firewall needs no such rule.
    #[must_use]
    pub fn commands(&self) -> Option<Commands> {
        match &self.firewall {
            Firewall::Ufw => Some(self.ufw()),
            Firewall::Firewalld => self.firewalld(),
            Firewall::Nftables { input, output } => {
                let chain = if matches!(self.pass, Pass::In { .. }) { input } else { output };
                chain.as_ref().map(|chain| self.nftables(chain))
            }
        }
    }

    fn ufw(&self) -> Commands {
        let rule = match &self.pass {
            Pass::In { port, from: Some(from) } => format!("allow from {from} to any port {port} proto tcp"),
            Pass::In { port, from: None } => format!("allow {port}/tcp"),
            Pass::Out { port } => format!("allow out {port}/tcp"),
        };
        let mut add = words(&format!("ufw {rule} comment"));
        add.push(format!("interlink: {}", self.why));
        Commands {
            query: (words("ufw show added"), Some(format!("ufw {rule}"))),
            add: vec![add],
            remove: vec![words(&format!("ufw delete {rule}"))],
        }
    }

    /// It lets everything out.
    fn firewalld(&self) -> Option<Commands> {
        let Pass::In { port, from } = &self.pass else { return None };
        let source = from.as_ref().map_or(String::new(), |from| {
            let family = if from.contains(':') { "ipv6" } else { "ipv4" };
            format!(" family=\"{family}\" source address=\"{from}\"")
        });
        let rule = format!("rule{source} port port=\"{port}\" protocol=\"tcp\" accept");
        // in the configuration and in what runs, so that no reload drops what others have set
        let both = |verb: &str| {
            let line = |flags: &[&str]| {
                let mut command: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
                command.push(format!("--{verb}-rich-rule={rule}"));
                command
            };
            vec![line(&["firewall-cmd", "--permanent"]), line(&["firewall-cmd"])]
        };
        let query = vec!["firewall-cmd".to_owned(), "--permanent".to_owned(), format!("--query-rich-rule={rule}")];
        Some(Commands { query: (query, None), add: both("add"), remove: both("remove") })
    }

    fn nftables(&self, [family, table, chain]: &[String; 3]) -> Commands {
        let comment = format!("interlink: {}", self.why);
        let what = match &self.pass {
            Pass::In { port, from: Some(from) } if from.contains(':') => format!("ip6 saddr {from} tcp dport {port}"),
            Pass::In { port, from: Some(from) } => format!("ip saddr {from} tcp dport {port}"),
            Pass::In { port, from: None } | Pass::Out { port } => format!("tcp dport {port}"),
        };
        let mut add = words(&format!("nft insert rule {family} {table} {chain} {what} accept comment"));
        add.push(format!("\"{comment}\""));
        let list = words(&format!("nft -a list chain {family} {table} {chain}"));
        Commands {
            query: (list, Some(format!("comment \"{comment}\""))),
            add: vec![add],
            // with the handle, once it is known
            remove: vec![words(&format!("nft delete rule {family} {table} {chain} handle"))],
        }
    }
}

/// The handle of the rule with that comment, in what `nft -a list chain` prints.
#[must_use]
pub fn handle(listed: &str, comment: &str) -> Option<String> {
    let line = listed.lines().find(|line| line.contains(comment))?;
    line.rsplit_once("# handle ").map(|(_, handle)| handle.trim().to_owned())
}

async fn there(commands: &Commands) -> Result<Option<String>, String> {
    let (query, words) = &commands.query;
    let said = system::run(&query[0], &query[1..], QUICK).await?;
    let there = said.ok() && words.as_ref().is_none_or(|words| said.out.contains(words));
    Ok(there.then_some(said.out))
}

async fn execute(command: &[String]) -> Result<(), String> {
    system::must(&command[0], &command[1..], QUICK).await.map(drop)
}

#[async_trait]
impl Step for Rule {
    fn title(&self) -> String {
        format!("firewall: {}", self.why)
    }

    async fn look(&self, _: &Site) -> Result<Seen, String> {
        let Some(commands) = self.commands() else { return Ok(Seen::AsWanted) };
        if there(&commands).await?.is_some() {
            return Ok(Seen::AsWanted);
        }
        Ok(Seen::Missing(commands.add.iter().map(|command| format!("+ {}", command.join(" "))).collect()))
    }

    async fn make(&self, _: &mut Site) -> Result<(), String> {
        for command in self.commands().into_iter().flat_map(|commands| commands.add) {
            execute(&command).await?;
        }
        Ok(())
    }

    async fn undo(&self, site: &mut Site) -> Result<bool, String> {
        let Some(commands) = self.commands().filter(|_| site.record.made.contains(&self.title())) else {
            return Ok(false);
        };
        let Some(listed) = there(&commands).await? else { return Ok(false) };
        for mut command in commands.remove {
            if command.last().is_some_and(|word| word == "handle") {
                let comment = commands.query.1.as_deref().unwrap_or_default();
                command.extend(handle(&listed, comment));
            }
            execute(&command).await?;
        }
        Ok(true)
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
    let listed = says("nft", &["-j", "list", "chains"]).await.out;
    let (input, output) = (dropping(&listed, "input"), dropping(&listed, "output"));
    (input.is_some() || output.is_some()).then_some(Firewall::Nftables { input, output })
}

/// The chain of that hook that drops what no rule accepts, in what `nft -j list chains` prints.
fn dropping(listed: &str, hook: &str) -> Option<[String; 3]> {
    let listed: serde_json::Value = serde_json::from_str(listed).ok()?;
    let chains = listed["nftables"].as_array()?.iter().map(|entry| &entry["chain"]);
    let chain = chains.into_iter().find(|chain| chain["hook"] == hook && chain["policy"] == "drop")?;
    let word = |key: &str| chain[key].as_str().map(str::to_owned);
    Some([word("family")?, word("table")?, word("name")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(firewall: Firewall, pass: Pass) -> Rule {
        Rule { firewall, pass, why: "SSH for the tunnel".into() }
    }

    fn lines(commands: &[Vec<String>]) -> Vec<String> {
        commands.iter().map(|command| command.join(" ")).collect()
    }

    #[test]
    fn ufw_is_told_with_a_comment_and_asked_without() {
        let from = Pass::In { port: 22, from: Some("192.0.2.7".into()) };
        let commands = rule(Firewall::Ufw, from).commands().unwrap();
        let plain = "allow from 192.0.2.7 to any port 22 proto tcp";
        assert_eq!(lines(&commands.add), [format!("ufw {plain} comment interlink: SSH for the tunnel")]);
        assert_eq!(lines(&commands.remove), [format!("ufw delete {plain}")]);
        assert_eq!(commands.query.1.unwrap(), format!("ufw {plain}"));
        let out = rule(Firewall::Ufw, Pass::Out { port: 2222 }).commands().unwrap();
        assert_eq!(lines(&out.remove), ["ufw delete allow out 2222/tcp"]);
    }

    #[test]
    fn firewalld_gets_a_rich_rule_for_now_and_for_later_and_lets_everything_out() {
        let from = Pass::In { port: 22, from: Some("2001:db8::7".into()) };
        let commands = rule(Firewall::Firewalld, from).commands().unwrap();
        let rich = "rule family=\"ipv6\" source address=\"2001:db8::7\" port port=\"22\" protocol=\"tcp\" accept";
        assert_eq!(
            lines(&commands.add),
            [
                format!("firewall-cmd --permanent --add-rich-rule={rich}"),
                format!("firewall-cmd --add-rich-rule={rich}")
            ]
        );
        assert_eq!(rule(Firewall::Firewalld, Pass::Out { port: 22 }).commands(), None);
    }

    #[test]
    fn nftables_gets_a_rule_in_the_chain_that_drops_and_loses_it_by_its_handle() {
        let listed = r#"{"nftables":[{"metainfo":{}},{"chain":{"family":"inet","table":"filter","name":"input","hook":"input","policy":"drop"}},{"chain":{"family":"inet","table":"filter","name":"output","hook":"output","policy":"accept"}}]}"#;
        let input = dropping(listed, "input");
        assert_eq!(input, Some(["inet", "filter", "input"].map(str::to_owned)));
        assert_eq!(dropping(listed, "output"), None);
        let firewall = Firewall::Nftables { input, output: None };
        assert_eq!(rule(firewall.clone(), Pass::Out { port: 22 }).commands(), None);
        let commands = rule(firewall, Pass::In { port: 22, from: Some("192.0.2.7".into()) }).commands().unwrap();
        assert_eq!(
            lines(&commands.add),
            [
                "nft insert rule inet filter input ip saddr 192.0.2.7 tcp dport 22 accept comment \"interlink: SSH for the tunnel\""
            ]
        );
        let listed =
            "table inet filter {\n tcp dport 22 accept comment \"interlink: SSH for the tunnel\" # handle 17\n}\n";
        assert_eq!(handle(listed, &commands.query.1.unwrap()), Some("17".into()));
    }
}
