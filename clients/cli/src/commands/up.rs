//! `saga up`: every service in one process until a signal.

use anyhow::Result;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Global, UpArgs},
    commands::guard,
    output,
    system::{Folders, System},
};

pub async fn up(global: &Global, args: UpArgs) -> Result<()> {
    let folders = Folders::below(&args.out);
    let system = System::start(global, folders, Some(args.port), args.metrics_port).await?;
    if let Some(models) = &args.models {
        guard::load_models(&system, models).await?;
    }
    let Some(local) = system.local() else {
        return Ok(());
    };
    let addresses = local.addresses();
    if global.json {
        output::print_json(&json!(
            addresses
                .named()
                .collect::<std::collections::BTreeMap<_, _>>()
        ))?;
    } else {
        let mut table = output::table(["service", "address"]);
        for (service, address) in addresses.named() {
            table.add_row([service, address]);
        }
        println!("{table}");
        for (service, address) in local.metrics_addresses() {
            println!(
                "metrics of {service}: http://{address}{}",
                saga_chassis::metrics::PATH
            );
        }
        println!("Ctrl-C stops them.");
    }
    let stop = CancellationToken::new();
    saga_chassis::signals::cancel_on_stop(stop.clone())?;
    stop.cancelled().await;
    if !global.json {
        // Below the terminal's ^C.
        println!("\nstopping");
    }
    system.stop().await
}
