//! Rows of one file written into another that is new: those of a part of its keys, in their order.
//!
//! In order, each row goes to the end of its table, where writing is cheap (see `file`). So this reads and writes what is live, where a copy of the file would read and write all that has ever been, and leave the other
//! half to be removed.
//!
//! Promises: nothing is durable before the transaction that the caller commits last. Does not write head or state.

use std::ops::Bound;

use redb::{Database, Durability, TableDefinition, WriteTransaction};

use crate::model::key::KeyRange;

use super::engine::{EngineError, History, Picture, Scan};
use super::picture::{LATEST, RunKey, run_name};
use super::record::{self, Head, RunHead, Tally};

/// Writes them, in transactions that change about `part_bytes` of pages; what is to be the file's head, but for the shard's state.
pub fn write(
    database: &Database,
    part_bytes: usize,
    picture: &dyn Picture,
    range: &KeyRange,
) -> Result<Head, EngineError> {
    let known = picture.head();
    let new_permille = known.tally.unwrap_or_default().new_permille;
    let mut tally = Tally { new_permille, ..Tally::default() };
    let mut rows = picture.scan(range, false)?;
    in_parts(database, |transaction| write_latest(transaction, part_bytes, &mut rows, &mut tally))?;
    let mut runs = Vec::new();
    for (old, mut rows) in known.runs.iter().zip(picture.history(range)?) {
        let mut run = RunHead { id: old.id, ..RunHead::default() };
        in_parts(database, |transaction| write_run(transaction, part_bytes, &mut rows, &mut run))?;
        if run.rows > 0 {
            runs.push(run);
        }
    }
    Ok(Head { runs, tally: Some(tally), has_foreign: false, ..known.clone() })
}

/// Has `write` write a part in each of several transactions, until it says that it was the last.
fn in_parts(
    database: &Database,
    mut write: impl FnMut(&WriteTransaction) -> Result<bool, EngineError>,
) -> Result<(), EngineError> {
    loop {
        let mut transaction = database.begin_write()?;
        let was_last = write(&transaction)?;
        transaction.set_durability(Durability::None)?;
        transaction.commit()?;
        if was_last {
            return Ok(());
        }
    }
}

fn write_latest(
    transaction: &WriteTransaction,
    part_bytes: usize,
    rows: &mut Scan<'_>,
    tally: &mut Tally,
) -> Result<bool, EngineError> {
    let mut latest = transaction.open_table(LATEST)?;
    let mut cursor = latest.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
    let (mut stored, mut bytes) = (Vec::new(), 0);
    while bytes < part_bytes {
        let Some(row) = rows.next() else {
            cursor.close()?;
            return Ok(true);
        };
        let (key, version) = row?;
        stored.clear();
        record::encode(&version, &mut stored);
        cursor.insert_before(key.as_bytes(), stored.as_slice())?;
        tally.add(key.as_bytes().len(), &version);
        bytes += key.as_bytes().len() + stored.len();
    }
    cursor.close()?;
    Ok(false)
}

fn write_run(
    transaction: &WriteTransaction,
    part_bytes: usize,
    rows: &mut History<'_>,
    run: &mut RunHead,
) -> Result<bool, EngineError> {
    let Some(first) = rows.next() else { return Ok(true) };
    let name = run_name(run.id);
    let mut table = transaction.open_table(TableDefinition::<RunKey, &[u8]>::new(&name))?;
    let mut cursor = table.upper_bound_mut(Bound::<(&[u8], u64)>::Unbounded)?;
    let (mut stored, mut bytes) = (Vec::new(), 0);
    for row in std::iter::once(first).chain(rows) {
        let (key, version, until) = row?;
        stored.clear();
        record::encode_replaced(&version, until, &mut stored);
        cursor.insert_before((key.as_bytes(), !version.stamp.0), stored.as_slice())?;
        run.rows += 1;
        run.bytes += record::row_bytes(key.as_bytes().len(), &version);
        run.replaced_max = run.replaced_max.max(until.0);
        bytes += key.as_bytes().len() + stored.len();
        if bytes >= part_bytes {
            cursor.close()?;
            return Ok(false);
        }
    }
    cursor.close()?;
    Ok(true)
}
