//! The command line: the six flags of the first program of this name, and ours.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use interlink_daemon::paths::expand_tilde;
use interlink_transport::Endpoint;
use interlink_transport::endpoint::SOCKET_PATH_LIMIT;

use super::{Direction, Engine, Forward, Hop, ONLY, Remote, Server, Settings, System};
use crate::hostkeys::Source;
use crate::identity;

/// Stands for a user that ssh_config names.
const OF_SSH_CONFIG: &str = "the user of ssh_config";

/// Holds a forward open between a local socket and a service behind SSH.
#[derive(Debug, Default, Parser)]
#[command(name = "ssh-tunnel", version)]
pub struct Flags {
    /// YAML file with several forwards, and with flags by their names; the command line wins
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<String>,
    /// SSH server as host:port (port 22 if left out)
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
    /// User to log in as
    #[arg(long)]
    user: Option<String>,
    /// Private key that logs in, or the public half (FILE.pub) of one that an SSH agent has; a certificate beside it (FILE-cert.pub) is used too
    #[arg(long, value_name = "FILE")]
    keyfile: Option<String>,
    /// Socket of the SSH agent that signs, as IdentityAgent of ssh_config. Without -keyfile each of its keys is tried; $SSH_AUTH_SOCK is used if -keyfile is a public key
    #[arg(long, value_name = "PATH")]
    identityagent: Option<String>,
    /// File with the passphrase of the key, in one line
    #[arg(long, value_name = "FILE")]
    passphrasefile: Option<String>,
    /// Hosts to log in at on the way to -addr, one through the other, with the same key; as ProxyJump of ssh_config
    #[arg(long, value_name = "[USER@]HOST[:PORT],…")]
    proxyjump: Option<String>,
    /// What speaks SSH: builtin, or openssh, the ssh of this machine under supervision, where ssh_config, Kerberos or a proxy are needed; -user and -keyfile may then be left out
    #[arg(long, value_name = "ENGINE", default_value = "builtin")]
    engine: String,
    /// With -engine openssh: the ssh_config to use instead of the user's and the system's
    #[arg(long = "F", value_name = "FILE")]
    ssh_config: Option<String>,
    /// Where clients connect: path of a Unix socket, or host:port of the loopback interface. With -reverse, where the service is
    #[arg(long, value_name = "PATH|HOST:PORT")]
    lsock: Option<String>,
    /// TCP port on the server's loopback interface to carry connections to (with -reverse, from)
    #[arg(long, value_name = "PORT")]
    rport: Option<String>,
    /// Unix socket on the server to carry connections to (with -reverse, from)
    #[arg(long, value_name = "PATH")]
    rsock: Option<String>,
    /// Command on the server that carries the connections over its stdin and stdout, where forwarding is forbidden: "interlink-plugin dial-stdio"
    #[arg(long, value_name = "COMMAND")]
    rexec: Option<String>,
    /// The server listens, and its connections are carried to -lsock
    #[arg(long)]
    reverse: bool,
    /// Keys of the server: known_hosts lines, output of ssh-keyscan, or bare keys. Without it, known_hosts of the user decides and a new host is accepted once
    #[arg(long, value_name = "FILE")]
    hostkeyfile: Option<String>,
    /// Time limit for each step of a connection attempt
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    connect_timeout: String,
    /// How long a new local connection waits while the tunnel is down
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    wait: String,
    /// SSH connections to the server that share the load, 1 to 16
    #[arg(long, value_name = "N", default_value = "1")]
    connections: String,
    /// Path of a Unix socket or port of the loopback interface where Prometheus finds metrics
    #[arg(long, value_name = "PATH|HOST:PORT")]
    metrics: Option<String>,
    /// File for the log instead of stderr; opened again on SIGHUP
    #[arg(long, value_name = "FILE")]
    logfile: Option<String>,
    /// Path of the socket that serves the tunnel's state
    #[arg(long, value_name = "PATH")]
    state: Option<String>,
    /// Connect once, say step by step what works and how long it takes, and end: 0 if all does, 1 if not
    #[arg(long)]
    check: bool,
    /// More words in the log
    #[arg(long)]
    verbose: bool,
    /// Without effect
    #[arg(long, hide = true)]
    pprof: bool,
    /// Without effect
    #[arg(long, hide = true)]
    pprof_address: Option<String>,
    /// Without effect
    #[arg(long, hide = true)]
    pprof_port: Option<String>,
}

