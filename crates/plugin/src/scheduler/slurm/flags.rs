//! sbatch flags of flavors and of the pod's annotation: parsed, judged, merged, and written as `#SBATCH` lines.

/// Annotation with sbatch flags.
pub const ANNOTATION: &str = "slurm-job.vk.io/flags";

/// One flag: its long name, and its value where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Without dashes; short options by their long name where we know it.
    pub key: String,
    /// What follows `=`.
    pub value: Option<String>,
}

impl Flag {
    /// A flag with a value.
    pub fn new(key: &str, value: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: Some(value.into()) }
    }

    /// As the text after `#SBATCH `: sbatch reads double quotes there as a shell does.
    #[must_use]
    pub fn directive(&self) -> String {
        let dashes = if self.key.len() == 1 { "-" } else { "--" };
        match &self.value {
            None => format!("{dashes}{}", self.key),
            Some(value) => {
                let glue = if self.key.len() == 1 { " " } else { "=" };
                let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.,:/=+@%[]*&|^".contains(&b));
                let quote = if plain && !value.is_empty() { "" } else { "\"" };
                format!("{dashes}{}{glue}{quote}{value}{quote}", self.key)
            }
        }
    }
}

/// sbatch's short options (sbatch(1)).
const SHORT: [(&str, &str); 25] = [
    ("A", "account"),
    ("a", "array"),
    ("b", "begin"),
    ("B", "extra-node-info"),
    ("C", "constraint"),
    ("c", "cpus-per-task"),
    ("D", "chdir"),
    ("d", "dependency"),
    ("e", "error"),
    ("F", "nodefile"),
    ("G", "gpus"),
    ("i", "input"),
    ("J", "job-name"),
    ("L", "licenses"),
    ("M", "clusters"),
    ("m", "distribution"),
    ("n", "ntasks"),
    ("N", "nodes"),
    ("o", "output"),
    ("p", "partition"),
    ("q", "qos"),
    ("t", "time"),
    ("w", "nodelist"),
    ("W", "wait"),
    ("x", "exclude"),
];

/// Short options without a value.
const SHORT_SWITCHES: [(&str, &str); 6] =
    [("H", "hold"), ("I", "immediate"), ("k", "no-kill"), ("O", "overcommit"), ("Q", "quiet"), ("s", "oversubscribe")];

/// Flags that would take the job's identity, files or environment out of our hands, make one submission several jobs,
/// or make sbatch do something else than submit.
const FORBIDDEN: [&str; 33] = [
    "array",
    "bb",
    "bbf",
    "chdir",
    "clusters",
    "cluster",
    "container",
    "error",
    "export",
    "export-file",
    "get-user-env",
    "gid",
    "help",
    "ignore-pbs",
    "immediate",
    "input",
    "job-name",
    "no-requeue",
    "nodefile",
    "open-mode",
    "output",
    "parsable",
    "propagate",
    "quiet",
    "requeue",
    "signal",
    "test-only",
    "uid",
    "usage",
    "verbose",
    "version",
    "wait",
    "wrap",
];

/// Reads flags from words as a shell would split them: `--key=value`, `--key value`, `-p value`, `-pvalue`, switches.
///
/// # Errors
/// What is wrong with which word, and what would be right.
pub fn parse(words: &[String]) -> Result<Vec<Flag>, String> {
    let mut flags = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let mut flag = read(word)?;
        // A word that does not begin with a dash belongs to the flag before it; a negative number may, too.
        while let Some(next) = words.next_if(|next| !next.starts_with('-') || is_negative_number(next)) {
            match &mut flag.value {
                Some(value) => {
                    value.push(' ');
                    value.push_str(next);
                }
                none => *none = Some(next.clone()),
            }
        }
        judge(&flag)?;
        flags.push(flag);
    }
    Ok(flags)
}

/// Reads the annotation's text.
///
/// # Errors
/// As [`parse`].
pub fn parse_text(text: &str) -> Result<Vec<Flag>, String> {
    let words = shlex::split(text).ok_or_else(|| "has a quote that does not end".to_owned())?;
    parse(&words)
}

