//! Who is next: the clients in turn, each client's jobs in their order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::job::Job;
use crate::security::Client;

/// Jobs that wait, by client; the first client is the next.
#[derive(Default)]
pub(super) struct Queue {
    clients: VecDeque<(Client, VecDeque<Arc<Job>>)>,
}

impl Queue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.clients.iter().map(|(_, jobs)| jobs.len()).sum()
    }

    /// Puts a job behind its client's others.
    pub fn push(&mut self, job: Arc<Job>) {
        match self.clients.iter_mut().find(|(client, _)| *client == job.client) {
            Some((_, jobs)) => jobs.push_back(job),
            None => self.clients.push_back((job.client.clone(), VecDeque::from([job]))),
        }
    }

    /// The next; its client comes last then.
    pub fn pop(&mut self) -> Option<Arc<Job>> {
        let (client, mut jobs) = self.clients.pop_front()?;
        let job = jobs.pop_front();
        if !jobs.is_empty() {
            self.clients.push_back((client, jobs));
        }
        job
    }

    /// Adds to `taken` all that fit, in their order; nobody waits longer for it.
    pub fn take_while_fits(
        &mut self,
        taken: &mut Vec<Arc<Job>>,
        fits: impl Fn(&[Arc<Job>], &Arc<Job>) -> bool,
    ) {
        for job in self.in_order() {
            if fits(taken, &job) && self.remove(&job) {
                taken.push(job);
            }
        }
    }

    /// Takes one out; whether it was there.
    pub fn remove(&mut self, job: &Arc<Job>) -> bool {
        let before = self.len();
        for (_, jobs) in &mut self.clients {
            jobs.retain(|other| !Arc::ptr_eq(other, job));
        }
        self.clients.retain(|(_, jobs)| !jobs.is_empty());
        self.len() < before
    }

    /// How many are before it.
    pub fn position(&self, job: &Arc<Job>) -> Option<usize> {
        self.in_order().iter().position(|other| Arc::ptr_eq(other, job))
    }

    /// Tells all where they stand.
    pub fn tell_positions(&self) {
        self.in_order().iter().enumerate().for_each(|(position, job)| job.queued(position));
    }

    /// All, in the order in which they would come.
    fn in_order(&self) -> Vec<Arc<Job>> {
        let rounds = self.clients.iter().map(|(_, jobs)| jobs.len()).max().unwrap_or(0);
        let round = |i: usize| self.clients.iter().filter_map(move |(_, jobs)| jobs.get(i).cloned());
        (0..rounds).flat_map(round).collect()
    }
}

#[cfg(test)]
mod tests {
    use calotype::pipeline::Request;

    use super::super::asked::Asked;
    use super::*;

    fn job(client: &str, number: u64) -> Arc<Job> {
        let request = Request { seed: Some(number), ..Request::default() };
        let asked = Asked { requests: vec![(request, 1)], ..Asked::default() };
        Arc::new(Job::new(Client(client.into()), asked).unwrap())
    }

    fn name(job: &Arc<Job>) -> String {
        format!("{}{}", job.client.0, job.asked.requests[0].0.seed.unwrap())
    }

    #[test]
    fn clients_take_turns() {
        let mut queue = Queue::default();
        let jobs: Vec<_> =
            [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("c", 0), ("b", 1)].map(|(c, n)| job(c, n)).into();
        jobs.iter().for_each(|job| queue.push(job.clone()));
        assert_eq!(queue.position(&jobs[2]), Some(5));
        assert_eq!(queue.position(&jobs[3]), Some(1));
        assert!(queue.remove(&jobs[1]) && !queue.remove(&jobs[1]));
        let order: Vec<String> = std::iter::from_fn(|| queue.pop()).map(|job| name(&job)).collect();
        assert_eq!(order, ["a0", "b0", "c0", "a2", "b1"]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_fits_is_taken_along() {
        let mut queue = Queue::default();
        [("a", 0), ("a", 1), ("b", 7), ("b", 3)].into_iter().for_each(|(c, n)| queue.push(job(c, n)));
        let mut taken = vec![queue.pop().unwrap()];
        let odd = |job: &Arc<Job>| job.asked.requests[0].0.seed.unwrap() % 2 == 1;
        queue.take_while_fits(&mut taken, |taken, job| taken.len() < 3 && odd(job));
        assert_eq!(taken.iter().map(name).collect::<Vec<_>>(), ["a0", "b7", "a1"]);
        assert_eq!(queue.len(), 1);
    }
}