/// What the environment adds to the command line.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// `$SSH_AUTH_SOCK`.
    pub agent: Option<PathBuf>,
    /// `$STATE_DIRECTORY`, the first of them: systemd gives a colon-separated list.
    pub state_directory: Option<PathBuf>,
    /// Which of the profiling variables of the first program of this name are set.
    pub profiling: Vec<String>,
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let state_directory =
            std::env::var("STATE_DIRECTORY").ok().and_then(|v| v.split(':').find(|p| !p.is_empty()).map(PathBuf::from));
        Self {
            home: std::env::var_os("HOME").filter(|h| !h.is_empty()).map(PathBuf::from),
            agent: std::env::var_os("SSH_AUTH_SOCK").filter(|s| !s.is_empty()).map(PathBuf::from),
            state_directory,
            profiling: ["ENABLE_PPROF", "PPROF_ADDRESS", "PPROF_PORT"]
                .into_iter()
                .filter(|v| std::env::var_os(v).is_some())
                .map(str::to_owned)
                .collect(),
        }
    }
}

impl Flags {
    /// Checks the flags together; `listed` are the forwards of a file.
    ///
    /// # Errors
    /// One sentence for the person who typed them.
    pub fn settings(self, env: &Environment, listed: Vec<Forward>) -> Result<Settings, String> {
        let addr = required(self.addr, "addr", "login.example.org:22")?;
        let server = parse_server(&addr)?;
        let user = present(self.user);
        let jumps = present(self.proxyjump).filter(|jumps| jumps != "none");
        let engine = engine(&self.engine, present(self.ssh_config), jumps.clone(), user.is_some(), names_port(&addr))?;
        let (user, identity) = match engine {
            Engine::BuiltIn => {
                let user = required(user, "user", "alice")?;
                (user, identity(self.keyfile, self.passphrasefile, self.identityagent, env)?)
            }
            Engine::OpenSsh(_) => (
                user.unwrap_or_else(|| OF_SSH_CONFIG.into()),
                for_ssh(self.keyfile, self.passphrasefile, self.identityagent)?,
            ),
        };
        let jumps = parse_jumps(jumps.as_deref(), &user)?;
        let single = [&self.lsock, &self.rport, &self.rsock, &self.rexec].iter().any(|flag| flag.is_some());
        let forwards = if listed.is_empty() {
            let local = required(self.lsock, "lsock", "/run/interlink/plugin.sock")?;
            let direction = if self.reverse { Direction::Reverse } else { Direction::Forward };
            let remote = far_end(present(self.rport), present(self.rsock), present(self.rexec), direction)?;
            vec![Forward { name: ONLY.into(), direction, local: parse_local(&local, direction)?, remote }]
        } else if single || self.reverse {
            return Err("-lsock, -rport, -rsock, -rexec and -reverse describe one forward, but the file of -config has a list of \
                 them: write it there, under forwards, as one more"
                .into());
        } else {
            listed
        };
        let host_keys = match present(self.hostkeyfile) {
            Some(path) => Source::File(expand_tilde(&path)),
            None => Source::Records(records(env)?),
        };
        let mut ignored = env.profiling.clone();
        for (name, given) in [
            ("-pprof", self.pprof),
            ("-pprof-address", self.pprof_address.is_some()),
            ("-pprof-port", self.pprof_port.is_some()),
        ] {
            if given {
                ignored.push(name.into());
            }
        }
        Ok(Settings {
            server,
            user,
            jumps,
            identity,
            engine,
            host_keys,
            forwards,
            connections: parse_connections(&self.connections)?,
            metrics: present(self.metrics).map(|at| parse_metrics(&at)).transpose()?,
            log_file: present(self.logfile).map(|p| expand_tilde(&p)),
            connect_timeout: parse_duration("-connect-timeout", &self.connect_timeout)?,
            wait: parse_duration("-wait", &self.wait)?,
            state_socket: present(self.state).map(|p| expand_tilde(&p)),
            check: self.check,
            verbose: self.verbose,
            ignored,
            warnings: Vec::new(),
        })
    }
}

