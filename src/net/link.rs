//! The driver of one link: it moves calls, bytes and time between a connection and its machine.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    sync::mpsc,
    time::{Sleep, sleep_until},
};

use super::{
    clock::Clock,
    dial::{Dialed, dial},
    mailbox::ReplyTo,
    transport::{BoxFuture, Stream, Transport},
};
use crate::{
    engine::{
        conn::{Count, Effect, Link, Place},
        machine::Call,
    },
    error::Result,
    metrics::LinkMeter,
    wire::codec::Segments,
};

/// What a link is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Make this call.
    Call(Box<Call>, ReplyTo),
    /// The broker is there now.
    Move(Place),
}

/// The parts of a driver.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) link: Link<ReplyTo>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) clock: Clock,
    /// Told to others: whether there is a connection that can be used.
    pub(super) answers: Arc<AtomicBool>,
    pub(super) meter: LinkMeter,
}

impl Driver {
    /// Runs until the pool drops its end or nobody has used the link for long.
    pub(super) async fn run(mut self) {
        let mut io = Io::default();
        let mut timer = pin!(far_away());
        let mut armed: Option<Instant> = None;
        let mut retiring = false;
        loop {
            self.carry_out(&mut io);
            self.answers.store(self.link.is_answering(), Ordering::Relaxed);
            if cfg!(debug_assertions) {
                self.link.check();
            }
            if self.link.is_forgotten(self.clock.now()) {
                if retiring {
                    return;
                }
                // What was sent before the door closed is still taken.
                retiring = true;
                self.commands.close();
            }
            // A deadline that moved back lets the timer fire in vain once; that is cheaper than to set it each time.
            if let Some(deadline) = self.link.deadline()
                && armed.is_none_or(|armed| deadline < armed)
            {
                timer.as_mut().reset(deadline.into());
                armed = Some(deadline);
            }
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.take(command),
                    None if retiring => return,
                    None => {
                        self.link.shut();
                        return self.carry_out(&mut io);
                    }
                },
                event = io.next(&self.link) => self.handle(&mut io, event),
                () = &mut timer, if armed.is_some() => {
                    armed = None;
                    self.link.tick(self.clock.now());
                }
            }
        }
    }

    /// Takes a command and those behind it, so that they are written together.
    fn take(&mut self, command: Command) {
        let now = self.clock.now();
        let mut next = Some(command);
        while let Some(command) = next {
            match command {
                Command::Call(call, reply) => self.link.submit(now, *call, reply),
                Command::Move(place) => self.link.moved(now, place),
            }
            next = self.commands.try_recv().ok();
        }
    }

    fn handle(&mut self, io: &mut Io, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Dialed(Ok((stream, peer))) => {
                io.connection = Connection::Open(stream);
                self.meter.opened();
                self.link.dialed(now, Ok(peer));
            }
            Event::Dialed(Err(error)) => {
                io.connection = Connection::None;
                self.meter.could_not_open();
                self.link.dialed(now, Err(error));
            }
            Event::Wrote(count) => {
                self.meter.wrote(count);
                self.link.written(now, count);
            }
            Event::Read(count) => {
                self.meter.read(count);
                self.link.received(now, &mut io.input);
            }
            Event::Failed(error) => {
                let in_frame = !io.input.is_empty();
                io.connection = Connection::None;
                self.meter.closed();
                self.link.closed(now, &error, in_frame);
            }
        }
    }

    fn carry_out(&mut self, io: &mut Io) {
        for effect in self.link.effects() {
            match effect {
                Effect::Dial { address, attempt } => {
                    let dialing = dial(Arc::clone(&self.transport), address, attempt);
                    *io = Io { connection: Connection::Dialing(Box::pin(dialing)), ..Io::default() };
                }
                Effect::Close => {
                    if matches!(io.connection, Connection::Dialing(_)) {
                        self.meter.could_not_open();
                    }
                    *io = Io::default();
                    self.meter.closed();
                }
                Effect::Done(reply, outcome) => {
                    if outcome.is_err() {
                        self.meter.failed();
                    }
                    reply.send(outcome);
                }
                Effect::Count(Count::Sent) => self.meter.sent(),
                Effect::Count(Count::Answered { latency, throttle }) => {
                    self.meter.answered(latency, throttle);
                }
                Effect::Count(Count::Unanswered(count)) => self.meter.unanswered(count),
            }
        }
    }
}

/// The connection and what was read from it.
#[derive(Default)]
struct Io {
    connection: Connection,
    input: BytesMut,
    unflushed: bool,
}

#[derive(Default)]
enum Connection {
    #[default]
    None,
    Dialing(BoxFuture<'static, Result<Dialed>>),
    Open(Box<dyn Stream>),
}

enum Event {
    Dialed(Result<Dialed>),
    Wrote(usize),
    /// There is so much more in the input.
    Read(usize),
    /// The connection is gone.
    Failed(io::Error),
}

impl Io {
    /// Waits for the next thing to happen on the connection. Dropping the future loses nothing.
    async fn next(&mut self, link: &Link<ReplyTo>) -> Event {
        poll_fn(|cx| self.poll_next(cx, link)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, link: &Link<ReplyTo>) -> Poll<Event> {
        let stream = match &mut self.connection {
            Connection::None => return Poll::Pending,
            Connection::Dialing(dialing) => return dialing.as_mut().poll(cx).map(Event::Dialed),
            Connection::Open(stream) => stream,
        };
        let write = poll_write(stream, cx, link.outgoing(), &mut self.unflushed);
        if let Poll::Ready(event) = write {
            return Poll::Ready(event.unwrap_or_else(Event::Failed));
        }
        let want = link.want(&self.input);
        if self.input.capacity().saturating_sub(self.input.len()) < want {
            self.input.reserve(want);
        }
        let read = pin!(stream.read_buf(&mut self.input));
        Poll::Ready(match ready!(read.poll(cx)) {
            Ok(0) => Event::Failed(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => Event::Read(count),
            Err(error) => Event::Failed(error),
        })
    }
}

/// Writes as much as the stream takes, in one call, without putting the pieces together first.
fn poll_write(
    stream: &mut Box<dyn Stream>,
    cx: &mut Context<'_>,
    outgoing: &Segments,
    unflushed: &mut bool,
) -> Poll<io::Result<Event>> {
    const SLICES: usize = 64;
    if !outgoing.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = outgoing.chunks_vectored(&mut slices);
        let slices = slices.get(..count).unwrap_or_default();
        let written = ready!(Pin::new(stream).poll_write_vectored(cx, slices))?;
        *unflushed = true;
        return Poll::Ready(match written {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(Event::Wrote(count)),
        });
    }
    if *unflushed {
        ready!(Pin::new(stream).poll_flush(cx))?;
        *unflushed = false;
    }
    Poll::Pending
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: it waits for its machine's deadlines")]
fn far_away() -> Sleep {
    sleep_until(tokio::time::Instant::now() + Duration::from_secs(24 * 3600))
}
