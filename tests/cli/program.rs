//! Runs the program in an empty folder with an empty environment.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

/// No command of these tests takes longer, unless it hangs.
pub const WITHIN: Duration = Duration::from_secs(60);

/// An empty folder to run in.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Names of everything that lies here, in order.
    pub fn names(&self) -> Vec<String> {
        names(self.0.path())
    }

    pub fn folio(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_folio"));
        command.args(arguments).current_dir(self.0.path()).env_clear();
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.folio(arguments))
    }

    /// Starts a server on a free port and waits until it says where it listens.
    pub fn serve(&self, arguments: &[&str]) -> Serving {
        Serving::start(self.folio(arguments).args(["--listen", "127.0.0.1:0"]))
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
        names.push(entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            let folder = names.last().unwrap().clone();
            names.extend(self::names(&entry.path()).into_iter().map(|name| format!("{folder}/{name}")));
        }
    }
    names.sort();
    names
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    #[track_caller]
    pub fn with(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub fn says(self, fragment: &str) -> Ended {
        assert!(self.out.contains(fragment) || self.err.contains(fragment), "{fragment:?} is missing in {self:#?}");
        self
    }

    #[track_caller]
    pub fn hides(self, fragment: &str) -> Ended {
        assert!(!self.out.contains(fragment) && !self.err.contains(fragment), "{fragment:?} shows in {self:#?}");
        self
    }
}

/// Runs a command to its end.
pub fn ended(command: &mut Command) -> Ended {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    of(child.id(), &within(move || child.wait_with_output().unwrap()))
}

/// Waits for a blocking step, but not for ever.
fn within<T: Send + 'static>(step: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (tell, told) = sync_channel(1);
    thread::spawn(move || tell.send(step()));
    told
}

#[track_caller]
fn of(id: u32, told: &Receiver<Output>) -> Ended {
    let Ok(output) = told.recv_timeout(WITHIN) else {
        signal(id, Signal::KILL);
        panic!("folio did not end within {WITHIN:?}");
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn signal(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(id.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// A server that runs.
pub struct Serving {
    child: Option<Child>,
    pub address: String,
    logged: Arc<Mutex<String>>,
}

impl Serving {
    pub fn start(command: &mut Command) -> Serving {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let logged = Arc::<Mutex<String>>::default();
        let (log, lines) = (logged.clone(), BufReader::new(child.stdout.take().unwrap()).lines());
        // Both pipes are read to their ends, so that the server never waits for a reader.
        thread::spawn(move || lines.map_while(Result::ok).for_each(|it| *log.lock() += &(it + "\n")));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let heard = within(move || {
            let mut address = None;
            while let (None, Some(Ok(line))) = (&address, lines.next()) {
                let rest = line.split_once("listening on http://").map(|(_, rest)| rest.to_owned());
                address = rest.and_then(|rest| rest.split_once(',').map(|(address, _)| address.to_owned()));
                seen.push_str(&line);
            }
            thread::spawn(move || lines.for_each(drop));
            address.ok_or(seen)
        });
        let mut serving = Serving { child: Some(child), address: String::new(), logged };
        serving.address = heard.recv_timeout(WITHIN).unwrap().unwrap();
        serving
    }

    /// What it has logged so far.
    pub fn logged(&self) -> String {
        self.logged.lock().clone()
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, which: Signal) {
        signal(self.id(), which);
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        let child = self.child.take().unwrap();
        of(child.id(), &within(move || child.wait_with_output().unwrap()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
