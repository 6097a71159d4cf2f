//! What happened to a job or a training, in order and by number: who watches late, or again, misses nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use futures_util::stream;
use serde_json::Value;
use tokio::sync::watch;

use crate::answer;

/// Between two signs of life on a quiet stream.
const ALIVE: Duration = Duration::from_secs(15);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// From 1 on.
    pub id: u64,
    /// `queued`, `stage`, `step`, `picture`, `done`, `failed`, `cancelled`.
    pub name: &'static str,
    /// What goes with it.
    pub data: Value,
}

/// All that happened.
#[derive(Debug)]
pub struct Events {
    log: Mutex<Vec<Event>>,
    /// How many there are.
    count: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self { log: Mutex::default(), count: watch::Sender::new(0) }
    }
}

/// Whether nothing follows.
pub fn is_last(name: &str) -> bool {
    matches!(name, "done" | "failed" | "cancelled")
}

impl Events {
    /// Adds one, unless the last has been.
    pub fn push(&self, name: &'static str, data: Value) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.last().is_some_and(|last| is_last(last.name)) {
            return;
        }
        let id = log.len() as u64 + 1;
        log.push(Event { id, name, data });
        self.count.send_replace(id);
    }

    /// Those behind number `after`.
    pub fn after(&self, after: u64) -> Vec<Event> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().skip(after as usize).cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// Waits until the last has been.
    pub async fn ended(&self) {
        let mut count = self.count.subscribe();
        loop {
            let seen = *count.borrow_and_update();
            if self.after(seen.saturating_sub(1)).iter().any(|event| is_last(event.name)) {
                return;
            }
            // The sender lives as long as `self`.
            let _ = count.changed().await;
        }
    }
}

/// What a stream of events is of.
pub trait Watched: Send + Sync + 'static {
    /// All that happened.
    fn events(&self) -> &Events;
    /// Where it stands, for those who come without having seen anything.
    fn present(&self) -> Event;
}

/// Events as a browser's `EventSource` reads them. `Last-Event-ID` goes on where another stream ended; else the first
/// event says where the thing stands. Ends with the last event, or when the server stops.
pub fn stream_of<T: Watched>(
    watched: std::sync::Arc<T>,
    headers: &HeaderMap,
    stopping: watch::Receiver<bool>,
) -> Response<Body> {
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let count = watched.events().count.subscribe();
    let start = Reader { watched, count, stopping, seen, ended: false };
    let body = Body::from_stream(stream::unfold(start, |reader| reader.next()));
    let mut response = answer::with_type(StatusCode::OK, "text/event-stream", body);
    // For proxies that would wait for more.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

struct Reader<T> {
    watched: std::sync::Arc<T>,
    count: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    /// Number of the last event that was sent; `None` before the first.
    seen: Option<u64>,
    ended: bool,
}

impl<T: Watched> Reader<T> {
    async fn next(mut self) -> Option<(Result<Bytes, std::convert::Infallible>, Self)> {
        if self.ended {
            return None;
        }
        loop {
            self.count.borrow_and_update();
            let events = match self.seen {
                None => vec![self.watched.present()],
                Some(seen) => self.watched.events().after(seen),
            };
            if let Some(last) = events.last() {
                self.seen = Some(last.id);
                self.ended = is_last(last.name);
                let text: String = events.iter().map(written).collect();
                return Some((Ok(Bytes::from(text)), self));
            }
            // Another stream saw the end: there is nothing to wait for.
            if is_last(self.watched.present().name) {
                return None;
            }
            let woken = tokio::select! {
                _ = self.stopping.wait_for(|stopping| *stopping) => Woken::Stopping,
                _ = self.count.changed() => Woken::Event,
                () = tokio::time::sleep(ALIVE) => Woken::Quiet,
            };
            match woken {
                Woken::Event => {}
                Woken::Stopping => return None,
                Woken::Quiet => return Some((Ok(Bytes::from_static(b": alive\n\n")), self)),
            }
        }
    }
}

/// Why a stream goes on.
enum Woken {
    Event,
    Stopping,
    Quiet,
}

fn written(event: &Event) -> String {
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.id, event.name, event.data)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_numbered_and_end() {
        let events = Events::default();
        for (name, value) in [("queued", 1), ("step", 2), ("done", 3), ("step", 4)] {
            events.push(name, json!(value));
        }
        let after: Vec<u64> = events.after(1).iter().map(|event| event.id).collect();
        assert_eq!(after, [2, 3]);
        assert_eq!(written(&events.after(2)[0]), "id: 3\nevent: done\ndata: 3\n\n");
        assert!(events.after(99).is_empty());
    }
}
