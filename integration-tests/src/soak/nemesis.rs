//! Who kills. It draws what it does next from the seed, whatever became of what it did before, so that one seed gives one
//! schedule on machines that are quick enough; what cannot be done to a process that is down already is passed over.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustix::process::Signal;

use super::account::Account;
use crate::process::Process;
use crate::world::World;

/// A service drains for 20 s at most.
const STOP_DEADLINE: Duration = Duration::from_secs(40);
/// After an end that nobody asked for, as systemd does.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Whom it happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Controller,
    Dmapi,
    DatamoverA,
    DatamoverB,
}

const VICTIMS: [Victim; 4] = [Victim::Controller, Victim::Dmapi, Victim::DatamoverA, Victim::DatamoverB];

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Act {
    Kill(Victim, Duration),
    KillAll(Duration),
    Stop(Victim, Duration),
    Freeze(Victim, Duration),
    KillBroker(Duration),
    RestartBroker,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Up,
    Down { until: Instant },
    Stopping { since: Instant, pause: Duration },
    Frozen { until: Instant },
}

/// The one.
pub(super) struct Nemesis {
    rng: StdRng,
    states: BTreeMap<Victim, State>,
    broker_down_until: Option<Instant>,
    next: Instant,
    storm_until: Instant,
    finds_controller: bool,
}

