//! A server that takes mail, and does what a test tells it to.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::spawn;

/// What it says to one of the words of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// This line.
    Line(&'static str),
    /// Nothing more, and the connection stays.
    Nothing,
    /// Nothing more, and the connection goes.
    HangsUp,
}

/// How it keeps others from listening.
#[derive(Clone)]
pub enum Tls {
    Never,
    /// When the client asks.
    Asked(TlsAcceptor),
    /// From the first byte.
    AtOnce(TlsAcceptor),
}

/// A letter as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub from: String,
    pub to: String,
    pub text: String,
    /// Whether nobody could have listened.
    pub sealed: bool,
}

/// Listens on a free port until it is dropped.
pub struct MailServer {
    pub address: SocketAddr,
    /// Words that came in the clear.
    pub overheard: Arc<Mutex<Vec<String>>>,
    /// Letters in the order in which they came.
    pub arrived: mpsc::Receiver<Arrived>,
    moods: Moods,
    listening: tokio::task::JoinHandle<()>,
}

type Moods = Arc<Mutex<Vec<(&'static str, Says)>>>;

impl MailServer {
    pub async fn start() -> MailServer {
        MailServer::start_with(Tls::Never).await
    }

    pub async fn start_with(tls: Tls) -> MailServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, moods) = (listener.local_addr().unwrap(), Moods::default());
        let (tell, arrived) = mpsc::channel(100);
        let (seen, overheard) = (moods.clone(), Arc::<Mutex<Vec<String>>>::default());
        let heard = overheard.clone();
        let listening = spawn(async move {
            while let Ok((line, _)) = listener.accept().await {
                let (seen, heard, tell, tls) = (seen.clone(), heard.clone(), tell.clone(), tls.clone());
                spawn(async move {
                    let line: Line = match &tls {
                        Tls::AtOnce(acceptor) => match acceptor.accept(line).await {
                            Ok(line) => Box::new(line),
                            Err(_) => return,
                        },
                        _ => Box::new(line),
                    };
                    converse(line, tls, seen, heard, tell).await;
                });
            }
        });
        MailServer { address, overheard, arrived, moods, listening }
    }

    /// The address as a setting has it.
    pub fn url(&self) -> String {
        format!("smtp://folio:hush-hush-7@{}", self.address)
    }

    /// The answer to the next command that begins with a word, once; the greeting is the answer to nothing.
    pub fn once(&self, word: &'static str, says: Says) {
        self.moods.lock().push((word, says));
    }

    /// Whether everything it was told to say was said.
    pub fn is_calm(&self) -> bool {
        self.moods.lock().is_empty()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A connection, sealed or not.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}
type Line = Box<dyn Wire>;

async fn converse(line: Line, tls: Tls, moods: Moods, overheard: Arc<Mutex<Vec<String>>>, tell: mpsc::Sender<Arrived>) {
    let (mut line, mut sealed) = (BufReader::new(line), matches!(tls, Tls::AtOnce(_)));
    let [from, to, text] = [(); 3].map(|()| String::new());
    let (mut letter, mut command) = (Arrived { from, to, text, sealed }, String::new());
    loop {
        let word = command.trim_end().to_ascii_uppercase();
        let mood = {
            let mut moods = moods.lock();
            let at = moods.iter().position(|it| if it.0.is_empty() { word.is_empty() } else { word.starts_with(it.0) });
            at.map(|at| moods.remove(at).1)
        };
        let kind = word.get(..4).unwrap_or(&word);
        if !sealed {
            overheard.lock().push(kind.to_owned());
        }
        let usual = match kind {
            "" => "220 test ESMTP",
            "EHLO" if !sealed && matches!(tls, Tls::Asked(_)) => "250-test\r\n250 STARTTLS",
            "EHLO" => "250-test\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN",
            "STAR" => "220 go on",
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            "." => "250 taken",
            _ => "250 fine",
        };
        let says = match mood {
            Some(Says::Nothing) => return std::future::pending().await,
            Some(Says::HangsUp) => return,
            Some(Says::Line(says)) => says,
            None => usual,
        };
        let bracketed = || word.split(['<', '>']).nth(1).unwrap_or_default().to_ascii_lowercase();
        match kind {
            "MAIL" => letter.from = bracketed(),
            "RCPT" => letter.to = bracketed(),
            "." if says.starts_with('2') => _ = tell.send(Arrived { sealed, ..letter.clone() }).await,
            _ => {}
        }
        if line.write_all(format!("{says}\r\n").as_bytes()).await.is_err() || line.flush().await.is_err() {
            return;
        }
        if let ("STAR", Tls::Asked(acceptor)) = (kind, &tls) {
            let Ok(whole) = acceptor.accept(line.into_inner()).await else { return };
            (line, sealed) = (BufReader::new(Box::new(whole) as Line), true);
        }
        command.clear();
        if says.starts_with("354") {
            letter.text.clear();
            while line.read_line(&mut letter.text).await.is_ok_and(|it| it > 0) && !letter.text.ends_with("\r\n.\r\n") {
            }
            letter.text.truncate(letter.text.len().saturating_sub(3));
            command.push('.');
        } else if !line.read_line(&mut command).await.is_ok_and(|it| it > 0) {
            return;
        }
    }
}
