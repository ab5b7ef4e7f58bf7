//! What a run showed: a table, bars and JSON.
//!
//! Promises: the JSON's names are a stable contract; the table fits 80 columns. Does not: measure.

use std::collections::{BTreeMap, VecDeque};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cmd::bench::history::Checked;
use crate::cmd::bench::tally::{Count, Tally};
use crate::cmd::bench::verify::Verified;
use crate::cmd::bench::workload::{Kind, Workload};
use crate::cmd::{spell, table};

/// Rows of bars, at most.
const BARS_MAX: usize = 12;
/// Characters of the longest bar.
const BAR_COLUMNS: f64 = 36.0;
/// What is rarer than this has no bar of its own at the ends.
const TAIL_SHARE: f64 = 0.000_5;

/// What was asked for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Setting {
    #[serde(serialize_with = "by_name")]
    pub workload: Workload,
    pub clients: u64,
    pub connections: u64,
    pub keys: u64,
    pub value_bytes: usize,
    /// Operations a second that were due; absent if as many as went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

/// What was measured.
#[derive(Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub setting: Setting,
    pub seconds: f64,
    #[serde(flatten)]
    pub total: Measured,
    /// When the operation that took longest began, in seconds after measuring did; absent if none was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_after_s: Option<f64>,
    pub operations: BTreeMap<&'static str, Measured>,
    /// True if the run was ended before its time.
    pub cut_short: bool,
    /// With a rate: operations that were due and that no client was free for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_begun: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
    #[serde(skip)]
    order: Vec<&'static str>,
    #[serde(skip)]
    latency_us: Histogram<u32>,
}

/// Operations of one kind, or all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Answered.
    pub ops: u64,
    pub errors: u64,
    pub unknown: u64,
    pub ops_per_s: f64,
    pub latency_us: Latency,
    /// Of the answered: writes whose condition did not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition_failed: Option<u64>,
}

/// Of answered operations, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Report {
    pub fn new(setting: Setting, seconds: f64, tally: &Tally) -> Report {
        let nothing = Count::default();
        let of = |kind: Kind| tally.counts().find(|(other, _)| *other == kind).map(|(_, count)| count);
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| setting.workload.has(*kind)).collect();
        let operations = kinds.iter().map(|kind| {
            let count = of(*kind).unwrap_or(&nothing);
            let condition_failed = (*kind == Kind::Cas).then_some(count.condition_failed);
            (kind.name(), Measured { condition_failed, ..Measured::new(count, seconds) })
        });
        let total = tally.total();
        Report {
            setting,
            seconds: rounded(seconds),
            total: Measured::new(&total, seconds),
            longest_after_s: (total.answered() > 0).then(|| rounded(total.longest.after.as_secs_f64())),
            operations: operations.collect(),
            cut_short: false,
            not_begun: None,
            verified: None,
            checked: None,
            order: kinds.iter().map(|kind| kind.name()).collect(),
            latency_us: total.latency_us,
        }
    }

    /// For people. `columns`: the terminal's width, `None` on a pipe.
    pub fn text(&self, columns: Option<u16>) -> String {
        let mut text = self.heading();
        let header = [">", ">OPS", ">OPS/S", ">ERR", ">UNKN", ">P50", ">P95", ">P99", ">P99.9", ">MAX"];
        let header = [&["OPERATION"], &header[1..]].concat();
        let mut rows: Vec<_> = self.order.iter().map(|name| self.operations[name].row(name)).collect();
        if rows.len() > 1 {
            rows.push(self.total.row("all"));
        }
        text += &format!("\n{}", table::render(columns, &header, rows));
        text += &bars(&self.latency_us);
        text += "\n";
        text += &self.remarks().iter().map(|line| format!("{line}\n")).collect::<String>();
        text.trim_end().to_owned()
    }

    fn heading(&self) -> String {
        let Setting { workload, clients, connections, keys, value_bytes, rate } = self.setting;
        let plural = |number: u64, what: &str| {
            format!("{} {what}{}", spell::count(number), if number == 1 { "" } else { "s" })
        };
        let over = if connections > 1 { format!(" over {connections} connections") } else { String::new() };
        let pace = rate.map_or("closed loop".to_owned(), |rate| format!("{rate} a second due"));
        format!(
            "{}: {}{over}, {pace}\n{}, values of {value_bytes} B, {} s measured\n",
            workload.name(),
            plural(clients, "client"),
            plural(keys, "key"),
            self.seconds,
        )
    }

    fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.cut_short {
            lines.push("cut short: this is what was measured until then".to_owned());
        }
        if let Some(after_s) = self.longest_after_s {
            lines.push(format!("the longest of all began {after_s:.1} s after measuring did"));
        }
        // As many as there are clients may always be caught by the end.
        if let Some(late) = self.not_begun.filter(|late| *late > self.setting.clients) {
            lines.push(format!(
                "{} operations were due and not begun: more than was possible",
                spell::count(late),
            ));
        }
        if let Some(failed) =
            self.operations.get("cas").and_then(|cas| cas.condition_failed).filter(|n| *n > 0)
        {
            lines.push(format!(
                "{} conditions did not hold (answered, nothing changed)",
                spell::count(failed)
            ));
        }
        lines.extend(self.verified.iter().flat_map(Verified::sentences));
        lines.extend(self.checked.iter().flat_map(Checked::sentences));
        lines
    }
}

