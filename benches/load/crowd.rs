//! Many people on one server: they listen, and say things when they are told to; everything that they hear is held
//! against what was said.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt, TryStreamExt, iter};
use tokio::sync::Notify;
use tokio::task::unconstrained;
use tokio::time::{sleep, timeout};

use crate::ledger::Ledger;
use crate::measure::Histogram;
use crate::side::Side;
use crate::speech::{Heard, Speech};
use crate::voice::{Voice, Waiting, join};
use crate::wire::Incoming;

const FILLER: &str = "a message of about one hundred letters, as people write them: a few words and then a few more";
const OPENS_AT_ONCE: usize = 64;
const AGAIN_EVERY: Duration = Duration::from_millis(200);
const JOINS_AT_ONCE: usize = 1_000;
const LISTENS_FOR: Duration = Duration::from_millis(5);
const JOINS_WITHIN: Duration = Duration::from_secs(60);
/// How long what was said may take to be heard by everybody.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

/// What happened since it was last looked at.
#[derive(Default)]
pub struct Tally {
    /// From saying to the answer.
    pub acks: Histogram,
    /// From saying to hearing, for each who heard.
    pub deliveries: Histogram,
    /// How often somebody was asked to wait, and said it again.
    pub again: u64,
}

/// What all share: what is under way, and what was counted.
#[derive(Default)]
pub struct Round {
    pub tally: RefCell<Tally>,
    /// Whether whoever is done says the next thing.
    pub open: Cell<bool>,
    numbers: Cell<u64>,
    /// Messages that were not acknowledged yet, or not heard by whoever said them.
    waiting: Cell<u64>,
    /// Deliveries that are still to come.
    missing: Cell<u64>,
    quiet: Notify,
    /// What has to be said again.
    again: RefCell<Vec<(Rc<Voice>, u64)>>,
}

/// Somebody who listens.
pub struct Ear {
    incoming: Incoming,
    voice: Rc<Voice>,
}

/// Everybody.
pub struct Crowd<'a> {
    pub side: &'a Side,
    pub voices: Vec<Rc<Voice>>,
    pub round: Rc<Round>,
    pub ledgers: Vec<RefCell<Ledger>>,
    ears: Vec<Ear>,
}

impl<'a> Crowd<'a> {
    /// Lets everybody in.
    pub async fn gather(side: &'a Side) -> Result<Crowd<'a>, String> {
        Crowd::gather_some(side, side.people()).await
    }

    /// Lets the first of them in.
    pub async fn gather_some(side: &'a Side, count: usize) -> Result<Crowd<'a>, String> {
        let each = count.div_ceil(side.scene.conversations).min(side.scene.members);
        let ledger = |it: &String| RefCell::new(Ledger::new(it, each, side.dense));
        let mut crowd = Crowd {
            side,
            voices: Vec::new(),
            round: Rc::default(),
            ledgers: side.conversations.iter().map(ledger).collect(),
            ears: Vec::new(),
        };
        crowd.let_in(0..count).await?;
        Ok(crowd)
    }

    /// Lets more of them in; everybody hears everything from now on only.
    pub async fn let_in(&mut self, people: std::ops::Range<usize>) -> Result<(), String> {
        let (side, all) = (self.side, people.collect::<Vec<_>>());
        for some in all.chunks(JOINS_AT_ONCE) {
            let joins = some.iter().map(|nth| async move {
                let joined = timeout(JOINS_WITHIN, join(side, *nth, None, |_, _| Ok(()))).await;
                joined.unwrap_or_else(|_| Err("nobody was let in in time".to_owned()))
            });
            let joined: Vec<_> = unconstrained(iter(joins).buffered(OPENS_AT_ONCE).try_collect()).await?;
            for (incoming, voice) in joined {
                self.add(incoming, voice);
            }
            // Those that are in are asked now and then whether they are still there.
            let rest = async |_: &Talk<'_>| {
                sleep(LISTENS_FOR).await;
                Ok(())
            };
            self.listening(rest).await?;
        }
        Ok(())
    }

    fn add(&mut self, incoming: Incoming, voice: Voice) {
        let voice = Rc::new(voice);
        self.voices.push(voice.clone());
        self.ears.push(Ear { incoming, voice });
    }

    /// Everybody hangs up but the first of each conversation. Gives those who left, by their number.
    pub fn part(&mut self) -> Vec<(usize, Rc<Voice>)> {
        let (mut gone, members) = (Vec::new(), self.side.scene.members);
        let mut nth = 0..;
        self.ears.retain(|_| nth.next().is_some_and(|it: usize| it.is_multiple_of(members)));
        let all = std::mem::take(&mut self.voices).into_iter().enumerate();
        for (nth, voice) in all {
            if nth.is_multiple_of(members) { self.voices.push(voice) } else { gone.push((nth, voice)) }
        }
        gone
    }

    /// Listens until some work is done; fails when somebody is cut off, or hears what is not right.
    pub async fn listening<T>(&mut self, work: impl AsyncFnOnce(&Talk<'_>) -> Result<T, String>) -> Result<T, String> {
        let talk = Talk { side: self.side, voices: &self.voices, round: &self.round, ledgers: &self.ledgers };
        let mut ears: FuturesUnordered<_> = self.ears.iter_mut().map(|it| it.listen(&talk)).collect();
        let ends = pin!(unconstrained(ears.next()));
        let again = pin!(talk.say_again());
        let ends = select(ends, again);
        match select(pin!(work(&talk)), ends).await {
            Either::Left((done, _)) => done,
            Either::Right((Either::Left((None, _)), _)) => Err("nobody listens".to_owned()),
            Either::Right((Either::Left((Some(ended), _)) | Either::Right((ended, _)), _)) => {
                ended.map(|never| match never {}).map_err(|why| format!("{}: {why}", talk.side.name))
            }
        }
    }
}

impl Ear {
    async fn listen(&mut self, talk: &Talk<'_>) -> Result<Infallible, String> {
        let Ear { incoming, voice } = self;
        loop {
            incoming.hear(|text| talk.hear(voice, text)).await?;
        }
    }
}

/// What everybody may do while all listen.
pub struct Talk<'a> {
    side: &'a Side,
    pub voices: &'a [Rc<Voice>],
    pub round: &'a Round,
    ledgers: &'a [RefCell<Ledger>],
}

impl Talk<'_> {
    fn speech(&self) -> Speech {
        self.side.speech
    }

