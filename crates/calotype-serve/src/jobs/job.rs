//! One job: how far it is, and who watches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use calotype::pipeline::Generation;
use serde::Serialize;
use serde_json::{Value, json};

use super::asked::{Asked, settings};
use super::events::{Event, Events, Watched};
use super::now;
use crate::problem::{Answer, Problem};
use crate::security::{Client, secret};

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits.
    Queued,
    /// It is computed.
    Running,
    /// Its pictures are made.
    Done,
    /// They are not, and why.
    Failed,
    /// Somebody has stopped it.
    Cancelled,
}

impl State {
    /// Whether nothing will change any more.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// One job.
pub struct Job {
    /// `j-` and sixteen digits.
    pub id: String,
    /// Who asks.
    pub client: Client,
    /// What for.
    pub asked: Asked,
    created: f64,
    begun: Mutex<Option<Instant>>,
    progress: Mutex<Progress>,
    events: Events,
    cancelled: AtomicBool,
    looked_at: AtomicBool,
}

/// A step, and the PNG of a picture after it.
type Preview = (usize, Arc<Vec<u8>>);

/// How far it is.
#[derive(Clone)]
struct Progress {
    state: State,
    stage: &'static str,
    step: usize,
    steps: usize,
    position: Option<usize>,
    request: Value,
    started: Option<f64>,
    ended: Option<f64>,
    problem: Option<Problem>,
    pictures: Vec<String>,
    warnings: Vec<String>,
    /// Of each picture.
    previews: Vec<Vec<Preview>>,
}

impl Job {
    /// One that waits.
    ///
    /// # Errors
    /// 500 where the system has no random numbers.
    pub fn new(client: Client, asked: Asked) -> Answer<Self> {
        let id = format!("j-{}", secret::random_hex::<8>().map_err(Problem::internal)?);
        let request = asked.requests.first().map_or(Value::Null, |(request, _)| settings(request));
        let progress = Progress {
            state: State::Queued,
            stage: "loading",
            step: 0,
            steps: 0,
            position: None,
            request,
            started: None,
            ended: None,
            problem: None,
            pictures: vec![],
            warnings: vec![],
            previews: vec![vec![]; asked.count()],
        };
        Ok(Self {
            id,
            client,
            asked,
            created: now(),
            begun: Mutex::default(),
            progress: Mutex::new(progress),
            events: Events::default(),
            cancelled: AtomicBool::new(false),
            looked_at: AtomicBool::new(false),
        })
    }

    /// How far it is.
    pub fn state(&self) -> State {
        self.lock().state
    }

    /// Its pictures so far.
    pub fn pictures(&self) -> Vec<String> {
        self.lock().pictures.clone()
    }

    /// (steps done, steps in all).
    pub fn steps(&self) -> (usize, usize) {
        let progress = self.lock();
        (progress.step, progress.steps)
    }

    /// Why it has failed.
    pub fn problem(&self) -> Option<Problem> {
        self.lock().problem.clone()
    }

    /// What was said of its settings.
    pub fn warnings(&self) -> Vec<String> {
        self.lock().warnings.clone()
    }

    /// As the API shows it.
    pub fn json(&self) -> Value {
        let progress = self.lock().clone();
        json!({
            "id": self.id, "kind": self.asked.kind(), "state": progress.state, "position": progress.position,
            "model": self.asked.model, "request": progress.request, "count": self.asked.count(),
            "step": progress.step, "steps": progress.steps, "stage": progress.stage,
            "created": self.created, "started": progress.started, "ended": progress.ended,
            "error": progress.problem.map(|problem| problem.json()["error"].clone()),
            "pictures": progress.pictures, "warnings": progress.warnings,
        })
    }

    /// A PNG of a picture after a step.
    pub fn preview(&self, picture: usize, step: Option<usize>) -> Option<Arc<Vec<u8>>> {
        let progress = self.lock();
        let of_picture = progress.previews.get(picture)?;
        match step {
            None => of_picture.last(),
            Some(step) => of_picture.iter().find(|(of, _)| *of == step),
        }
        .map(|(_, png)| png.clone())
    }

    /// The last preview of any picture; from now on there are some.
    pub fn look(&self) -> Option<Arc<Vec<u8>>> {
        self.looked_at.store(true, Ordering::Relaxed);
        (0..self.asked.count()).rev().find_map(|picture| self.preview(picture, None))
    }

    /// Whether anybody wants to see its steps.
    pub(super) fn wants_previews(&self) -> bool {
        self.asked.previews || self.looked_at.load(Ordering::Relaxed)
    }

