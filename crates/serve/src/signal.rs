use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT. A second signal ends the
/// process at once with 143 or 130, so that a drain that hangs can always be ended.
///
/// Must be called inside a tokio runtime. The handlers are in place on return.
pub fn shutdown_signal() -> CancellationToken {
    let token = CancellationToken::new();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(mut term), Ok(mut int)) => {
                let stop = token.clone();
                tokio::spawn(async move {
                    loop {
                        let code = tokio::select! {
                            _ = term.recv() => 143,
                            _ = int.recv() => 130,
                        };
                        if stop.is_cancelled() {
                            std::process::exit(code);
                        }
                        tracing::info!("stopping; a second signal ends at once");
                        stop.cancel();
                    }
                });
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "signals end this process without a drain");
            }
        }
    }
    #[cfg(not(unix))]
    {
        let stop = token.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if stop.is_cancelled() {
                    std::process::exit(130);
                }
                stop.cancel();
            }
        });
    }
    token
}
