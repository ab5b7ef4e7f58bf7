//! The medians of several rounds, as a Markdown table.

use std::fmt;

use crate::Measured;

/// One measurement of both.
#[derive(Clone, Copy)]
pub struct Cell {
    pub ours: Measured,
    pub theirs: Option<Measured>,
}

/// Rows in order of their first coming.
#[derive(Default)]
pub struct Table(Vec<(String, Vec<Cell>)>);

impl Table {
    pub fn add(&mut self, name: String, cell: Cell) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, cells)) => cells.push(cell),
            None => self.0.push((name, vec![cell])),
        }
    }
}

/// Smallest, median, largest.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        all => (all[0], all[all.len() / 2], all[all.len() - 1]),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| work, clients | nomad/s | etcd/s | ratio (spread) | p50 ms | p99 ms | CPU us/op | MiB | errors |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for (name, cells) in &self.0 {
            let ours = |of: fn(&Measured) -> f64| spread(cells.iter().map(|cell| of(&cell.ours))).1;
            let theirs = |of: fn(&Measured) -> f64| {
                spread(cells.iter().filter_map(|cell| cell.theirs.as_ref().map(of))).1
            };
            let both = |of: fn(&Measured) -> f64, digits: usize| match theirs(of) {
                nothing if nothing.is_nan() => format!("{:.digits$}", ours(of)),
                theirs => format!("{:.digits$} / {theirs:.digits$}", ours(of)),
            };
            let ratios = cells.iter().filter_map(|cell| Some(cell.ours.per_second / cell.theirs?.per_second));
            let (least, median, most) = spread(ratios);
            let errors: u64 =
                cells.iter().map(|cell| cell.ours.errors + cell.theirs.map_or(0, |of| of.errors)).sum();
            let (rate, ratio) = match theirs(|of| of.per_second) {
                nothing if nothing.is_nan() => ("-".to_owned(), "-".to_owned()),
                theirs => (format!("{theirs:.0}"), format!("{median:.2} ({least:.2} to {most:.2})")),
            };
            writeln!(
                f,
                "| {name} | {:.0} | {rate} | {ratio} | {} | {} | {} | {} | {errors} |",
                ours(|of| of.per_second),
                both(|of| of.p50_us / 1000.0, 2),
                both(|of| of.p99_us / 1000.0, 1),
                both(|of| of.server_cpu_us, 0),
                both(|of| of.server_rss_mib, 0),
            )?;
        }
        Ok(())
    }
}
