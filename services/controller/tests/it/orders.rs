//! Whatever the order of replies, with duplicates, failures, lost leases, lost commands and a cancel among them: a saga
//! ends, holds nothing, and leaves nothing unless it succeeded.

use std::collections::VecDeque;
use std::time::Duration;

use controller::engine::{Outcome, Verdict, Worker};
use model::Failure;
use proptest::prelude::*;
use runtime::Clock as _;

use crate::harness::{Harness, LEASE_TTL, Sent, host, user};

/// Choices of a run; each is a byte that picks a command and what becomes of it.
const CHOICE_COUNT: usize = 60;

struct Chaos {
    harness: Harness,
    pending: VecDeque<Sent>,
    saga_id: model::SagaId,
}

impl Chaos {
    async fn choose(&mut self, choice: u8) {
        self.pending.extend(self.harness.sent().await);
        let picked = usize::from(choice >> 3).checked_rem(self.pending.len());
        match (choice & 7, picked) {
            (0, _) => self.let_time_pass(Duration::from_secs(61)).await,
            (1, _) if choice == 0b1111_1001 => {
                // Refused when it comes too late.
                let _ = self.harness.engine.request_cancel(self.saga_id, &user()).await;
            }
            (1, _) => self.let_time_pass(LEASE_TTL + Duration::from_secs(1)).await,
            (_, None) => self.let_time_pass(Duration::from_secs(61)).await,
            (2, Some(index)) => {
                // The command is lost with its worker.
                let sent = self.pending.remove(index).unwrap();
                self.harness.accept(&sent).await;
            }
            (3, Some(index)) => {
                let sent = self.pending.remove(index).unwrap();
                self.harness.fail(&sent, Failure::transient("DRILL", "it passes")).await;
            }
            // Answered, and still in the queue: it comes again.
            (4, Some(index)) => self.do_command(&self.pending[index].clone()).await,
            (_, Some(index)) => {
                let sent = self.pending.remove(index).unwrap();
                self.do_command(&sent).await;
            }
        }
    }

    /// A worker works only on what it was granted or what is current.
    async fn do_command(&mut self, sent: &Sent) {
        if self.harness.accept(sent).await == Verdict::Taken {
            let answer = self.harness.world.carry_out(&sent.command);
            let worker = if sent.is_cloud() { Worker::Cloud } else { Worker::Mover(host("host-a")) };
            self.harness.end_as(sent, worker, Outcome::Succeeded(answer)).await;
        }
    }

    async fn let_time_pass(&self, duration: Duration) {
        self.harness.clock.advance(duration);
        let now = self.harness.clock.now();
        let mut tx = self.harness.catalog.read().await.unwrap();
        let (due, expired) =
            (tx.due_timers(now, 500).await.unwrap(), tx.expired_job_leases(now).await.unwrap());
        drop(tx);
        for job in &expired {
            self.harness.engine.lease_expired(job).await.unwrap();
        }
        for timer in due {
            self.harness.engine.timer_due(timer).await.unwrap();
        }
    }

    /// From here on nothing goes wrong.
    async fn come_to_an_end(&mut self) {
        for _ in 0..300 {
            self.pending.extend(self.harness.sent().await);
            while let Some(sent) = self.pending.pop_front() {
                self.do_command(&sent).await;
            }
            if self.harness.saga(self.saga_id).await.finished_at.is_some() {
                return;
            }
            self.let_time_pass(Duration::from_secs(700)).await;
        }
        let saga = self.harness.saga(self.saga_id).await;
        panic!("the saga does not end: {} {}", saga.phase, saga.state);
    }
}

async fn run(choices: &[u8]) {
    let harness = Harness::start().await;
    let (saga_id, _) = harness.start_snapshot().await;
    let mut chaos = Chaos { harness, pending: VecDeque::new(), saga_id };
    for choice in choices {
        chaos.choose(*choice).await;
    }
    chaos.come_to_an_end().await;
    let saga = chaos.harness.saga(saga_id).await;
    chaos.harness.assert_nothing_held().await;
    let things = chaos.harness.world.things();
    match saga.phase.as_str() {
        "compensated" => assert!(things.is_empty(), "left {things:?}"),
        "succeeded" => {
            let is_kept = |thing: &String| thing.starts_with("record") || thing.starts_with("transfer");
            assert!(things.iter().all(is_kept), "left {things:?}");
        }
        other => panic!("ended {other}"),
    }
    let events = chaos.harness.catalog.read().await.unwrap().list_saga_events(saga_id).await.unwrap();
    assert!(events.iter().zip(1..).all(|(event, sequence)| event.sequence == sequence));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_replies_ends_with_all_or_nothing(
        choices in proptest::collection::vec(any::<u8>(), 0..CHOICE_COUNT)
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(&choices));
    }
}
