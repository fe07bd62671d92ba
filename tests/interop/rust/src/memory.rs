//! The tasks that run, and the results of those that were completed or failed.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::sleep};

use crate::{envelope::PeerId, plan::Plan, provider::Task};

const MAX_RESULTS: usize = 1024;
const MAX_RESULT_BYTES: usize = 16 << 20;
const RESULT_AGE: Duration = Duration::from_secs(600);

/// What makes two tasks the same.
pub type Key = (PeerId, String);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stop {
    /// The last stream that waited for it was reset.
    Reset,
    /// Its connection was lost, and nobody came back in time.
    Lost,
    Deadline,
}

#[derive(Default)]
pub struct Progress {
    pub pieces: Vec<String>,
    /// The envelope, once it has ended.
    pub result: Option<Vec<u8>>,
}

/// One task from its first arrival until it is forgotten; any number of streams follow it.
pub struct Course {
    pub requester: PeerId,
    pub task: Task,
    pub payload: Vec<u8>,
    pub plan: Plan,
    pub progress: watch::Sender<Progress>,
    pub stopped: watch::Sender<Option<Stop>>,
    following: Mutex<Following>,
}

#[derive(Default)]
struct Following {
    streams: usize,
    arrivals: u64,
}

impl Course {
    pub fn new(requester: PeerId, task: Task, payload: Vec<u8>, plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            requester,
            task,
            payload,
            plan,
            progress: watch::Sender::default(),
            stopped: watch::Sender::default(),
            following: Mutex::default(),
        })
    }

    fn key(&self) -> Key {
        (self.requester, self.task.id.clone())
    }

    pub fn stop(&self, why: Stop) {
        self.stopped.send_if_modified(|stopped| stopped.is_none() && stopped.replace(why).is_none());
    }

    fn follow(&self) {
        let mut following = self.following.lock().unwrap();
        following.streams += 1;
        following.arrivals += 1;
    }

    /// When nobody follows any more the task stops, after a lost connection not at once.
    pub fn leave(self: &Arc<Self>, why: Stop) {
        let mut following = self.following.lock().unwrap();
        following.streams -= 1;
        if following.streams > 0 {
            return;
        }
        if why != Stop::Lost {
            return self.stop(why);
        }
        let (course, arrivals) = (self.clone(), following.arrivals);
        tokio::spawn(async move {
            sleep(Duration::from_millis(course.task.linger_ms)).await;
            if course.following.lock().unwrap().arrivals == arrivals {
                course.stop(Stop::Lost);
            }
        });
    }
}

#[derive(Default)]
pub struct Memory {
    courses: HashMap<Key, Arc<Course>>,
    /// Of these, those with a result, the oldest first, with the bytes they take.
    finished: VecDeque<(Key, Instant, usize)>,
    bytes: usize,
    attempts: HashMap<Key, u32>,
}

pub struct Conflict;

impl Memory {
    /// The course of a task that was here before, followed from now on.
    pub fn join(&mut self, key: &Key, payload: &[u8]) -> Result<Option<Arc<Course>>, Conflict> {
        self.expire();
        let Some(course) = self.courses.get(key) else { return Ok(None) };
        if course.payload != payload {
            return Err(Conflict);
        }
        course.follow();
        Ok(Some(course.clone()))
    }

    /// How often this task has come without being known.
    pub fn attempt(&mut self, key: &Key) -> u32 {
        if self.attempts.len() >= MAX_RESULTS {
            self.attempts.clear(); // prompts that count need a few tasks, not a faithful memory
        }
        let attempts = self.attempts.entry(key.clone()).or_default();
        *attempts += 1;
        *attempts
    }

    pub fn begin(&mut self, course: &Arc<Course>) {
        course.follow();
        self.courses.insert(course.key(), course.clone());
    }

    pub fn end(&mut self, course: &Course, result: Vec<u8>, keep: bool) {
        let key = course.key();
        if keep {
            let pieces: usize = course.progress.borrow().pieces.iter().map(String::len).sum();
            let size = course.payload.len() + result.len() + pieces;
            self.bytes += size;
            self.finished.push_back((key, Instant::now(), size));
            self.expire();
        } else {
            self.courses.remove(&key);
        }
        course.progress.send_modify(|progress| progress.result = Some(result));
    }

    fn expire(&mut self) {
        while let Some((key, ended, size)) = self.finished.front() {
            let within = self.finished.len() <= MAX_RESULTS && self.bytes <= MAX_RESULT_BYTES;
            if within && ended.elapsed() < RESULT_AGE {
                return;
            }
            self.bytes -= size;
            self.courses.remove(key);
            self.finished.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::tests::requester;

    fn course(nth: usize, payload: &[u8]) -> Arc<Course> {
        let task =
            Task { id: nth.to_string(), prompt: String::new(), stream: false, timeout_ms: None, linger_ms: 10_000 };
        Course::new(requester().public().to_peer_id(), task, payload.into(), Plan::of(""))
    }

    fn remember(memory: &mut Memory, course: &Arc<Course>) {
        memory.begin(course);
        memory.end(course, vec![0], true);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        for nth in 0..=MAX_RESULTS {
            remember(&mut memory, &course(nth, b"x"));
        }
        assert_eq!(memory.courses.len(), MAX_RESULTS);
        assert!(memory.join(&course(0, b"x").key(), b"x").is_ok_and(|known| known.is_none()));
        for nth in 5000..5017 {
            remember(&mut memory, &course(nth, &vec![0; 1 << 20]));
        }
        assert!(memory.bytes <= MAX_RESULT_BYTES && memory.finished.len() == 15, "{} bytes", memory.bytes);
        assert!(memory.join(&course(5016, b"").key(), b"x").is_err());
    }

    #[tokio::test]
    async fn a_task_stops_with_its_last_stream() {
        let mut memory = Memory::default();
        let course = course(1, b"x");
        memory.begin(&course);
        assert!(memory.join(&course.key(), b"x").is_ok_and(|known| known.is_some()));
        course.leave(Stop::Reset);
        assert_eq!(*course.stopped.borrow(), None);
        course.leave(Stop::Lost);
        assert_eq!(*course.stopped.borrow(), None, "it lingers");
        assert!(memory.join(&course.key(), b"x").is_ok());
        course.leave(Stop::Reset);
        assert_eq!(*course.stopped.borrow(), Some(Stop::Reset));
    }
}
