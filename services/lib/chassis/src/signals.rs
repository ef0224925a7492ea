//! SIGTERM and SIGINT ask for a graceful stop.

use tokio_util::sync::CancellationToken;

/// Cancels `token` at the first SIGTERM or SIGINT. A second one takes its default effect nowhere: the drain has a deadline.
///
/// # Errors
/// Where the handlers cannot be installed.
pub fn cancel_on_stop(token: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        }
        token.cancel();
    });
    Ok(())
}