/// The key. An agent without a key file must be asked for: its keys may be many, and good for anything.
fn identity(
    key_file: Option<String>,
    passphrase_file: Option<String>,
    agent: Option<String>,
    env: &Environment,
) -> Result<identity::Source, String> {
    let (key_file, agent) = (present(key_file), present(agent));
    if key_file.is_none() && agent.is_none() {
        return Err("-keyfile is missing, for example -keyfile ~/.ssh/tunnel_key; or -identityagent SSH_AUTH_SOCK, to log in with the keys of an SSH agent".into());
    }
    let agent = match agent.as_deref() {
        Some("none") => None,
        Some("SSH_AUTH_SOCK") if env.agent.is_none() => {
            return Err(
                "-identityagent is SSH_AUTH_SOCK, which is not set: start an SSH agent, or give the path of its socket"
                    .into(),
            );
        }
        Some("SSH_AUTH_SOCK") | None => env.agent.clone(),
        Some(path) => Some(expand_tilde(path)),
    };
    Ok(identity::Source {
        key_file: key_file.map(|p| expand_tilde(&p)),
        passphrase_file: present(passphrase_file).map(|p| expand_tilde(&p)),
        agent,
    })
}

/// The same for ssh, which has its own rules for what is not given.
fn for_ssh(
    key_file: Option<String>,
    passphrase_file: Option<String>,
    agent: Option<String>,
) -> Result<identity::Source, String> {
    if present(passphrase_file).is_some() {
        return Err("-passphrasefile and -engine openssh exclude each other: ssh takes a passphrase from a person only; add the key to an SSH agent".into());
    }
    Ok(identity::Source {
        key_file: present(key_file).map(|p| expand_tilde(&p)),
        passphrase_file: None,
        // ssh finds SSH_AUTH_SOCK by itself.
        agent: present(agent).filter(|agent| agent != "SSH_AUTH_SOCK").map(|p| expand_tilde(&p)),
    })
}

fn engine(name: &str, config: Option<String>, jumps: Option<String>, user: bool, port: bool) -> Result<Engine, String> {
    match (name.trim(), config) {
        ("builtin" | "", None) => Ok(Engine::BuiltIn),
        ("builtin" | "", Some(_)) => {
            Err("-F belongs to -engine openssh: the built-in engine reads no ssh_config".into())
        }
        ("openssh", config) => Ok(Engine::OpenSsh(System {
            program: "ssh".into(),
            config: config.map(|p| absolute(&expand_tilde(&p))).transpose()?,
            jumps,
            user,
            port,
        })),
        (other, _) => Err(format!("-engine is {other:?}: it should be builtin or openssh")),
    }
}

/// Included files are looked up beside ssh's own otherwise.
fn absolute(path: &std::path::Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|err| format!("-F {}: {err}", path.display()))
}

/// Whether an address that can be read ends in a port.
fn names_port(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest.contains("]:"),
        None => text.parse::<IpAddr>().is_err() && text.contains(':'),
    }
}

/// `[user@]host[:port]`, separated by commas, as `ssh -J` takes them.
fn parse_jumps(text: Option<&str>, user: &str) -> Result<Vec<Hop>, String> {
    let Some(text) = text else { return Ok(Vec::new()) };
    text.split(',')
        .map(|one| {
            let one = one.trim();
            let bare = one.strip_prefix("ssh://").unwrap_or(one);
            let (user, host) = bare.rsplit_once('@').unwrap_or((user, bare));
            if user.is_empty() {
                return Err(format!("-proxyjump {one} names no user before the @"));
            }
            let server = parse_server_of("-proxyjump", host)?;
            Ok(Hop { user: user.to_owned(), server })
        })
        .collect()
}

