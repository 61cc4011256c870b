//! Hints that there may be work: to who waits in this process at once, to the other servers
//! by NOTIFY, from them by LISTEN.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket};

use crate::fault::said;
use crate::target::Target;

/// The channel of all stores of a database; what is said on it is the store's schema.
const CHANNEL: &str = "dialtone";
/// Announcements are no closer together: each wakes every server, and a look finds what was
/// announced since the last.
const GAP: Duration = Duration::from_millis(2);
/// Pause before listening again after the connection was lost, doubled up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Announces work.
#[derive(Clone)]
pub(crate) struct Hints {
    changes: Arc<watch::Sender<u64>>,
    wanted: Arc<Notify>,
}

/// A connection that hears, not yet driven by anyone.
type Driver = Connection<Socket, tokio_postgres::tls::NoTlsStream>;

/// One that hears.
struct Ear {
    client: Client,
    driver: JoinHandle<()>,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self { changes: Arc::new(watch::Sender::new(0)), wanted: Arc::default() }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says to everyone that there may be work. Others hear it after this process.
    pub(crate) fn announce(&self) {
        self.hear();
        self.wanted.notify_one();
    }

    fn hear(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// Starts to listen; before this returns, so that whatever is committed after is heard.
    pub(crate) async fn start(
        &self,
        target: &Target,
    ) -> Result<JoinHandle<()>, tokio_postgres::Error> {
        let ear = self.listen(target).await?;
        Ok(tokio::spawn(self.clone().run(target.clone(), ear)))
    }

    async fn run(self, target: Target, mut ear: Ear) {
        loop {
            self.pass_on(&ear).await;
            ear.driver.abort();
            ear = self.listen_again(&target).await;
            // Whatever was said meanwhile was not heard.
            self.hear();
        }
    }

    /// Announces what is wanted, until the connection is lost.
    async fn pass_on(&self, ear: &Ear) {
        while !ear.client.is_closed() {
            let said = tokio::select! {
                () = self.wanted.notified() => {
                    ear.client.batch_execute(NOTIFY).await
                }
                // A connection that nobody uses says nothing when it is lost: ask.
                () = tokio::time::sleep(PAUSE_MAX) => ear.client.batch_execute("").await,
            };
            if said.is_err() {
                return;
            }
            tokio::time::sleep(GAP).await;
        }
    }

    async fn listen_again(&self, target: &Target) -> Ear {
        let mut pause = PAUSE;
        loop {
            match self.listen(target).await {
                Ok(ear) => return ear,
                Err(error) => tracing::debug!(error = said(&error), "no hints from the database"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn listen(&self, target: &Target) -> Result<Ear, tokio_postgres::Error> {
        let (client, connection) = target.config().connect(NoTls).await?;
        let (pids, pid) = watch::channel(0);
        let driver = tokio::spawn(drive(connection, self.clone(), target.schema().to_owned(), pid));
        let ear = Ear { client, driver };
        let path = format!("SET search_path = {}; LISTEN {CHANNEL}", target.quoted_schema());
        ear.client.batch_execute(&path).await?;
        let row = ear.client.query_one("SELECT pg_backend_pid()", &[]).await?;
        let _ = pids.send(row.try_get(0)?);
        Ok(ear)
    }
}

/// Says the schema on the channel. Not in the transaction that made the work: commits that
/// notify wait for each other, with their flushes to disk.
const NOTIFY: &str = "SELECT pg_notify('dialtone', current_schema())";

/// Drives the connection, and hears what other servers of the schema say.
async fn drive(mut connection: Driver, hints: Hints, schema: String, own: watch::Receiver<i32>) {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(said))) => {
                if said.payload() == schema && said.process_id() != *own.borrow() {
                    hints.hear();
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}
