//! `datnode node`: a mirror that everybody reaches, and that is there for others: it serves the DHT, leads into it, relays, and tells
//! others whether they are reached.
//!
//! Elsewhere: all that a mirror does (`mirror`), what is done for others (`swarm::outside`).

use super::mirror;
use crate::cli::NodeArgs;
use crate::cli::output::Out;
use crate::error::Error;

pub(super) async fn run(args: NodeArgs, out: &Out) -> Result<(), Error> {
    let NodeArgs { mut mirror, metrics } = args;
    mirror.network.public = true;
    mirror::keep(mirror, metrics, out).await
}
