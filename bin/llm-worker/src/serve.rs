use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_inference::sampling::Sampling;
use dialtone_llm_api::heartbeat::{self, Heartbeats};
use dialtone_llm_api::{ApiKey, Identity, Options, Worker, routes};
use dialtone_serve::address_file::{self, AddressFile};
use dialtone_serve::health::Health;
use dialtone_serve::{Drained, Limits, ListenArgs, ListenError, listen, serve, shutdown_signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::Serve;
use crate::failure::Failure;
use crate::model;

/// Name of the listener in `--listen-fd` and in the address file.
const LISTENER: &str = "http";
/// How long a worker that has failed still tells why before it ends.
const LAST_LOOK: Duration = Duration::from_millis(250);

/// What is allowed to clients. A whole answer without streaming may take minutes, as OpenAI's
/// clients expect; one that nobody reads may not.
fn limits() -> Limits {
    Limits {
        request: Duration::from_secs(600),
        write: Duration::from_secs(15),
        drain: Duration::from_secs(2),
        connections: 4096,
        ..Limits::default()
    }
}

/// Serves until SIGTERM or SIGINT, or until the model fails.
pub async fn run(args: Serve) -> Result<(), Failure> {
    let shutdown = shutdown_signal();
    let key = crate::secret::api_key(args.api_key_file.as_deref())?;
    let worker = Worker::new(identity(&args)?, options(&args)?, Health::start());
    // The surface stays up while running requests end.
    let stop_http = CancellationToken::new();
    let http = start_http(&args, &worker, key, stop_http.clone())?;
    let heartbeats = args.hive_url.clone().map(|hive| {
        let options = heartbeat::Options::new(hive, args.heartbeat_interval);
        Heartbeats::start(worker.clone(), options)
    });
    let mut lived = live(&args, &worker, &shutdown).await;
    if lived.is_ok() {
        let finished = worker.finish(args.drain).await;
        lived = finished.map_err(|hung| Failure::of(ErrorCode::Internal, &hung));
    }
    match &lived {
        Ok(()) => worker.stopped(),
        Err(failure) => worker.fail(failure.code, failure.message.clone()),
    }
    let last_look = tokio::time::sleep(LAST_LOOK);
    if let Some(heartbeats) = heartbeats {
        heartbeats.finish().await;
    }
    if lived.is_err() {
        last_look.await;
    }
    stop_http.cancel();
    let drained = http.await.map_err(|error| Failure::of(ErrorCode::Internal, &error))?;
    let drained = drained.map_err(|error| Failure::of(ErrorCode::Internal, &error))?;
    tracing::info!(accepted = drained.accepted, cut = drained.cut, "stopped");
    lived
}

/// Loads the model and serves it. Returns at the shutdown, or with what went wrong.
async fn live(args: &Serve, worker: &Worker, shutdown: &CancellationToken) -> Result<(), Failure> {
    let begun = std::time::Instant::now();
    let loading = load(args, worker);
    let serving = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        loaded = loading => loaded.unwrap_or_else(|_| {
            Err(Failure::new(ErrorCode::Internal, "the load of the model panicked"))
        })?,
    };
    let (model, device) = (serving.info.name.clone(), serving.device.clone());
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        opened = worker.open(serving) => {
            opened.map_err(|error| Failure::of(ErrorCode::ModelInvalid, &error))?;
        }
    }
    tracing::info!(model, device, load_ms = begun.elapsed().as_millis(), "serving");
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        reason = worker.broken() => {
            Err(Failure::new(ErrorCode::Internal, format!("the model failed: {reason}")))
        }
    }
}

/// Loads on a thread of its own, which the end of the process does not wait for.
fn load(
    args: &Serve,
    worker: &Worker,
) -> oneshot::Receiver<Result<dialtone_llm_api::Serving, Failure>> {
    let (done, loaded) = oneshot::channel();
    let (args, worker) = (args.clone(), worker.clone());
    std::thread::spawn(move || {
        // Nobody waits for it any more after a shutdown.
        let _ = done.send(model::load(&args, |fraction| worker.progress(fraction)));
    });
    loaded
}

fn start_http(
    args: &Serve,
    worker: &Worker,
    key: Option<ApiKey>,
    stop: CancellationToken,
) -> Result<JoinHandle<std::io::Result<Drained>>, Failure> {
    let listener = listen(
        LISTENER,
        &ListenArgs {
            bind: args.bind,
            port: args.port,
            listen_fd: args.listen_fd.clone(),
            auth_configured: key.is_some(),
        },
    )
    .map_err(|error| match error {
        ListenError::Unprotected(_) => {
            Failure::new(error.code(), format!("{error}; or give --api-key-file"))
        }
        _ => Failure::new(error.code(), error.to_string()),
    })?;
    let address =
        listener.local_addr().map_err(|error| Failure::of(ErrorCode::Environment, &error))?;
    worker.listens_on(address.port());
    let url = format!("http://{address}");
    let http = tokio::spawn(serve(listener, routes(worker, key), limits(), stop));
    if let Some(path) = &args.address_file {
        let urls = BTreeMap::from([(LISTENER.to_owned(), url.clone())]);
        address_file::write(path, &AddressFile::of_this_process(urls)).map_err(|error| {
            let message = format!("cannot write {}: {error}", path.display());
            Failure::new(ErrorCode::Environment, message)
        })?;
    }
    tracing::info!(url, "listening");
    Ok(http)
}

fn identity(args: &Serve) -> Result<Identity, Failure> {
    let worker_id = args.worker_id.clone().unwrap_or_else(|| {
        let nonce = address_file::nonce().unwrap_or_default();
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        // The same machine seldom gives a number out twice, and never in one millisecond.
        match nonce.as_str() {
            "" => format!("llm-worker-{}-{since}", std::process::id()),
            nonce => format!("llm-worker-{nonce}"),
        }
    });
    Ok(Identity {
        worker_id,
        model_id: args.model_id.clone().unwrap_or_else(|| model::id(&args.model)),
        backend: model::chosen(args)?.device.backend.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

fn options(args: &Serve) -> Result<Options, Failure> {
    let sampling = Sampling { temperature: args.temperature, ..Sampling::default() };
    sampling
        .validate()
        .map_err(|(field, why)| Failure::new(ErrorCode::Usage, format!("--{field}: {why}")))?;
    let max_tokens = usize::try_from(args.max_tokens).unwrap_or(usize::MAX);
    Ok(Options { sampling, max_tokens, ..Options::default() })
}
