//! The query of `/containerLogs`, checked as the real kubelet does, and what becomes of it on the wire.

use interlink_wire::LogOpts;
use jiff::Timestamp;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct LogQuery {
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) timestamps: bool,
    pub(super) tail_lines: Option<i64>,
    pub(super) limit_bytes: Option<i64>,
    pub(super) since_seconds: Option<i64>,
    pub(super) since_time: Option<Timestamp>,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plan {
    /// The answer is empty, whatever the container said.
    Nothing,
    /// Ask the next hop, and cut what comes after so many bytes.
    Ask(LogOpts, Option<u64>),
}

impl LogQuery {
    /// Reads the query. Of several equal names the first counts; unknown names are passed over.
    pub(super) fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let of = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let query = Self {
            follow: boolean("follow", of("follow"))?,
            previous: boolean("previous", of("previous"))?,
            timestamps: boolean("timestamps", of("timestamps"))?,
            tail_lines: number("tailLines", of("tailLines"), 0)?,
            limit_bytes: number("limitBytes", of("limitBytes"), 1)?,
            since_seconds: number("sinceSeconds", of("sinceSeconds"), 1)?,
            since_time: time(of("sinceTime"))?,
        };
        if query.since_seconds.is_some() && query.since_time.is_some() {
            return Err("sinceSeconds and sinceTime can't both be given; drop one".to_owned());
        }
        Ok(query)
    }

    /// On the wire 0 means "not set", and peers refuse a tail together with a limit.
    pub(super) fn plan(&self) -> Plan {
        let mut options = LogOpts {
            tail: self.tail_lines.unwrap_or(0),
            limit_bytes: self.limit_bytes.unwrap_or(0),
            timestamps: self.timestamps,
            follow: self.follow,
            previous: self.previous,
            since_seconds: self.since_seconds.unwrap_or(0),
            since_time: self.since_time,
        };
        if self.tail_lines == Some(0) {
            if !self.follow {
                return Plan::Nothing;
            }
            // "Nothing of what was, all that comes": a second by the clock of the far side is as near as the wire gets.
            options.since_seconds = 1;
            options.since_time = None;
        }
        if options.tail > 0 {
            options.limit_bytes = 0;
        }
        Plan::Ask(options, self.limit_bytes.and_then(|l| u64::try_from(l).ok()))
    }
}

fn boolean(name: &str, value: Option<&str>) -> Result<bool, String> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "0" | "f") => Ok(false),
        // `?follow` alone means yes.
        Some("" | "true" | "1" | "t") => Ok(true),
        Some(other) => Err(format!("{name}={other:?} is not valid: expected true or false")),
    }
}

fn number(name: &str, value: Option<&str>, least: i64) -> Result<Option<i64>, String> {
    let Some(text) = value.filter(|v| !v.is_empty()) else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(number) if number >= least => Ok(Some(number)),
        _ => Err(format!("{name}={text:?} is not valid: expected a whole number of at least {least}")),
    }
}

fn time(value: Option<&str>) -> Result<Option<Timestamp>, String> {
    let Some(text) = value.filter(|v| !v.is_empty()) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| format!("sinceTime={text:?} is not valid: expected RFC 3339, such as 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &[(&str, &str)]) -> Result<LogQuery, String> {
        LogQuery::parse(&query.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect::<Vec<_>>())
    }

    #[test]
    fn a_query_becomes_wire_options() {
        let none = LogOpts::default;
        let cases = [
            (vec![], Plan::Ask(none(), None)),
            (vec![("other", "x"), ("tailLines", "")], Plan::Ask(none(), None)),
            (
                vec![("follow", "true"), ("previous", "1"), ("timestamps", "True")],
                Plan::Ask(LogOpts { follow: true, previous: true, timestamps: true, ..none() }, None),
            ),
            (vec![("follow", ""), ("previous", "false")], Plan::Ask(LogOpts { follow: true, ..none() }, None)),
            (vec![("tailLines", "5"), ("tailLines", "6")], Plan::Ask(LogOpts { tail: 5, ..none() }, None)),
            (vec![("limitBytes", "10")], Plan::Ask(LogOpts { limit_bytes: 10, ..none() }, Some(10))),
            (vec![("tailLines", "5"), ("limitBytes", "10")], Plan::Ask(LogOpts { tail: 5, ..none() }, Some(10))),
            (vec![("sinceSeconds", "60")], Plan::Ask(LogOpts { since_seconds: 60, ..none() }, None)),
            (
                vec![("sinceTime", "2026-01-31T12:00:00+02:00")],
                Plan::Ask(LogOpts { since_time: Some("2026-01-31T10:00:00Z".parse().unwrap()), ..none() }, None),
            ),
            (vec![("tailLines", "0")], Plan::Nothing),
            (vec![("tailLines", "0"), ("timestamps", "true")], Plan::Nothing),
            (
                vec![("tailLines", "0"), ("follow", "true"), ("sinceTime", "2026-01-31T12:00:00Z")],
                Plan::Ask(LogOpts { follow: true, since_seconds: 1, ..none() }, None),
            ),
        ];
        for (query, plan) in cases {
            assert_eq!(parse(&query).unwrap().plan(), plan, "{query:?}");
        }
    }

    #[test]
    fn a_wrong_query_is_explained() {
        let cases = [
            (vec![("tailLines", "-1")], "tailLines=\"-1\" is not valid: expected a whole number of at least 0"),
            (vec![("tailLines", "many")], "tailLines=\"many\" is not valid"),
            (vec![("limitBytes", "0")], "limitBytes=\"0\" is not valid: expected a whole number of at least 1"),
            (vec![("sinceSeconds", "0")], "sinceSeconds=\"0\" is not valid"),
            (vec![("sinceTime", "yesterday")], "sinceTime=\"yesterday\" is not valid: expected RFC 3339"),
            (vec![("sinceSeconds", "1"), ("sinceTime", "2026-01-31T12:00:00Z")], "can't both be given"),
            (vec![("follow", "perhaps")], "follow=\"perhaps\" is not valid: expected true or false"),
        ];
        for (query, sentence) in cases {
            let error = parse(&query).unwrap_err();
            assert!(error.contains(sentence), "{error}");
        }
    }
}