impl Nemesis {
    pub(super) fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            rng: StdRng::seed_from_u64(seed),
            states: VICTIMS.map(|victim| (victim, State::Up)).into(),
            broker_down_until: None,
            next: now + Duration::from_secs(3),
            storm_until: now + Duration::from_secs(30),
            finds_controller: false,
        }
    }

    /// Does what is due: acts, unless `calm`, and brings back what was taken down.
    pub(super) fn tick(&mut self, world: &mut World, account: &mut Account, calm: bool) -> Result<()> {
        let now = Instant::now();
        for victim in VICTIMS {
            self.look_after(victim, world, account, now)?;
        }
        if self.finds_controller && world.find_controller()? {
            self.finds_controller = false;
        }
        if self.broker_down_until.is_some_and(|until| now >= until) {
            self.resume_all_frozen(world)?;
            world.with_broker(async |broker| broker.resume().await)?;
            self.broker_down_until = None;
        }
        if !calm && now >= self.next {
            let act = self.draw();
            self.next = now + self.draw_pause(now);
            self.act(act, world, account)?;
        }
        Ok(())
    }

    /// Whether everything runs.
    pub(super) fn is_at_rest(&self) -> bool {
        let up = |state: &State| matches!(state, State::Up);
        self.broker_down_until.is_none() && !self.finds_controller && self.states.values().all(up)
    }

    /// Whether the broker can be asked.
    pub(super) const fn broker_is_up(&self) -> bool {
        self.broker_down_until.is_none()
    }

    /// Storms of half a minute and calms as long as some leases: without a calm no lease would ever be judged.
    fn draw_pause(&mut self, now: Instant) -> Duration {
        if now < self.storm_until {
            return Duration::from_millis(self.rng.random_range(500..5_000));
        }
        let calm = Duration::from_millis(self.rng.random_range(8_000..22_000));
        self.storm_until = now + calm + Duration::from_millis(self.rng.random_range(10_000..40_000));
        calm
    }

    fn draw(&mut self) -> Act {
        let victim = VICTIMS[self.rng.random_range(0..VICTIMS.len())];
        let short = Duration::from_millis(self.rng.random_range(0..3_000));
        // The lease of this world is 8 s.
        let past_lease = Duration::from_millis(self.rng.random_range(9_000..13_000));
        match self.rng.random_range(0..100) {
            0..44 => Act::Kill(victim, short),
            44..52 => Act::Kill(victim, past_lease),
            52..58 => Act::KillAll(short),
            58..70 => Act::Stop(victim, short),
            70..80 => Act::Freeze(victim, short),
            80..90 => Act::Freeze(victim, past_lease),
            90..96 => Act::KillBroker(short),
            _ => Act::RestartBroker,
        }
    }

    fn act(&mut self, act: Act, world: &mut World, account: &mut Account) -> Result<()> {
        match act {
            Act::Kill(victim, pause) => self.kill(victim, pause, world, account)?,
            Act::KillAll(pause) => {
                for victim in VICTIMS {
                    self.kill(victim, pause, world, account)?;
                }
            }
            Act::Stop(victim, pause) if self.is_up(victim) => {
                process(world, victim).signal(Signal::TERM)?;
                self.states.insert(victim, State::Stopping { since: Instant::now(), pause });
                account.count(format!("stopped {}", name(victim)));
            }
            Act::Freeze(victim, length) if self.is_up(victim) => {
                process(world, victim).signal(Signal::STOP)?;
                self.states.insert(victim, State::Frozen { until: Instant::now() + length });
                account.count(format!("frozen {}", name(victim)));
            }
            Act::Stop(..) | Act::Freeze(..) => {}
            Act::KillBroker(pause) if self.broker_is_up() => {
                account.sample_queues(world);
                world.with_broker(async |broker| broker.kill().await)?;
                self.broker_down_until = Some(Instant::now() + pause);
                account.count("killed broker".to_owned());
            }
            Act::RestartBroker if self.broker_is_up() => {
                account.sample_queues(world);
                self.resume_all_frozen(world)?;
                world.with_broker(async |broker| broker.restart().await)?;
                account.count("stopped broker".to_owned());
            }
            Act::KillBroker(_) | Act::RestartBroker => {}
        }
        Ok(())
    }

    fn kill(
        &mut self,
        victim: Victim,
        pause: Duration,
        world: &mut World,
        account: &mut Account,
    ) -> Result<()> {
        if self.is_up(victim) {
            process(world, victim).kill()?;
            self.states.insert(victim, State::Down { until: Instant::now() + pause });
            account.count(format!("killed {}", name(victim)));
        }
        Ok(())
    }

    fn is_up(&self, victim: Victim) -> bool {
        matches!(self.states[&victim], State::Up)
    }

    fn look_after(
        &mut self,
        victim: Victim,
        world: &mut World,
        account: &mut Account,
        now: Instant,
    ) -> Result<()> {
        let next = match self.states[&victim] {
            State::Up => {
                let Some(status) = process(world, victim).ended()? else { return Ok(()) };
                account.find(format!("{} ended by itself: {status}", name(victim)));
                State::Down { until: now + RESTART_PAUSE }
            }
            State::Down { until } if now >= until => {
                self.start(victim, world)?;
                State::Up
            }
            State::Stopping { since, pause } => match process(world, victim).ended()? {
                Some(status) if status.success() || !has_begun(process(world, victim), status) => {
                    State::Down { until: now + pause }
                }
                Some(status) => {
                    account.find(format!("{} was asked to stop and ended with {status}", name(victim)));
                    State::Down { until: now + pause }
                }
                None if now > since + STOP_DEADLINE => {
                    account.find(format!("{} did not stop in {STOP_DEADLINE:?}", name(victim)));
                    process(world, victim).kill()?;
                    State::Down { until: now }
                }
                None => return Ok(()),
            },
            State::Frozen { until } if now >= until => {
                process(world, victim).signal(Signal::CONT)?;
                State::Up
            }
            State::Down { .. } | State::Frozen { .. } => return Ok(()),
        };
        self.states.insert(victim, next);
        Ok(())
    }

    fn start(&mut self, victim: Victim, world: &mut World) -> Result<()> {
        if victim == Victim::Controller {
            self.finds_controller = true;
            return world.start_controller();
        }
        process(world, victim).start_again()
    }

    /// The broker takes seconds to start, and nobody would go on meanwhile.
    fn resume_all_frozen(&mut self, world: &mut World) -> Result<()> {
        for victim in VICTIMS {
            if let State::Frozen { .. } = self.states[&victim] {
                process(world, victim).signal(Signal::CONT)?;
                self.states.insert(victim, State::Up);
            }
        }
        Ok(())
    }
}

/// Whether a stopped service had come so far as to hear the signal: one that is stopped in the moment of its start ends by it,
/// as any program does.
fn has_begun(process: &Process, status: ExitStatus) -> bool {
    status.signal() != Some(Signal::TERM.as_raw()) || process.log_of_this_life().contains(" runs")
}

const fn name(victim: Victim) -> &'static str {
    match victim {
        Victim::Controller => "controller",
        Victim::Dmapi => "dmapi",
        Victim::DatamoverA | Victim::DatamoverB => "datamover",
    }
}

fn process(world: &mut World, victim: Victim) -> &mut Process {
    let mut datamovers = world.datamovers.values_mut();
    match victim {
        Victim::Controller => &mut world.controller,
        Victim::Dmapi => &mut world.dmapi,
        Victim::DatamoverA => datamovers.next().expect("the world has two hosts"),
        Victim::DatamoverB => datamovers.nth(1).expect("the world has two hosts"),
    }
}