/// The one of the three that was given.
pub(super) fn far_end(
    port: Option<String>,
    socket: Option<String>,
    command: Option<String>,
    direction: Direction,
) -> Result<Remote, String> {
    match (port, socket, command) {
        (Some(port), None, None) => Ok(Remote::Port(parse_port("-rport", &port)?)),
        (None, Some(path), None) if path.len() > SOCKET_PATH_LIMIT => Err(format!(
            "-rsock has {} bytes, but the path of a Unix socket has at most {SOCKET_PATH_LIMIT}: choose a shorter one",
            path.len()
        )),
        (None, Some(path), None) if !path.starts_with('/') => Err(format!(
            "-rsock {path} is not an absolute path: the server resolves it, and it expands no ~ and knows no working directory"
        )),
        (None, Some(path), None) => Ok(Remote::Socket(path)),
        (None, None, Some(_)) if direction == Direction::Reverse => {
            Err("-rexec and -reverse exclude each other: a command carries connections to the server only".into())
        }
        (None, None, Some(command)) => Ok(Remote::Command(command)),
        (None, None, None) => Err("-rport or -rsock is missing: give the TCP port (-rport 4000) or the Unix socket (-rsock /path) that the service behind the tunnel listens on, or, where the server forbids forwarding, the command that carries the connections (-rexec \"interlink-plugin dial-stdio\")".into()),
        _ => Err("-rport, -rsock and -rexec exclude each other: give the one that leads to the service behind the tunnel".into()),
    }
}

/// An empty value is what an unset shell variable leaves.
pub(super) fn present(value: Option<String>) -> Option<String> {
    value.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

fn required(value: Option<String>, name: &str, example: &str) -> Result<String, String> {
    present(value).ok_or_else(|| format!("-{name} is missing, for example -{name} {example}"))
}

/// Where new hosts go: the user's known_hosts, else the service's or the user's state directory.
fn records(env: &Environment) -> Result<Vec<PathBuf>, String> {
    let home = env.home.as_deref();
    let mut places = Vec::new();
    places.extend(home.map(|h| h.join(".ssh/known_hosts")));
    places.extend(
        env.state_directory
            .as_deref()
            .map(|d| d.join("known_hosts"))
            .or_else(|| home.map(|h| h.join(".local/state/interlink/known_hosts"))),
    );
    if places.is_empty() {
        return Err(
            "-hostkeyfile is missing, and this user has no home directory where the server's key could be on record"
                .into(),
        );
    }
    Ok(places)
}

fn parse_server(text: &str) -> Result<Server, String> {
    parse_server_of("-addr", text)
}

fn parse_server_of(flag: &str, text: &str) -> Result<Server, String> {
    let wrong =
        |what: &str| Err(format!("{flag} {text} {what}: it should be host:port, for example login.example.org:22"));
    if text.contains("://") {
        return wrong("is a URL");
    }
    if text.contains('@') {
        return wrong("holds a user, which belongs into -user");
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return wrong("is not an address"),
            },
            None => return wrong("lacks a ]"),
        }
    } else if text.parse::<IpAddr>().is_ok() {
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        return wrong("names no host");
    }
    Ok(Server { host: host.to_owned(), port: port.map_or(Ok(22), |p| parse_port(&format!("the port of {flag}"), p))? })
}

fn parse_port(what: &str, text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{what} is {text:?}: a port is a number from 1 to 65535")),
    }
}

