//! One training or evaluation: how far it is, who watches, and who may stop it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use calotype::progress::Progress;
use calotype::runs::folder::TrainedPart;
use serde_json::{Value, json};

use crate::jobs::State;
use crate::jobs::events::{Event, Events, Watched};
use crate::jobs::now;
use crate::problem::{Answer, Problem};
use crate::security::secret;

/// Between two events of steps, at least; after [`MANY`] events ten times as long, for trainings take days.
const EVERY: Duration = Duration::from_millis(200);
const MANY: u64 = 1000;

/// One training or evaluation.
pub struct Task {
    /// Its kind's letter, and sixteen digits.
    pub id: String,
    /// What it works on: a run, a model.
    pub name: String,
    place: Mutex<Place>,
    events: Events,
    stop: AtomicBool,
}

/// How far it is.
#[derive(Clone)]
struct Place {
    state: State,
    part: Option<TrainedPart>,
    /// What the trainer calls its work: the part, or something before it.
    stage: String,
    step: usize,
    steps: usize,
    message: String,
    problem: Option<Problem>,
    told: Option<Instant>,
}

impl Task {
    /// One that begins.
    ///
    /// # Errors
    /// 500 where the system has no random numbers.
    pub fn new(prefix: &str, name: &str) -> Answer<Self> {
        let place = Place {
            state: State::Running,
            part: None,
            stage: String::new(),
            step: 0,
            steps: 0,
            message: String::new(),
            problem: None,
            told: None,
        };
        Ok(Self {
            id: format!("{prefix}-{}", secret::random_hex::<8>().map_err(Problem::internal)?),
            name: name.to_owned(),
            place: Mutex::new(place),
            events: Events::default(),
            stop: AtomicBool::new(false),
        })
    }

    /// As the API shows it.
    pub fn json(&self) -> Value {
        let place = self.lock().clone();
        json!({
            "id": self.id, "run": self.name, "part": place.part, "state": place.state, "stage": place.stage,
            "step": place.step, "steps": place.steps, "message": place.message,
            "error": place.problem.map(|problem| problem.json()["error"].clone()),
        })
    }

    /// Whether nothing will change any more.
    pub fn is_ended(&self) -> bool {
        self.lock().state.is_end()
    }

    /// Asks it to save and to stop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Its next part begins.
    pub(super) fn begin_part(&self, part: TrainedPart) {
        self.lock().part = Some(part);
    }

    pub(super) fn done(&self) {
        self.end(State::Done, None);
    }

    pub(super) fn stopped(&self) {
        self.end(State::Cancelled, None);
    }

    pub(super) fn failed(&self, problem: Problem) {
        self.end(State::Failed, Some(problem));
    }

    fn end(&self, state: State, problem: Option<Problem>) {
        {
            let mut place = self.lock();
            (place.state, place.problem) = (state, problem);
        }
        let last = self.last();
        self.events.push(last.name, last.data);
    }

    fn last(&self) -> Event {
        let place = self.lock().clone();
        let (name, data) = match place.state {
            State::Done => ("done", json!({})),
            State::Cancelled => ("cancelled", json!({ "step": place.step })),
            State::Failed => {
                ("failed", json!({ "error": place.problem.map(|problem| problem.json()["error"].clone()) }))
            }
            State::Queued | State::Running => {
                let Place { part, stage, step, steps, .. } = place;
                ("stage", json!({ "part": part, "stage": stage, "step": step, "steps": steps }))
            }
        };
        Event { id: 0, name, data }
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Task {
    fn begin(&self, name: &str, first: usize, steps: usize) {
        {
            let mut place = self.lock();
            (place.stage, place.step, place.steps, place.told) = (name.to_owned(), first, steps, None);
        }
        let stage = self.last();
        self.events.push("stage", stage.data);
    }

    fn step(&self, step: usize, message: &str) {
        let every = if self.events.count() < MANY { EVERY } else { 10 * EVERY };
        let told = {
            let mut place = self.lock();
            place.step = step;
            message.clone_into(&mut place.message);
            let due = place.told.is_none_or(|told| told.elapsed() >= every) || step == place.steps;
            if due {
                place.told = Some(Instant::now());
            }
            due.then(|| json!({ "part": place.part, "step": step, "steps": place.steps, "message": message }))
        };
        if let Some(data) = told {
            self.events.push("step", data);
        }
    }

    fn end(&self, _: &str) {}

    fn say(&self, text: &str) {
        text.clone_into(&mut self.lock().message);
    }

    fn clock(&self) -> Box<dyn Fn() -> f64 + Send> {
        Box::new(now)
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

impl Watched for Task {
    fn events(&self) -> &Events {
        &self.events
    }

    fn present(&self) -> Event {
        let id = self.events.count();
        Event { id, ..self.last() }
    }
}
