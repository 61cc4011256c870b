use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dialtone_auth::Secret;
use dialtone_auth::livekit::{Claims, VideoGrant};
use futures_util::StreamExt as _;
use livekit_protocol as proto;
use livekit_protocol::{server_message, worker_message};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use crate::job::Presence;
use crate::socket::{ConnectError, Socket, binary, connect, decode, normal_close, send};
use crate::worker::{Drain, Life, until};
use crate::{JobContext, JobHandler, JobOffer, Registration, WorkerOptions};

/// The worker's token needs to outlive the upgrade only.
const TOKEN_TTL_S: u64 = 600;
/// How long the server may take to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a connection is over.
pub(crate) enum End {
    /// The drain is done.
    Drained,
    /// The connection broke, or the server closed it.
    Lost(String),
}

/// One registered connection.
pub(crate) struct Session {
    socket: Socket,
    worker_id: String,
    /// When the server was last heard.
    heard: Instant,
}

impl Session {
    /// Connects and registers.
    pub(crate) async fn open(options: &WorkerOptions) -> Result<Self, ConnectError> {
        let limit = options.timings.connect_timeout;
        let video = VideoGrant { agent: true, ..Default::default() };
        let claims = Claims { video: Some(video), ..Default::default() };
        let token = options.key.token(claims, TOKEN_TTL_S);
        let mut socket = connect(&options.url, "/agent?protocol=1", &token, limit).await?;
        let register = worker_message::Message::Register(proto::RegisterWorkerRequest {
            r#type: proto::JobType::JtRoom.into(),
            agent_name: options.agent_name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            allowed_permissions: Some(permissions()),
            ..Default::default()
        });
        let request = proto::WorkerMessage { message: Some(register) };
        send(&mut socket, binary(&request)).await.map_err(ConnectError::Failed)?;
        let worker_id = tokio::time::timeout(limit, registered(&mut socket))
            .await
            .map_err(|_| ConnectError::Timeout(limit))??;
        Ok(Self { socket, worker_id, heard: Instant::now() })
    }

    /// Serves the connection until it is over.
    pub(crate) async fn run<H: JobHandler>(mut self, life: &mut Life, handler: &Arc<H>) -> End {
        match self.serve(life, handler).await {
            Ok(()) => {
                let _ = send(&mut self.socket, normal_close()).await;
                let closed = async { while let Some(Ok(_)) = self.socket.next().await {} };
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
                End::Drained
            }
            Err(reason) => End::Lost(reason),
        }
    }

    async fn serve<H: JobHandler>(
        &mut self,
        life: &mut Life,
        handler: &Arc<H>,
    ) -> Result<(), String> {
        self.greet(life).await?;
        let mut reports = every(life.options.timings.status_interval);
        let mut pings = every(life.options.timings.ping_interval);
        let shutdown = life.shutdown.clone();
        while !life.drained() {
            let drain_end = match life.drain {
                Drain::Until(at) => at,
                _ => None,
            };
            tokio::select! {
                frame = self.socket.next() => self.receive(frame, life, handler).await?,
                Some(ended) = life.ended.recv() => {
                    let report = life.jobs.close(ended);
                    self.report(life, report).await?;
                    self.status(life).await?;
                }
                _ = reports.tick() => self.status(life).await?,
                _ = pings.tick() => self.ping(life).await?,
                () = until(life.jobs.next_deadline()) => {
                    life.jobs.expire();
                    self.status(life).await?;
                }
                () = shutdown.cancelled(), if life.drain == Drain::No => {
                    life.begin_drain();
                    self.status(life).await?;
                }
                () = until(drain_end) => life.give_up_jobs(),
            }
        }
        Ok(())
    }

    /// The first messages of a registered worker, in the order of LiveKit's own: jobs
    /// that it still runs, what became of the others, and its status.
    async fn greet(&mut self, life: &mut Life) -> Result<(), String> {
        tracing::info!(worker.id = %self.worker_id, agent = %life.options.agent_name, "registered");
        let job_ids = life.jobs.running_ids();
        if !job_ids.is_empty() {
            let migrate = proto::MigrateJobRequest { job_ids };
            self.send(worker_message::Message::MigrateJob(migrate)).await?;
        }
        while let Some(report) = life.unsent.pop() {
            self.report(life, report).await?;
        }
        self.status(life).await?;
        if life.drain == Drain::No {
            let worker_id = self.worker_id.clone();
            life.registration.send_replace(Registration::Registered { worker_id });
        }
        Ok(())
    }