/// `host:port` is TCP; whatever holds a slash, or ends in no number, is a path.
pub(super) fn parse_local(text: &str, direction: Direction) -> Result<Endpoint, String> {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    let tcp = match path.rsplit_once(':') {
        Some((host, port)) if !path.contains('/') && port.bytes().all(|b| b.is_ascii_digit()) => Some((host, port)),
        _ => None,
    };
    let Some((host, port)) = tcp else {
        let path = std::path::absolute(expand_tilde(path)).map_err(|e| format!("-lsock {path}: {e}"))?;
        return Endpoint::unix(&path).map_err(|e| format!("-lsock {e}"));
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if bare.is_empty() {
        return Err(format!("-lsock {text} names no host: write localhost:{port}"));
    }
    // What we dial may be anywhere, as with ssh -R.
    if !loopback && direction == Direction::Forward {
        return Err(format!(
            "-lsock {text} would offer the service to the network: bind localhost:{port}, or better a Unix socket"
        ));
    }
    Ok(Endpoint::Tcp { host: bare.to_owned(), port: parse_port("the port of -lsock", port)? })
}

fn parse_connections(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(number) if (1..=16).contains(&number) => Ok(number),
        _ => Err(format!("-connections is {text:?}: a number from 1 to 16 is expected")),
    }
}

/// As the near end of a forward, so that nobody beyond this machine can ask.
fn parse_metrics(text: &str) -> Result<Endpoint, String> {
    parse_local(text, Direction::Forward).map_err(|why| match why.contains("to the network") {
        true => {
            format!("-metrics {text} would offer the metrics to the network: bind localhost:PORT, or a Unix socket")
        }
        false => why.replace("-lsock", "-metrics"),
    })
}

