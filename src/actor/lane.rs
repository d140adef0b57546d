//! The way to another node: questions that wait together travel together, and many requests are under way at once.
//!
//! Nothing is retried here; who asks knows whether asking again is harmless.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tandem_cluster::{Cluster, NodeId, codec};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    limits::{ASK_DEADLINE, COMMIT_DEADLINE, LANE_BATCH_MAX, LANE_QUEUE_MAX, LANE_REQUESTS_MAX},
    wire::{Answer, Question, SERVICE},
};

/// What may share a request: commands wait for a commit, everything else does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Commands,
    Orders,
}

/// Why a question has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Error {
    /// It never left this node.
    #[error("overloaded: too much is waiting for node {0}")]
    Full(NodeId),
    /// It may have arrived.
    #[error("{0}")]
    Lost(String),
}

struct Waiting {
    question: Question,
    tell: oneshot::Sender<Result<Answer, Error>>,
}

/// The ends that take questions, by node and kind.
type Entrances = HashMap<(NodeId, Kind), mpsc::Sender<Waiting>>;

/// Lanes to all nodes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lanes {
    cluster: Cluster,
    lanes: Arc<Mutex<Entrances>>,
}

impl Lanes {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster, lanes: Arc::default() }
    }

    /// Asks a node and waits for its answer, for as long as the lane's requests may take.
    pub(super) async fn ask(&self, node: NodeId, kind: Kind, question: Question) -> Result<Answer, Error> {
        let (tell, told) = oneshot::channel();
        let lane = self.lane(node, kind);
        lane.try_send(Waiting { question, tell }).map_err(|_| Error::Full(node))?;
        told.await.unwrap_or_else(|_| Err(Error::Lost("the lane closed".to_owned())))
    }

    fn lane(&self, node: NodeId, kind: Kind) -> mpsc::Sender<Waiting> {
        let mut lanes = self.lanes.lock();
        let lane = lanes.entry((node, kind)).or_insert_with(|| {
            let (sender, waiting) = mpsc::channel(LANE_QUEUE_MAX);
            tokio::spawn(run(self.cluster.clone(), node, kind, waiting));
            sender
        });
        lane.clone()
    }
}

async fn run(cluster: Cluster, node: NodeId, kind: Kind, mut waiting: mpsc::Receiver<Waiting>) {
    let under_way = Arc::new(Semaphore::new(LANE_REQUESTS_MAX));
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, LANE_BATCH_MAX).await > 0 {
        let permit = Arc::clone(&under_way).acquire_owned().await.expect("the semaphore is never closed");
        let (cluster, batch) = (cluster.clone(), std::mem::take(&mut batch));
        tokio::spawn(async move {
            exchange(&cluster, node, kind, batch).await;
            drop(permit);
        });
    }
}

async fn exchange(cluster: &Cluster, node: NodeId, kind: Kind, batch: Vec<Waiting>) {
    let (questions, tells): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.question, waiting.tell)).unzip();
    let within = if kind == Kind::Commands { COMMIT_DEADLINE + ASK_DEADLINE } else { ASK_DEADLINE };
    let answers = ask_all(cluster, node, &questions, within).await;
    match answers {
        Ok(answers) => tells.into_iter().zip(answers).for_each(|(tell, answer)| drop(tell.send(Ok(answer)))),
        Err(error) => tells.into_iter().for_each(|tell| drop(tell.send(Err(error.clone())))),
    }
}

async fn ask_all(cluster: &Cluster, node: NodeId, questions: &[Question], within: std::time::Duration) -> Result<Vec<Answer>, Error> {
    let lost = |why: String| Error::Lost(why);
    let body = codec::encode(questions).map_err(|error| lost(error.to_string()))?;
    let answer = cluster.request(node, SERVICE, body.into(), within).await.map_err(|error| lost(error.to_string()))?;
    let answers: Vec<Answer> = codec::decode(&answer).map_err(|error| lost(error.to_string()))?;
    if answers.len() == questions.len() { Ok(answers) } else { Err(lost(format!("node {node} answered too little"))) }
}
