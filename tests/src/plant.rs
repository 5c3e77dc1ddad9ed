//! Panics that a test plants in a running process, and what becomes of the process.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep, timeout};

use crate::process::{Process, START};

/// How long a question whether a process is ready may take: a door that is about to close must not keep the others from being asked.
const ASK: Duration = Duration::from_millis(500);

/// The file in a process' directory that says whose panic is planned.
pub(crate) const PLANT: &str = "plant";

/// The file beside it in which tasks and threads say that they are there.
pub(crate) const NAMES: &str = "plant.names";

/// How a process ended that somebody had panicked in.
#[derive(Debug)]
pub struct Ended {
    /// How long after the panic.
    pub took: Duration,
    /// Its exit code.
    pub code: Option<i32>,
    /// What it answered meanwhile to whether it is ready, at any door.
    pub told: Vec<Answer>,
}

/// What a process answered that had somebody panic.
#[derive(Debug)]
pub struct Answer {
    /// How long after the panic.
    pub after: Duration,
    /// The status.
    pub status: u16,
    /// The text.
    pub text: String,
}

impl Process {
    /// What says in it that it is there, since it started with `BOND_PLANT_FILE` in its directory: `watched` or `owned`, and a name.
    pub fn names(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.dir.join(NAMES)).unwrap_or_default();
        let words = text.lines().filter_map(|line| line.split_once(' '));
        words.map(|(how, name)| (how.to_owned(), name.to_owned())).collect()
    }

    /// Where it answers HTTP.
    pub fn doors(&self) -> &[String] {
        &self.doors
    }

    /// Has the first task or thread that is called `name` panic, in a process that was started with `BOND_PLANT_FILE` in its directory.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn plant(&self, name: &str) -> Result<()> {
        // Written whole at once, since it is looked at all the time.
        std::fs::write(self.dir.join("planting"), name)?;
        Ok(std::fs::rename(self.dir.join("planting"), self.dir.join(PLANT))?)
    }

    /// Waits until what was planted has panicked.
    ///
    /// # Errors
    /// Where nobody of that name is there.
    pub async fn panicked(&self) -> Result<Instant> {
        let deadline = Instant::now() + START;
        while self.dir.join(PLANT).exists() {
            if Instant::now() > deadline {
                bail!("nobody has that name");
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(Instant::now())
    }

    /// Waits for the process' end. Returns its exit code.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn ended(&mut self) -> Result<Option<i32>> {
        Ok(timeout(START, self.child.wait()).await.context("goes on")??.code())
    }

    /// Has `name` panic as [`Process::plant`] does, and waits for the process' end. Meanwhile it is asked at `path` whether it is ready.
    ///
    /// # Errors
    /// Where nobody of that name is there, or the process does not end.
    pub async fn panic_in(&mut self, name: &str, path: &str) -> Result<Ended> {
        // Made before, since that takes as long as the end of some processes.
        let http = reqwest::Client::builder().no_proxy().timeout(ASK).build()?;
        self.plant(name)?;
        let panicked = self.panicked().await.context(name.to_owned())?;
        let urls: Vec<String> = self.doors.iter().map(|door| format!("{door}{path}")).collect();
        let mut told = Vec::new();
        let status = tokio::select! {
            status = timeout(START, self.child.wait()) => status.context("goes on")??,
            never = asks(&http, &urls, &mut told) => match never {},
        };
        Ok(Ended { took: panicked.elapsed(), code: status.code(), told })
    }
}

/// Asks all of `urls`, again and again.
async fn asks(http: &reqwest::Client, urls: &[String], told: &mut Vec<Answer>) -> Infallible {
    let began = Instant::now();
    loop {
        for url in urls {
            let answer = http.get(url).send().await;
            if let Ok(answer) = answer {
                let (after, status) = (began.elapsed(), answer.status().as_u16());
                told.push(Answer { after, status, text: answer.text().await.unwrap_or_default() });
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// The origins of all URLs in a banner.
pub(crate) fn doors_in(banner: &str) -> Vec<String> {
    let urls = banner.split_whitespace().filter_map(|word| {
        let address = word.strip_prefix("http://").or_else(|| word.strip_prefix("ws://"))?;
        let address = address.split('/').next().unwrap_or_default();
        Some(format!("http://{address}"))
    });
    // The example in the banner names the first again, and others may be one and the same.
    let mut doors: Vec<String> = urls.collect();
    doors.sort();
    doors.dedup();
    doors
}