/// Durations as Go writes them (`1m30s`, `500ms`); a bare number is seconds.
fn parse_duration(flag: &str, text: &str) -> Result<Duration, String> {
    let wrong = || format!("{flag} {text} is not a duration: write 10s, 500ms or 1m30s");
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        total += match &rest[digits..digits + unit] {
            "ms" => Duration::from_millis(number.into()),
            "s" => Duration::from_secs(number.into()),
            "m" => Duration::from_secs(u64::from(number) * 60),
            "h" => Duration::from_secs(u64::from(number) * 3600),
            _ => return Err(wrong()),
        };
        rest = &rest[digits + unit..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [&str; 10] = [
        "-addr",
        "login.hpc.example.org:22",
        "-user",
        "interlink",
        "-keyfile",
        "~/.ssh/interlink_tunnel",
        "-lsock",
        "/run/interlink/plugin.sock",
        "-rport",
        "4000",
    ];

    /// `HOME`, as every test runner has it.
    fn home() -> PathBuf {
        std::env::var_os("HOME").unwrap().into()
    }

    fn env() -> Environment {
        Environment { home: Some("/home/me".into()), ..Environment::default() }
    }

    /// The seed's flags with some replaced (`Some`) or left out (`None`).
    fn settings(changes: &[(&str, Option<&str>)]) -> Result<Settings, String> {
        let mut args: Vec<(String, String)> = SEED.chunks(2).map(|c| (c[0].to_owned(), c[1].to_owned())).collect();
        for (flag, value) in changes {
            args.retain(|(f, _)| f != flag);
            args.extend(value.map(|v| ((*flag).to_owned(), v.to_owned())));
        }
        let words = args.into_iter().map(|(f, v)| format!("{f}={v}"));
        let args = std::iter::once("ssh-tunnel".to_owned()).chain(words).map(Into::into);
        interlink_daemon::flags::try_parse::<Flags>(args)
            .map_err(|stop| format!("{stop:?}"))?
            .settings(&env(), Vec::new())
    }

    #[test]
    fn the_six_flags_make_a_forward() {
        let s = settings(&[("-hostkeyfile", Some("~/hosts"))]).unwrap();
        assert_eq!(s.server.to_string(), "login.hpc.example.org:22");
        assert_eq!(s.user, "interlink");
        assert_eq!(s.identity.key_file, Some(home().join(".ssh/interlink_tunnel")));
        assert_eq!(s.host_keys, Source::File(home().join("hosts")));
        assert_eq!(s.forwards[0].direction, Direction::Forward);
        assert_eq!(s.forwards[0].local.to_string(), "unix:///run/interlink/plugin.sock");
        assert_eq!(s.forwards[0].remote, Remote::Port(4000));
        assert_eq!(s.wait, Duration::from_secs(10));
        assert!(s.ignored.is_empty());
    }

    #[test]
    fn missing_and_contradictory_flags_are_named_in_one_sentence() {
        for (changes, expected) in [
            (vec![("-addr", None)], "-addr is missing"),
            (vec![("-user", None)], "-user is missing"),
            (vec![("-user", Some(""))], "-user is missing"),
            (vec![("-keyfile", None)], "-keyfile is missing"),
            (vec![("-lsock", None)], "-lsock is missing"),
            (vec![("-rport", None)], "-rport or -rsock is missing"),
            (vec![("-rsock", Some("/p.sock"))], "exclude each other"),
            (vec![("-rexec", Some("plugin dial-stdio"))], "exclude each other"),
            (
                vec![("-rport", None), ("-rexec", Some("plugin dial-stdio")), ("-reverse", Some("true"))],
                "-rexec and -reverse exclude",
            ),
            (vec![("-rport", Some("0"))], "a number from 1 to 65535"),
            (vec![("-rport", Some("http"))], "a number from 1 to 65535"),
            (vec![("-rport", None), ("-rsock", Some("~/p.sock"))], "absolute path"),
            (vec![("-addr", Some("ssh://host"))], "is a URL"),
            (vec![("-addr", Some("me@host"))], "-user"),
            (vec![("-addr", Some("host:ssh"))], "a number from 1 to 65535"),
            (vec![("-addr", Some(":22"))], "names no host"),
            (vec![("-addr", Some("[::1"))], "lacks a ]"),
            (vec![("-lsock", Some("0.0.0.0:4000"))], "to the network"),
            (vec![("-lsock", Some("host.example.org:4000"))], "to the network"),
            (vec![("-wait", Some("soon"))], "not a duration"),
            (vec![("-wait", Some("10x"))], "not a duration"),
        ] {
            let err = settings(&changes).unwrap_err();
            assert!(err.contains(expected), "{changes:?}: {err}");
            assert!(!err.contains('\n'), "{err}");
        }
        let long = format!("/{}", "x".repeat(107));
        assert!(settings(&[("-lsock", Some(&long))]).unwrap_err().contains("108 bytes"));
    }

    #[test]
    fn jump_hosts_are_written_as_for_ssh() {
        let s = settings(&[("-proxyjump", Some("gate, alice@last:2222,ssh://bob@[2001:db8::1]:23"))]).unwrap();
        let hops: Vec<String> = s.hops().map(|hop| format!("{}@{}", hop.user, hop.server)).collect();
        let expected =
            ["interlink@gate:22", "alice@last:2222", "bob@[2001:db8::1]:23", "interlink@login.hpc.example.org:22"];
        assert_eq!(hops, expected);
        assert!(settings(&[("-proxyjump", Some("none"))]).unwrap().jumps.is_empty());
        for (text, expected) in
            [("@gate", "names no user"), ("gate:ssh", "-proxyjump"), ("gate,,last", "names no host")]
        {
            let err = settings(&[("-proxyjump", Some(text))]).unwrap_err();
            assert!(err.contains(expected), "{text}: {err}");
        }
    }

    #[test]
    fn the_systems_ssh_needs_neither_user_nor_key() {
        let bare = [("-user", None), ("-keyfile", None), ("-engine", Some("openssh"))];
        let s = settings(&[&bare[..], &[("-addr", Some("cluster"))]].concat()).unwrap();
        let system = s.engine.system().unwrap();
        assert_eq!((system.user, system.port, &system.config, &s.identity.key_file), (false, false, &None, &None));
        let s = settings(&[("-engine", Some("openssh")), ("-F", Some("/site.conf"))]).unwrap();
        let system = s.engine.system().unwrap();
        assert_eq!((system.user, system.port, &system.config), (true, true, &Some("/site.conf".into())));
        for (changes, expected) in [
            (vec![("-engine", Some("putty"))], "builtin or openssh"),
            (vec![("-F", Some("/site.conf"))], "-engine openssh"),
            (vec![("-engine", Some("openssh")), ("-passphrasefile", Some("/words"))], "exclude each other"),
        ] {
            let err = settings(&changes).unwrap_err();
            assert!(err.contains(expected), "{err}");
        }
    }

    #[test]
    fn an_agent_is_found_as_ssh_finds_it() {
        let s = settings(&[]).unwrap();
        assert_eq!(s.identity.agent, None);
        let s = settings(&[("-keyfile", None), ("-identityagent", Some("/run/agent.sock"))]).unwrap();
        assert_eq!((s.identity.key_file, s.identity.agent), (None, Some("/run/agent.sock".into())));
        let err = settings(&[("-identityagent", Some("SSH_AUTH_SOCK"))]).unwrap_err();
        assert!(err.contains("which is not set"), "{err}");
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, host, port) in [
            ("login", "login", 22),
            ("login:2222", "login", 2222),
            ("192.0.2.1:22", "192.0.2.1", 22),
            ("::1", "::1", 22),
            ("[::1]", "::1", 22),
            ("[2001:db8::1]:2222", "2001:db8::1", 2222),
        ] {
            let server = parse_server(text).unwrap();
            assert_eq!((server.host.as_str(), server.port), (host, port), "{text}");
        }
    }

    #[test]
    fn the_near_end_is_a_path_or_a_loopback_port() {
        let here = std::env::current_dir().unwrap();
        for (text, expected) in [
            ("~/t.sock", format!("unix://{}/t.sock", home().display())),
            ("unix:///run/t.sock", "unix:///run/t.sock".into()),
            ("t.sock", format!("unix://{}/t.sock", here.display())),
            ("/run/a:1", "unix:///run/a:1".into()),
            ("localhost:4000", "http://localhost:4000".into()),
            ("127.0.0.1:4000", "http://127.0.0.1:4000".into()),
            ("[::1]:4000", "http://[::1]:4000".into()),
        ] {
            let local = parse_local(text, Direction::Forward).unwrap();
            assert_eq!(local.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn in_reverse_the_service_may_be_anywhere() {
        let s = settings(&[("-reverse", Some("true")), ("-lsock", Some("db.example.org:5432"))]).unwrap();
        assert_eq!(s.forwards[0].direction, Direction::Reverse);
        assert_eq!(s.forwards[0].listens(), "localhost:4000");
        assert_eq!(s.forwards[0].leads_to(), "http://db.example.org:5432");
        assert!(settings(&[("-reverse", Some("true")), ("-lsock", Some(":5432"))]).unwrap_err().contains("no host"));
    }

    #[test]
    fn durations_are_written_as_in_go() {
        for (text, ms) in [("10s", 10_000), ("500ms", 500), ("1m30s", 90_000), ("2h", 7_200_000), ("7", 7000), ("0", 0)]
        {
            assert_eq!(parse_duration("-wait", text).unwrap(), Duration::from_millis(ms), "{text}");
        }
    }

    #[test]
    fn profiling_is_accepted_without_effect() {
        let s = settings(&[("-pprof", Some("true")), ("-pprof-port", Some("6062"))]).unwrap();
        assert_eq!(s.ignored, ["-pprof", "-pprof-port"]);
    }

    #[test]
    fn new_hosts_go_to_known_hosts_then_to_the_state_directory() {
        let service = Environment { state_directory: Some("/var/lib/interlink".into()), ..env() };
        for (env, expected) in [
            (env(), vec!["/home/me/.ssh/known_hosts", "/home/me/.local/state/interlink/known_hosts"]),
            (service.clone(), vec!["/home/me/.ssh/known_hosts", "/var/lib/interlink/known_hosts"]),
            (Environment { home: None, ..service }, vec!["/var/lib/interlink/known_hosts"]),
        ] {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(records(&env).unwrap(), expected);
        }
        assert!(records(&Environment::default()).unwrap_err().contains("-hostkeyfile"));
    }
}