impl Measured {
    fn new(count: &Count, seconds: f64) -> Measured {
        let ops = count.answered();
        let at = |share: f64| {
            let found = count.latency_us.value_at_quantile(share);
            found.min(count.latency_us.max())
        };
        let latency_us = Latency {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: count.latency_us.max(),
        };
        let ops_per_s = if seconds > 0.0 { rounded(ops as f64 / seconds) } else { 0.0 };
        let (errors, unknown) = (count.errors, count.unknown);
        Measured { ops, errors, unknown, ops_per_s, latency_us, condition_failed: None }
    }

    fn row(&self, name: &str) -> Vec<String> {
        let Latency { p50, p95, p99, p999, max } = self.latency_us;
        let times = [p50, p95, p99, p999, max].map(|us| if self.ops > 0 { brief(us) } else { "-".into() });
        let counts = [self.ops, self.ops_per_s as u64, self.errors, self.unknown].map(spell::count);
        std::iter::once(name.to_owned()).chain(counts).chain(times).collect()
    }
}

/// A latency in at most six characters.
fn brief(us: u64) -> String {
    let digits = |number: f64, unit: &str| match number {
        ..9.995 => format!("{number:.2}{unit}"),
        ..99.95 => format!("{number:.1}{unit}"),
        _ => format!("{number:.0}{unit}"),
    };
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => digits(us as f64 / 1e3, "ms"),
        _ => digits(us as f64 / 1e6, "s"),
    }
}

/// How latencies are spread: a bar for each step of 1, 2, 5, 10 and so on. Empty if there are none.
fn bars(latency_us: &Histogram<u32>) -> String {
    let all = latency_us.len();
    let steps = spread(latency_us);
    let Some(most) = steps.iter().map(|(_, count)| *count).max() else { return String::new() };
    let mut text = "\n".to_owned();
    for (at, (edge, count)) in steps.iter().enumerate() {
        let label = match steps.get(at.wrapping_sub(1)) {
            Some((above, _)) if at + 1 == steps.len() => format!("   over {:>5}", short(*above)),
            _ => format!("  below {:>5}", short(*edge)),
        };
        let bar = "█".repeat((*count as f64 / most as f64 * BAR_COLUMNS).round() as usize);
        let share = *count as f64 * 100.0 / all as f64;
        text += format!("{label}  {share:>5.1}%  {:>11}  {bar}", spell::count(*count)).trim_end();
        text += "\n";
    }
    text
}

/// Below each step, and not below the one before: how many. The ends take in what is rare.
fn spread(latency_us: &Histogram<u32>) -> VecDeque<(u64, u64)> {
    let mut counts: VecDeque<(u64, u64)> = VecDeque::new();
    let mut steps = steps();
    for found in latency_us.iter_recorded() {
        while counts.back().is_none_or(|(edge, _)| *edge <= found.value_iterated_to()) {
            let Some(edge) = steps.next() else { break };
            counts.push_back((edge, 0));
        }
        counts.back_mut().expect("there is a first step").1 += u64::from(found.count_at_value());
    }
    let rare = (latency_us.len() as f64 * TAIL_SHARE) as u64;
    while let [(_, first), (_, second), .., (_, last)] = *counts.make_contiguous() {
        let least = first.min(last);
        if least > rare && counts.len() <= BARS_MAX {
            break;
        }
        if first == least {
            counts.pop_front();
            counts[0].1 = first + second;
        } else {
            counts.pop_back();
            counts.back_mut().expect("at least two are left").1 += last;
        }
    }
    // All in one step: an empty one before it says nothing.
    if let [(_, 0), _] = *counts.make_contiguous() {
        counts.pop_front();
    }
    counts
}

/// 1, 2, 5, 10, 20, 50 and so on, in microseconds, for hours.
fn steps() -> impl Iterator<Item = u64> {
    (0..11).flat_map(|power| [1, 2, 5].map(|digit| digit * 10u64.pow(power)))
}

/// A round latency: `500us`, `2ms`, `10s`.
fn short(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{}ms", us / 1_000),
        _ => format!("{}s", us / 1_000_000),
    }
}

