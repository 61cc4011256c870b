//! One connection, with its settings and its prepared statements.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialtone_clock::Clock;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use crate::fault::{Ended, Fault, Result};
use crate::target::Target;

/// How long an answer may take. Longer than the server lets a statement run, so that this
/// ends only what the server no longer answers for.
pub(crate) const ANSWER: Duration = Duration::from_secs(15);

/// Values of one statement.
pub(crate) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// One connection. Requests are sent in the order in which they are first polled, and
/// answered in that order.
pub(crate) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    statements: Mutex<HashMap<&'static str, Statement>>,
    /// Not fit for others: a transaction may be open, or an answer is missing.
    unfit: AtomicBool,
}

/// What every session is told. One plan for each statement, and that over its index: what
/// `INDEXED BY` is for SQLite. A plan that depends on statistics is a good one until a table
/// has grown since they were taken.
const SETTINGS: &str = "
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET enable_bitmapscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET jit = off;
    SET default_transaction_isolation = 'read committed';
    SET statement_timeout = '10s';
    SET lock_timeout = '3s';
    SET idle_in_transaction_session_timeout = '5s';
    SET client_min_messages = 'warning';
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off';";

impl Session {
    /// Connects, and settles nothing but what concerns the connection itself.
    pub(crate) async fn connect(
        target: &Target,
    ) -> std::result::Result<Self, tokio_postgres::Error> {
        let (client, connection) = target.config().connect(NoTls).await?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told.
            let _ = connection.await;
        });
        let statements = Mutex::default();
        let session = Self { client, driver, statements, unfit: AtomicBool::new(false) };
        session.client.batch_execute(SETTINGS).await?;
        let path = format!("SET search_path = {}", target.quoted_schema());
        session.client.batch_execute(&path).await?;
        Ok(session)
    }

    /// Tells the session what time it is: `dt_now()` counts from there.
    pub(crate) async fn tell_time(&self, clock: &dyn Clock) -> Result<()> {
        const SQL: &str = "
            SELECT set_config('dialtone.product_us', $1, false),
                   set_config('dialtone.factor', $2, false),
                   set_config('dialtone.wall_us',
                       ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint)::text, false)";
        let factor = clock.scale().factor().to_string();
        let statement = self.statement(SQL).await?;
        let now = clock.now().as_micros().to_string();
        self.rows(&statement, &[&now, &factor]).await.map(drop)
    }

    /// The prepared statement of this text.
    pub(crate) async fn statement(&self, sql: &'static str) -> Result<Statement> {
        if let Some(statement) = self.known(sql) {
            return Ok(statement);
        }
        let statement = self.answer(self.client.prepare(sql)).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.insert(sql, statement.clone());
        Ok(statement)
    }

    fn known(&self, sql: &'static str) -> Option<Statement> {
        let statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.get(sql).cloned()
    }

    /// Runs a prepared statement and gives its rows. Sends at the first poll, so that
    /// several of these can be under way together in the order of their polls.
    pub(crate) async fn rows(&self, statement: &Statement, values: Values<'_>) -> Result<Vec<Row>> {
        self.answer(self.client.query(statement, values)).await
    }

    /// Runs a prepared statement and gives how many rows it touched.
    pub(crate) async fn touch(&self, statement: &Statement, values: Values<'_>) -> Result<u64> {
        self.answer(self.client.execute(statement, values)).await
    }

    /// Prepares and runs a statement that only reads, or that others commit.
    pub(crate) async fn ask(&self, sql: &'static str, values: Values<'_>) -> Result<Vec<Row>> {
        let statement = self.statement(sql).await?;
        self.rows(&statement, values).await
    }

    /// As [`Self::ask`], for one row or none.
    pub(crate) async fn ask_one(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Option<Row>> {
        Ok(self.ask(sql, values).await?.into_iter().next())
    }

    /// Prepares and runs a statement; how many rows it touched.
    pub(crate) async fn run(&self, sql: &'static str, values: Values<'_>) -> Result<u64> {
        let statement = self.statement(sql).await?;
        self.touch(&statement, values).await
    }

    /// Runs one statement that is a transaction by itself; how many rows it touched.
    pub(crate) async fn write(&self, sql: &'static str, values: Values<'_>) -> Ended<u64> {
        let statement = self.statement(sql).await?;
        self.touch(&statement, values).await.map_err(Fault::at_commit)
    }

    /// As [`Self::write`], for the rows that it returns.
    pub(crate) async fn write_rows(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Ended<Vec<Row>> {
        let statement = self.statement(sql).await?;
        self.rows(&statement, values).await.map_err(Fault::at_commit)
    }

    /// Begins a transaction. Until its end the session is fit for nobody else.
    pub(crate) async fn begin(&self) -> Result<()> {
        self.unfit.store(true, Ordering::Release);
        self.answer(self.client.batch_execute("BEGIN")).await
    }

    /// Ends the transaction as `result` says.
    pub(crate) async fn end<T>(&self, result: Result<T>) -> Ended<T> {
        match result {
            Ok(value) => {
                self.commit().await.map_err(Fault::at_commit)?;
                Ok(value)
            }
            Err(fault) => {
                self.roll_back().await;
                Err(fault.into())
            }
        }
    }

    /// Sends the commit. What failed before it makes it a rollback, of which this says
    /// nothing: whoever sends it beside other statements looks at their answers.
    pub(crate) async fn commit(&self) -> Result<()> {
        self.answer(self.client.batch_execute("COMMIT")).await?;
        self.unfit.store(false, Ordering::Release);
        Ok(())
    }

    /// Undoes the transaction. If that fails the session stays unfit, and its end undoes it.
    pub(crate) async fn roll_back(&self) {
        if self.answer(self.client.batch_execute("ROLLBACK")).await.is_ok() {
            self.unfit.store(false, Ordering::Release);
        }
    }

    /// Runs text that no user had a part in, statement after statement.
    pub(crate) async fn script(&self, sql: &str) -> Result<()> {
        self.answer(self.client.batch_execute(sql)).await
    }

    /// Whether somebody else may use it.
    pub(crate) fn is_fit(&self) -> bool {
        !self.unfit.load(Ordering::Acquire) && !self.client.is_closed()
    }

    async fn answer<T>(
        &self,
        asked: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let fault = Fault::from(error);
                // Whatever this is, the next one need not find it out.
                if !fault.is_undone() {
                    self.unfit.store(true, Ordering::Release);
                }
                Err(fault)
            }
            Err(_) => {
                self.unfit.store(true, Ordering::Release);
                Err(Fault::Silent)
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.unfit.load(Ordering::Acquire) {
            // Closes the socket, even if the other end does not answer.
            self.driver.abort();
        }
    }
}

/// A session that several tasks hold.
pub(crate) type Shared = Arc<Session>;
