//! One line of figures a second, read over the public API from any node that answers.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use crate::cli::{Failure, Remote, client::Client};

const EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(servers: Vec<String>, token: String) {
    let mut tick = tokio::time::interval(EVERY);
    let terminal = std::io::stdout().is_terminal();
    loop {
        tick.tick().await;
        let (servers, token) = (servers.clone(), token.clone());
        let line = tokio::task::spawn_blocking(move || look(&servers, &token)).await.unwrap_or_else(|e| e.to_string());
        // On a terminal the line replaces the one before; in a file each stays.
        let (before, after) = if terminal { ("\r\u{1b}[K", "") } else { ("", "\n") };
        let mut out = std::io::stdout();
        if write!(out, "{before}{line}{after}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn look(servers: &[String], token: &str) -> String {
    let mut last = Failure::new("no node");
    for server in servers {
        let remote = Remote { server: server.clone(), token: Some(token.to_owned()), tenant: Some("demo".to_owned()) };
        match summary(&Client::new(&remote)) {
            Ok(line) => return line,
            Err(failure) => last = failure,
        }
    }
    format!("no node answers: {last}")
}

fn summary(client: &Client) -> Result<String, Failure> {
    let queues = client.all("/api/v1/queues?tenant=demo", usize::MAX)?;
    let agents = client.all("/api/v1/agents?tenant=demo", usize::MAX)?;
    let nodes = client.all("/api/v1/nodes", usize::MAX)?;
    let sum = |key: &str| queues.iter().filter_map(|queue| queue[key].as_u64()).sum::<u64>();
    let talking = agents.iter().filter(|agent| agent["state"] == "busy").count();
    let up = nodes.iter().filter(|node| node["state"] == "up").count();
    let leads = nodes.iter().map(|node| format!("{}:{}", node["id"], node["leads"])).collect::<Vec<_>>().join(" ");
    let level = queues.iter().find_map(|queue| queue["service_level"].as_f64());
    Ok(format!(
        "waiting {:>3}  talking {talking:>2}/{}  answered {:>6}  abandoned {:>4}  SL {}  nodes {up}/{}  leads {leads}",
        sum("waiting"),
        agents.len(),
        sum("answered"),
        sum("abandoned"),
        level.map_or_else(|| "  -".to_owned(), |level| format!("{:3.0} %", level * 100.0)),
        nodes.len(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_node_the_line_says_so() {
        let line = look(&["http://127.0.0.1:1".to_owned()], "t");
        assert!(line.starts_with("no node answers: http://127.0.0.1:1: "), "{line}");
    }
}