/// To three digits after the point.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

fn by_name<S: serde::Serializer>(workload: &Workload, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(workload.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::bench::tally::{Ended, Trouble};
    use crate::cmd::exit::Exit;
    use std::time::Duration;

    fn setting(workload: Workload) -> Setting {
        Setting { workload, clients: 64, connections: 1, keys: 100_000, value_bytes: 256, rate: None }
    }

    /// A run of two seconds in which everything is as wide as it gets.
    fn wide() -> Report {
        let mut tally = Tally::default();
        for kind in [Kind::Get, Kind::Put, Kind::Cas, Kind::Incr, Kind::Scan] {
            for us in (1..2_000).chain([123_456, 999_999]) {
                tally.record(kind, Ended::Done, Duration::from_secs(us), Duration::from_micros(us * us));
            }
            for _ in 0..1_000 {
                let trouble = Trouble { exit: Exit::Unknown, because: vec![] };
                tally.record(kind, Ended::Unknown(trouble.clone()), Duration::ZERO, Duration::ZERO);
                tally.record(kind, Ended::Failed(trouble), Duration::ZERO, Duration::ZERO);
            }
        }
        Report::new(setting(Workload::Mixed), 2.0, &tally)
    }

    #[test]
    fn it_fits_eighty_columns() {
        let mut report = wide();
        report.not_begun = Some(1_000_000);
        report.verified = Some(Verified { keys: 1_000_000, acknowledged: 1 << 30, ..Verified::default() });
        let text = report.text(Some(80));
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}\n{text}");
        }
        assert!(text.contains("\nOPERATION") && text.contains("\nall ") && text.contains("█"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("get ")).count(), 1, "no cell wraps\n{text}");
    }

    #[test]
    fn the_object_has_the_promised_fields() {
        let json = serde_json::to_value(wide()).unwrap();
        assert_eq!((&json["workload"], &json["clients"]), (&"mixed".into(), &64.into()));
        assert_eq!((&json["value_bytes"], &json["seconds"]), (&256.into(), &2.0.into()));
        assert_eq!(
            (&json["ops"], &json["errors"], &json["unknown"]),
            (&10_005.into(), &5_000.into(), &5_000.into())
        );
        assert_eq!((&json["ops_per_s"], &json["longest_after_s"]), (&5_002.5.into(), &999_999.0.into()));
        let names =
            |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&json["latency_us"]), ["max", "p50", "p95", "p99", "p999"]);
        assert_eq!(names(&json["operations"]), ["cas", "get", "incr", "put", "scan"]);
        assert_eq!(json["operations"]["get"]["ops"], 2_001);
        assert_eq!(json["operations"]["cas"]["condition_failed"], 0);
        let p50 = json["operations"]["get"]["latency_us"]["p50"].as_u64().unwrap();
        assert!((1_000_000..1_010_000).contains(&p50), "{p50}");
    }

    #[test]
    fn nothing_measured_is_shown_as_nothing() {
        let report = Report::new(setting(Workload::Put), 0.0, &Tally::default());
        assert_eq!((report.total.ops, report.total.ops_per_s), (0, 0.0));
        assert!(report.text(None).contains("put          0      0    0     0    -"), "{}", report.text(None));
    }

    #[test]
    fn latencies_take_little_room() {
        let shown = [0, 999, 1_000, 9_994, 9_996, 99_960, 999_000, 1_234_567, 59_960_000].map(brief);
        assert_eq!(shown, ["0us", "999us", "1.00ms", "9.99ms", "10.0ms", "100ms", "999ms", "1.23s", "60.0s"]);
    }

    #[test]
    fn bars_hold_every_operation() {
        let mut latency = Histogram::<u32>::new(3).unwrap();
        for us in [150, 300, 310, 320, 700, 90_000_000] {
            latency.record_n(us, 1_000).unwrap();
        }
        latency.record(3).unwrap();
        let text = bars(&latency);
        assert_eq!(
            text.trim_start_matches('\n').lines().next().unwrap().split_whitespace().nth(1),
            Some("200us")
        );
        let counted: u64 = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3))
            .map(|count| count.replace(',', "").parse::<u64>().unwrap())
            .sum();
        assert_eq!(counted, 6_001, "{text}");
        assert!(text.lines().last().unwrap().starts_with("   over"), "{text}");
        let mut one_step = Histogram::<u32>::new(3).unwrap();
        one_step.record_n(3_000, 14).unwrap();
        let text = bars(&one_step);
        assert!(text.starts_with("\n  below   5ms  100.0%           14  █"), "{text}");
        assert_eq!(bars(&Histogram::new(3).unwrap()), "");
    }
}
