//! Changes of many callers as one operation: what they add to a batch's figures is then
//! written once, and not once each.

use std::sync::Arc;

use dialtone_store::{Applied, Change, StoreError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::sql::apply;
use crate::writer::{Operation, Ran, Written, boxed};

/// One caller's changes, which are made or fail together.
pub(crate) struct Changes {
    changes: Arc<[Change]>,
    answer: oneshot::Sender<Result<Vec<Applied>, StoreError>>,
}

impl Changes {
    pub(crate) fn new(
        changes: Arc<[Change]>,
        answer: oneshot::Sender<Result<Vec<Applied>, StoreError>>,
    ) -> Self {
        Self { changes, answer }
    }

    /// The changes as an operation of their own.
    pub(crate) fn alone(self) -> Operation {
        let Self { changes, answer } = self;
        let run = move |connection: &Connection| {
            let answer = apply::apply(connection, changes.iter())?;
            Ok(Written { made_work: made_work(&changes, &answer), answer })
        };
        boxed(run, answer)
    }
}

/// Whether someone who waits for work should look. A heartbeat puts a deadline off; nobody
/// has to look sooner for that.
fn made_work(changes: &[Change], answers: &[Applied]) -> bool {
    let recorded = |change: &Change| match change {
        Change::Entry(change) => change.event.is_recorded(),
        Change::Batch(_) => true,
    };
    changes.iter().zip(answers).any(|(change, answer)| answer.is_applied() && recorded(change))
}

/// Makes all callers' changes at once. If that fails, nothing of it is written and the
/// callers come back, to be tried one by one: the fault belongs to one of them, and will
/// show again.
pub(crate) fn together(
    connection: &Connection,
    callers: Vec<Changes>,
) -> Result<Ran, Vec<Changes>> {
    let all = callers.iter().flat_map(|caller| caller.changes.iter());
    let Ok(answers) = apply::apply(connection, all) else { return Err(callers) };
    let mut left = answers.as_slice();
    let mut work = false;
    let mut waiting = Vec::with_capacity(callers.len());
    for Changes { changes, answer } in callers {
        let (own, rest) = left.split_at(changes.len());
        left = rest;
        work |= made_work(&changes, own);
        waiting.push((answer, own.to_vec()));
    }
    Ok(Ran {
        failed: None,
        made_work: work,
        answer: Box::new(move |commit| {
            for (answer, own) in waiting {
                let _ = answer.send(commit.clone().result().map(|()| own));
            }
        }),
    })
}