    /// All previews of a picture, in order.
    pub(super) fn previews(&self, picture: usize) -> Vec<Arc<Vec<u8>>> {
        self.lock().previews[picture].iter().map(|(_, png)| png.clone()).collect()
    }

    /// Bytes of all previews.
    pub(super) fn preview_bytes(&self) -> usize {
        self.lock().previews.iter().flatten().map(|(_, png)| png.len()).sum()
    }

    /// Forgets them.
    pub(super) fn drop_previews(&self) {
        self.lock().previews.iter_mut().for_each(Vec::clear);
    }

    /// Asks it to stop.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked to.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Seconds since it has begun; 0 before.
    pub(super) fn seconds(&self) -> f64 {
        let begun = *self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64())
    }

    /// Whether it has run longer than it may.
    pub(super) fn is_overdue(&self, most: Duration) -> bool {
        let begun = *self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.is_some_and(|begun| begun.elapsed() > most)
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        self.events.ended().await;
    }

    pub(super) fn queued(&self, position: usize) {
        let before = self.lock().position.replace(position);
        if before != Some(position) {
            self.events.push("queued", json!({ "position": position }));
        }
    }

    /// It begins, or comes to another stage.
    pub(super) fn stage(&self, stage: &'static str) {
        {
            let mut progress = self.lock();
            progress.stage = stage;
            progress.position = None;
            if progress.state == State::Queued {
                progress.state = State::Running;
                progress.started = Some(now());
                *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            }
        }
        self.events.push("stage", self.stage_json());
    }

    fn stage_json(&self) -> Value {
        let progress = self.lock();
        json!({ "stage": progress.stage, "step": progress.step, "steps": progress.steps })
    }

    /// Its requests are ready: what they are with every value filled in.
    pub(super) fn ready(&self, steps: usize, generations: &[Arc<Generation>]) {
        let mut progress = self.lock();
        progress.steps = steps;
        if let Some(first) = generations.first() {
            progress.request = settings(&first.request);
        }
        for warning in generations.iter().flat_map(|generation| &generation.warnings) {
            if !progress.warnings.contains(warning) {
                progress.warnings.push(warning.clone());
            }
        }
    }

    /// `step` of `steps` is done; `previews` are (picture, PNG).
    pub(super) fn step(&self, (step, steps): (usize, usize), previews: Vec<(usize, Vec<u8>)>) {
        let urls = {
            let mut progress = self.lock();
            (progress.step, progress.steps) = (step, steps);
            for (picture, png) in previews {
                progress.previews[picture].push((step, Arc::new(png)));
            }
            let url = |(picture, of_picture): (usize, &Vec<Preview>)| {
                let (of, _) = of_picture.last()?;
                Some(format!("/api/jobs/{}/previews/{picture}?step={of}", self.id))
            };
            let urls: Vec<_> = progress.previews.iter().enumerate().map(url).collect();
            urls.iter().any(Option::is_some).then_some(urls)
        };
        self.events.push("step", json!({ "step": step, "steps": steps, "previews": urls }));
    }

    pub(super) fn picture(&self, index: usize, id: String) {
        self.lock().pictures.push(id.clone());
        self.events.push("picture", json!({ "index": index, "picture": id }));
    }

    pub(super) fn done(&self) {
        self.end(State::Done, None);
    }

    pub(super) fn cancelled(&self) {
        self.end(State::Cancelled, None);
    }

    pub(super) fn failed(&self, problem: Problem) {
        self.end(State::Failed, Some(problem));
    }

    fn end(&self, state: State, problem: Option<Problem>) {
        {
            let mut progress = self.lock();
            if progress.state.is_end() {
                return;
            }
            progress.state = state;
            progress.position = None;
            progress.ended = Some(now());
            progress.problem = problem;
        }
        let last = self.last();
        self.events.push(last.name, last.data);
    }

    /// The event of its end, or of where it is.
    fn last(&self) -> Event {
        let progress = self.lock().clone();
        let (name, data) = match progress.state {
            State::Done => {
                let seconds = progress.ended.zip(progress.started).map(|(end, start)| end - start);
                ("done", json!({ "pictures": progress.pictures, "seconds": seconds }))
            }
            State::Failed => {
                let error = progress.problem.map(|problem| problem.json()["error"].clone());
                ("failed", json!({ "error": error }))
            }
            State::Cancelled => ("cancelled", json!({})),
            State::Queued => ("queued", json!({ "position": progress.position })),
            State::Running => ("stage", self.stage_json()),
        };
        Event { id: 0, name, data }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched for Job {
    fn events(&self) -> &Events {
        &self.events
    }

    fn present(&self) -> Event {
        // Numbered first: what happens meanwhile is told again rather than missed.
        let id = self.events.count();
        Event { id, ..self.last() }
    }
}