fn read(word: &str) -> Result<Flag, String> {
    if let Some(long) = word.strip_prefix("--") {
        let (key, value) = long.split_once('=').map_or((long, None), |(k, v)| (k, Some(v.to_owned())));
        if key.len() < 2 || !key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(format!("holds {word:?}, which is not a flag; write it as --name=value"));
        }
        return Ok(Flag { key: key.to_owned(), value });
    }
    let short = word.strip_prefix('-').and_then(|rest| {
        let mut chars = rest.chars();
        chars.next().map(|c| (c.to_string(), chars.as_str()))
    });
    let Some((letter, rest)) = short.filter(|(letter, _)| letter != "-") else {
        return Err(format!("holds {word:?}, which does not begin with \"-\"; write flags as --name=value"));
    };
    let value = Some(rest.strip_prefix('=').unwrap_or(rest)).filter(|v| !v.is_empty()).map(str::to_owned);
    if let Some((_, key)) = SHORT.iter().find(|(s, _)| *s == letter) {
        return Ok(Flag { key: (*key).to_owned(), value });
    }
    match SHORT_SWITCHES.iter().find(|(s, _)| *s == letter) {
        Some((_, key)) if value.is_none() => Ok(Flag { key: (*key).to_owned(), value: None }),
        _ => Err(format!("holds {word:?}, which sbatch does not have; write it with its long name, as --name=value")),
    }
}