    /// Somebody says so many things at once: saved, or told only, where the server knows the difference.
    pub fn say(&self, voice: &Voice, count: u64, saved: bool) -> Result<(), String> {
        let stream = &self.side.conversations[voice.conversation];
        let name = if saved || self.side.dense { "new_message" } else { "announce_message" };
        let mut texts = Vec::new();
        for _ in 0..count {
            let number = self.round.numbers.get() + 1;
            self.round.numbers.set(number);
            let client_id = self.side.folk.client_id();
            let body =
                format!(r##"{{"conversation_id":"{stream}","client_id":"{client_id}","text":"#{number} {FILLER}"}}"##);
            let text = self.speech().ask(number, name, &body);
            texts.push(text.clone());
            let since = Instant::now();
            self.ledgers[voice.conversation].borrow_mut().say(number, since);
            voice.waiting.borrow_mut().push(Waiting { number, since, text, acked: false, heard: false });
        }
        let round = self.round;
        round.waiting.set(round.waiting.get() + count);
        let hearers = self.voices.len() / self.side.scene.conversations;
        round.missing.set(round.missing.get() + count * hearers as u64);
        voice.outgoing.say(&texts)
    }

    fn hear(&self, voice: &Rc<Voice>, text: &[u8]) -> Result<(), String> {
        match self.speech().read(text) {
            Heard::Later(number) => {
                self.round.tally.borrow_mut().again += 1;
                self.round.again.borrow_mut().push((voice.clone(), number));
                Ok(())
            }
            Heard::Event => self.event(voice, text),
            Heard::Done(number) => self.settle(voice, number, true),
            Heard::Ping => voice.outgoing.say(&[self.speech().pong()]),
            Heard::Refused(why) => Err(format!("refused: {why}")),
            _ => Ok(()),
        }
    }

    /// Says what was refused for the moment, under the same client id: whatever became of it, it is one message.
    async fn say_again(&self) -> Result<Infallible, String> {
        loop {
            sleep(AGAIN_EVERY).await;
            for (voice, number) in self.round.again.take() {
                let waiting = voice.waiting.borrow();
                if let Some(own) = waiting.iter().find(|it| it.number == number) {
                    voice.outgoing.say(&[&own.text])?;
                }
            }
        }
    }

    pub fn event(&self, voice: &Voice, text: &[u8]) -> Result<(), String> {
        let mut heard = voice.heard.get();
        let said = self.ledgers[voice.conversation].borrow_mut().hear(&mut heard, text)?;
        voice.heard.set(heard);
        let Some((number, since)) = said else { return Ok(()) };
        let round = self.round;
        round.tally.borrow_mut().deliveries.record(since.elapsed());
        round.missing.set(round.missing.get().saturating_sub(1));
        self.settle(voice, number, false)?;
        if round.missing.get() == 0 {
            round.quiet.notify_one();
        }
        Ok(())
    }

    /// An own message was acknowledged, or heard; after both the next one may be said.
    fn settle(&self, voice: &Voice, number: u64, acked: bool) -> Result<(), String> {
        let mut waiting = voice.waiting.borrow_mut();
        let Some(at) = waiting.iter().position(|it| it.number == number) else {
            return if acked { Err(format!("{number} was acknowledged, and nobody waits for it")) } else { Ok(()) };
        };
        let own = &mut waiting[at];
        if acked {
            own.acked = true;
            self.round.tally.borrow_mut().acks.record(own.since.elapsed());
        } else {
            own.heard = true;
        }
        if !(own.acked && own.heard) {
            return Ok(());
        }
        waiting.swap_remove(at);
        drop(waiting);
        self.round.waiting.set(self.round.waiting.get() - 1);
        if self.round.open.get() {
            return self.say(voice, 1, true);
        }
        self.round.quiet.notify_one();
        Ok(())
    }

    /// The place of what somebody heard last who has heard so many entries of a conversation.
    pub fn seq(&self, conversation: usize, heard: usize) -> Option<u64> {
        self.ledgers[conversation].borrow().seq(heard)
    }

    /// Waits until everything was heard by everybody, and acknowledged.
    pub async fn quiet(&self) -> Result<(), String> {
        let all = async {
            while self.round.waiting.get() > 0 || self.round.missing.get() > 0 {
                self.round.quiet.notified().await;
            }
        };
        let (waiting, missing) = (&self.round.waiting, &self.round.missing);
        let late = |_| format!("{} answers and {} deliveries did not come", waiting.get(), missing.get());
        timeout(HEARD_WITHIN, all).await.map_err(late)
    }
}