    async fn receive<H: JobHandler>(
        &mut self,
        frame: Option<Result<Message, tungstenite::Error>>,
        life: &mut Life,
        handler: &Arc<H>,
    ) -> Result<(), String> {
        self.heard = Instant::now();
        let bytes = match frame {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Close(frame))) => {
                let code = frame.map_or(1005, |frame| u16::from(frame.code));
                return Err(format!("the server closed the connection with code {code}"));
            }
            None => return Err("the server closed the connection".to_owned()),
            Some(Err(error)) => return Err(error.to_string()),
            // Pings are answered by the WebSocket layer.
            Some(Ok(_)) => return Ok(()),
        };
        match decode::<proto::ServerMessage>(&bytes)?.message {
            Some(server_message::Message::Availability(offer)) => {
                self.offered(life, handler, offer).await
            }
            Some(server_message::Message::Assignment(assignment)) => {
                self.assigned(life, handler, assignment).await
            }
            Some(server_message::Message::Termination(termination)) => {
                life.jobs.terminate(&termination.job_id);
                Ok(())
            }
            // A second register response, a pong, or a newer server's message.
            _ => Ok(()),
        }
    }

    /// Answers an offer at once: the permit is taken before the answer is sent.
    async fn offered<H: JobHandler>(
        &mut self,
        life: &mut Life,
        handler: &Arc<H>,
        offer: proto::AvailabilityRequest,
    ) -> Result<(), String> {
        let job = offer.job.unwrap_or_default();
        let timeout = life.options.timings.assignment_timeout;
        let wanted = handler.wants(JobOffer {
            job_id: &job.id,
            dispatch_id: &job.dispatch_id,
            room: job.room.as_ref().map_or("", |room| &room.name),
            metadata: &job.metadata,
        });
        let available = wanted && life.drain == Drain::No && life.jobs.accept(&job.id, timeout);
        tracing::debug!(job.id = %job.id, available, "job offered");
        let name = life.options.agent_name.clone();
        let answer = proto::AvailabilityResponse {
            available,
            participant_identity: format!("agent-{}", job.id),
            participant_name: name.clone(),
            participant_attributes: HashMap::from([("lk.agent.name".to_owned(), name)]),
            job_id: job.id,
            ..Default::default()
        };
        self.send(worker_message::Message::Availability(answer)).await?;
        self.status(life).await
    }

    async fn assigned<H: JobHandler>(
        &mut self,
        life: &mut Life,
        handler: &Arc<H>,
        assignment: proto::JobAssignment,
    ) -> Result<(), String> {
        let job = assignment.job.unwrap_or_default();
        let context = JobContext {
            job_id: job.id.clone(),
            dispatch_id: job.dispatch_id,
            room: job.room.map(|room| room.name).unwrap_or_default(),
            metadata: job.metadata,
            agent_name: job.agent_name,
            url: assignment
                .url
                .filter(|url| !url.is_empty())
                .unwrap_or_else(|| life.options.url.clone()),
            token: Secret::new(assignment.token),
            cancelled: CancellationToken::new(),
            presence: Presence::default(),
            connect_timeout: life.options.timings.connect_timeout,
        };
        let started = life.jobs.start(handler, context);
        let (status, error) = if started {
            tracing::info!(job.id = %job.id, "job started");
            (proto::JobStatus::JsRunning, String::new())
        } else {
            tracing::warn!(job.id = %job.id, "assignment of a job that is not waited for");
            (proto::JobStatus::JsFailed, "the assignment came too late".to_owned())
        };
        self.update_job(proto::UpdateJobStatus { job_id: job.id, status: status.into(), error })
            .await
    }

    async fn report(
        &mut self,
        life: &mut Life,
        report: proto::UpdateJobStatus,
    ) -> Result<(), String> {
        tracing::info!(job.id = %report.job_id, status = report.status().as_str_name(), "job ended");
        let sent = self.update_job(report.clone()).await;
        if sent.is_err() {
            life.unsent.push(report);
        }
        sent
    }

    async fn update_job(&mut self, update: proto::UpdateJobStatus) -> Result<(), String> {
        self.send(worker_message::Message::UpdateJob(update)).await
    }

    /// Reports status and load.
    async fn status(&mut self, life: &Life) -> Result<(), String> {
        let (in_use, max) = (life.jobs.in_use(), life.options.max_jobs);
        let draining = life.drain != Drain::No;
        let status = if draining || in_use >= max {
            proto::WorkerStatus::WsFull
        } else {
            proto::WorkerStatus::WsAvailable
        };
        let update = proto::UpdateWorkerStatus {
            status: Some(status.into()),
            load: life.options.load.at(in_use, max),
            job_count: u32::try_from(in_use).unwrap_or(u32::MAX),
            draining,
            ..Default::default()
        };
        self.send(worker_message::Message::UpdateWorker(update)).await
    }

    async fn ping(&mut self, life: &Life) -> Result<(), String> {
        let limit = life.options.timings.silence_timeout;
        if self.heard.elapsed() > limit {
            return Err(format!("the server was silent for {limit:?}"));
        }
        send(&mut self.socket, Message::Ping(Vec::new().into())).await
    }

    async fn send(&mut self, message: worker_message::Message) -> Result<(), String> {
        let message = proto::WorkerMessage { message: Some(message) };
        send(&mut self.socket, binary(&message)).await
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// What an agent may do in its rooms.
fn permissions() -> proto::ParticipantPermission {
    proto::ParticipantPermission {
        can_subscribe: true,
        can_publish: true,
        can_publish_data: true,
        can_update_metadata: true,
        ..Default::default()
    }
}

/// Waits for the register response, which is the server's first message.
async fn registered(socket: &mut Socket) -> Result<String, ConnectError> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                let message: proto::ServerMessage = decode(&bytes).map_err(ConnectError::Failed)?;
                return match message.message {
                    Some(server_message::Message::Register(response)) => Ok(response.worker_id),
                    _ => Err(ConnectError::Failed("the first message is no registration".into())),
                };
            }
            Some(Ok(Message::Close(_))) | None => {
                return Err(ConnectError::Failed("closed before the registration".into()));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(ConnectError::Failed(error.to_string())),
        }
    }
}