fn is_negative_number(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

fn judge(flag: &Flag) -> Result<(), String> {
    // Options of container plugins (pyxis): the whole job would run in an image of the pod author's.
    if flag.key.starts_with("container-") {
        return Err(format!(
            "holds --{}, which is not allowed because the plugin decides how containers are run; remove it",
            flag.key
        ));
    }
    // sbatch takes any unambiguous beginning of a long name.
    if let Some(name) = FORBIDDEN.iter().find(|name| **name == flag.key || is_beginning(&flag.key, name)) {
        return Err(format!(
            "holds --{}, which is not allowed because the plugin decides on --{name}; remove it",
            flag.key
        ));
    }
    if let Some(value) = &flag.value
        && !value.chars().all(|c| (c == ' ' || c.is_ascii_graphic()) && !"\"'\\`".contains(c))
    {
        return Err(format!(
            "gives --{} a value with quotes, backslashes or characters beyond ASCII; remove them",
            flag.key
        ));
    }
    Ok(())
}

fn is_beginning(key: &str, name: &str) -> bool {
    key.len() >= 2 && name.starts_with(key)
}

/// One list: of equal keys the last one counts, at the place of the first.
#[must_use]
pub fn merged(lists: impl IntoIterator<Item = Flag>) -> Vec<Flag> {
    let mut out: Vec<Flag> = Vec::new();
    for flag in lists {
        match out.iter_mut().find(|f| f.key == flag.key) {
            Some(earlier) => *earlier = flag,
            None => out.push(flag),
        }
    }
    out
}

/// Whether a flag with one of these names is among them.
#[must_use]
pub fn has(flags: &[Flag], keys: &[&str]) -> bool {
    flags.iter().any(|flag| keys.contains(&flag.key.as_str()))
}

/// The GPUs that `--gres=gpu[:type]:N` or `--gpus=[type:]N` ask for.
#[must_use]
pub fn gpus(flags: &[Flag]) -> Option<u64> {
    let value = |key: &str| flags.iter().rev().find(|f| f.key == key).and_then(|f| f.value.as_deref());
    if let Some(gres) = value("gres") {
        let entry = gres.split(',').find(|entry| entry.split(':').next() == Some("gpu"))?;
        return entry.rsplit(':').next().map_or(Some(1), |n| if n == "gpu" { Some(1) } else { n.parse().ok() });
    }
    value("gpus").and_then(|v| v.rsplit(':').next()?.parse().ok())
}

/// The time limit in seconds that `--time` asks for: `minutes`, `minutes:seconds`, `hours:minutes:seconds`,
/// `days-hours`, `days-hours:minutes`, `days-hours:minutes:seconds`.
#[must_use]
pub fn time_limit(flags: &[Flag]) -> Option<u64> {
    let text = flags.iter().rev().find(|f| f.key == "time")?.value.as_deref()?;
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u64>().ok()?), rest),
        None => (None, text),
    };
    let parts = rest.split(':').map(|p| p.parse::<u64>().ok()).collect::<Option<Vec<_>>>()?;
    let (h, m, s) = match (days.is_some(), parts.as_slice()) {
        (true, [h]) => (*h, 0, 0),
        (true, [h, m]) => (*h, *m, 0),
        (_, [h, m, s]) => (*h, *m, *s),
        (false, [m]) => (0, *m, 0),
        (false, [m, s]) => (0, *m, *s),
        _ => return None,
    };
    let hours = days.unwrap_or(0).saturating_mul(24).saturating_add(h);
    let minutes = hours.saturating_mul(60).saturating_add(m);
    Some(minutes.saturating_mul(60).saturating_add(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(text: &str) -> Result<Vec<String>, String> {
        Ok(parse_text(text)?.iter().map(Flag::directive).collect())
    }

    #[test]
    fn flags_are_read_as_a_shell_and_sbatch_would() {
        let cases: [(&str, &[&str]); 8] = [
            ("--partition=gpu --time=1:00:00", &["--partition=gpu", "--time=1:00:00"]),
            ("-p gpu -c 4 -n8", &["--partition=gpu", "--cpus-per-task=4", "--ntasks=8"]),
            ("--partition gpu", &["--partition=gpu"]),
            ("--nice -5", &["--nice=-5"]),
            ("--exclusive --mem-per-cpu=2G", &["--exclusive", "--mem-per-cpu=2G"]),
            ("--constraint 'a b'", &["--constraint=\"a b\""]),
            ("-C 'haswell&ib'", &["--constraint=haswell&ib"]),
            ("", &[]),
        ];
        for (text, lines) in cases {
            assert_eq!(directives(text).unwrap(), lines, "{text}");
        }
    }

    #[test]
    fn what_would_reach_beyond_the_job_is_refused() {
        let cases = [
            ("gpu", "does not begin"),
            ("--output=/tmp/x", "--output"),
            ("-o /tmp/x", "--output"),
            ("--out /tmp/x", "--output"),
            ("-J name", "--job-name"),
            ("--wrap='rm -rf'", "--wrap"),
            ("--wr=x", "--wrap"),
            ("--container-image=x", "--container-image"),
            ("--container-mounts=/:/mnt", "--container-mounts"),
            ("--uid=0", "--uid"),
            ("--export=ALL", "--export"),
            ("-a 1-10", "--array"),
            ("--signal=B:KILL", "--signal"),
            ("-M other", "--clusters"),
            ("--chdir /", "--chdir"),
            ("'--time=1\n2'", "characters beyond"),
            ("--licenses='a\"b'", "quotes"),
            ("'--a b'", "not a flag"),
            ("--mem='1", "quote that does not end"),
            ("-Z1", "long name"),
            ("-", "does not begin"),
        ];
        for (text, said) in cases {
            let error = parse_text(text).unwrap_err();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_last_of_equal_flags_counts() {
        let flags = merged([Flag::new("time", "1"), Flag::new("partition", "a"), Flag::new("time", "2")]);
        assert_eq!(flags, [Flag::new("time", "2"), Flag::new("partition", "a")]);
    }

    #[test]
    fn gpus_and_time_limits_are_understood() {
        for (text, n) in [
            ("--gres=gpu:2", Some(2)),
            ("--gres=gpu:a100:4", Some(4)),
            ("--gres=gpu", Some(1)),
            ("--gres=nic:1,gpu:3", Some(3)),
            ("--gpus=a100:2", Some(2)),
            ("-G 1", Some(1)),
            ("--gres=nic", None),
            ("", None),
        ] {
            assert_eq!(gpus(&parse_text(text).unwrap()), n, "{text}");
        }
        let cases = [
            ("10", 600),
            ("10:30", 630),
            ("1:00:00", 3600),
            ("1-0", 86_400),
            ("1-12:30", 131_400),
            ("2-0:0:1", 172_801),
        ];
        for (text, seconds) in cases {
            assert_eq!(time_limit(&[Flag::new("time", text)]), Some(seconds), "{text}");
        }
        assert_eq!(time_limit(&[Flag::new("time", u64::MAX.to_string())]), Some(u64::MAX));
        for text in ["UNLIMITED", "1:2:3:4", "x"] {
            assert_eq!(time_limit(&[Flag::new("time", text)]), None, "{text}");
        }
    }
}
