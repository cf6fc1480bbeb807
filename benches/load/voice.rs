//! One connection of somebody who has signed in and hears a conversation.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use crate::side::Side;
use crate::speech::{self, Heard, Place};
use crate::wire::{self, Incoming, Outgoing};

/// Whoever speaks on it.
pub struct Voice {
    pub conversation: usize,
    pub epoch: Cell<i64>,
    /// Entries of the conversation that were heard.
    pub heard: Cell<usize>,
    pub outgoing: Outgoing,
    /// Own messages under way, and what of both is still to come: the answer, the message itself.
    pub waiting: RefCell<Vec<Waiting>>,
    joined: Cell<bool>,
}

pub struct Waiting {
    pub number: u64,
    pub since: Instant,
    /// What was sent.
    pub text: String,
    pub acked: bool,
    pub heard: bool,
}

/// Where somebody goes on who has been here before.
#[derive(Clone, Copy)]
pub struct Left {
    /// Epoch and place of what was heard last.
    pub at: (i64, i64),
    /// Entries that were heard.
    pub heard: usize,
}

/// Opens a socket for one of the people, signs in and joins their conversation, from where they left or from its end.
/// What was missed goes to `early`.
pub async fn join(
    side: &Side,
    nth: usize,
    left: Option<Left>,
    mut early: impl FnMut(&Voice, &[u8]) -> Result<(), String>,
) -> Result<(Incoming, Voice), String> {
    let speech = side.speech;
    let conversation = nth / side.scene.members;
    let (mut incoming, outgoing) = wire::open(side.address, speech.path()).await?;
    let stream = side.conversations[conversation].clone();
    let hello = speech.connect(&side.folk.token(nth)?, &[Place { stream: stream.clone(), at: left.map(|it| it.at) }]);
    if !speech.waits() {
        outgoing.say(&[&hello])?;
    }
    let voice = Voice {
        conversation,
        epoch: Cell::new(1),
        heard: Cell::new(left.map_or(0, |it| it.heard)),
        outgoing,
        waiting: RefCell::default(),
        joined: Cell::new(false),
    };
    while !voice.joined.get() {
        incoming
            .hear(|text| {
                match speech.read(text) {
                    Heard::Open => voice.outgoing.say(&[&hello])?,
                    Heard::Resumed(of) if of.is_empty() || of == stream.as_bytes() => {
                        let epoch = speech::number(text, br#""epoch":"#).and_then(|it| i64::try_from(it).ok());
                        voice.epoch.set(epoch.unwrap_or(1));
                        voice.joined.set(true);
                    }
                    Heard::Refused(why) => return Err(format!("not let in: {why}")),
                    Heard::Later(_) => return Err("not let in now".to_owned()),
                    Heard::Event => early(&voice, text)?,
                    Heard::Ping => voice.outgoing.say(&[speech.pong()])?,
                    _ => {}
                }
                Ok(())
            })
            .await?;
    }
    Ok((incoming, voice))
}
