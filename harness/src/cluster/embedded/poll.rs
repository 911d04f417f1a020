//! The background loop that updates the state: every 60 s while the plugin is healthy, every 10 s
//! while it is not.
//!
//! Follows `primeAndProbeKMSv2` in k8s.io/apiserver v0.36.3, whose two loops coincide and so act as
//! one.

use std::sync::Arc;
use std::time::Duration;

use kmslab_plugin::time::{Ticker, Timer};

use super::transformer::Kms;

const HEALTHY_INTERVAL: Duration = Duration::from_secs(60);
const UNHEALTHY_INTERVAL: Duration = Duration::from_secs(10);

/// Polls for ever; `primed` says whether the initial check succeeded. The loop ticks at full
/// minutes from its start, whatever happens in between. The ticker is created before the loop is
/// spawned, so that no time passes before its first wait.
pub(crate) async fn run(
    kms: Arc<Kms>,
    timer: Arc<dyn Timer>,
    mut ticker: Box<dyn Ticker>,
    primed: bool,
) {
    let origin = timer.now();
    let mut well = primed;
    loop {
        let pause = if well {
            until_next(timer.now() - origin)
        } else {
            UNHEALTHY_INTERVAL
        };
        ticker.wait(pause).await;
        let outcome = kms.probe.check().await;
        if let Err(err) = &outcome {
            tracing::debug!(%err, "kms plugin failed health check probe");
        }
        well = outcome.is_ok();
    }
}

/// Time to the next full minute; a whole minute if `elapsed` is a full minute.
fn until_next(elapsed: Duration) -> Duration {
    let over = elapsed.as_nanos() % HEALTHY_INTERVAL.as_nanos();
    // Less than a minute of nanoseconds fits a u64.
    HEALTHY_INTERVAL - Duration::from_nanos(over as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_stay_on_full_minutes() {
        let after = |seconds| until_next(Duration::from_secs(seconds)).as_secs();
        assert_eq!(
            (after(0), after(60), after(97), after(119)),
            (60, 60, 23, 1)
        );
    }
}
