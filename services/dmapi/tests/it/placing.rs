use bus::{Envelope, header};
use bus_config::{exchange, key, queue, user};
use model::MessageId;
use proto::cmd::v1::{FreezeGuest, TransferDisk, VerifyManifest};
use proto::common::v1::{ErrorClass, placement::At};
use runtime::Entropy;

use crate::bench::{Bench, envelope, job_header, next, next_failure, placed};

fn freeze(at: At) -> FreezeGuest {
    FreezeGuest {
        header: job_header(),
        placement: placed(at),
        instance_id: String::new(),
        freeze_duration_max_ms: 9,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_the_host_or_pool_untouched_with_dmapi_as_their_sender() {
    let bench = Bench::start().await;
    let (_mover, mut jobs) = bench.start_mover(&queue::mover_host(&bench.host)).await;
    let (_pool_mover, mut pool_jobs) = bench.start_mover("holdfast.q.mover.pool.default").await;

    let transfer = TransferDisk {
        header: job_header(),
        placement: placed(At::InstanceId(bench.instance.to_string())),
        // A field that dmapi does not read must arrive as it was.
        sealed: vec![1, 2, 3],
        ..TransferDisk::default()
    };
    let by_host = freeze(At::Host(bench.host.to_string()));
    for (sent, verb) in [(envelope(&transfer), "transfer_disk"), (envelope(&by_host), "freeze_guest")] {
        bench.send(&sent).await;
        let got = next(&mut jobs).await;
        let expected = Envelope {
            user_id: Some(user::DMAPI.to_owned()),
            exchange: exchange::CMD.to_owned(),
            routing_key: key::mover_host(&bench.host, verb),
            ..sent
        };
        assert_eq!(*got.envelope(), expected);
        got.ack().await;
    }

    let verify = VerifyManifest {
        header: job_header(),
        placement: placed(At::TargetId(Entropy.uuid().to_string())),
        ..VerifyManifest::default()
    };
    let sent = envelope(&verify);
    bench.send(&sent).await;
    let got = next(&mut pool_jobs).await;
    assert_eq!(got.routing_key(), "mover.pool.default.verify_manifest");
    assert_eq!(got.envelope().body, sent.body);
    got.ack().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_placed_is_answered_with_what_to_do() {
    let bench = Bench::start().await;
    let mut replies = bench.replies();

    let nobody = freeze(At::InstanceId(Entropy.uuid().to_string()));
    bench.send(&envelope(&nobody)).await;
    let (failed, error) = next_failure(&mut replies).await;
    assert_eq!((error.error_class(), error.code.as_str()), (ErrorClass::Permanent, "INSTANCE_NOT_FOUND"));
    assert_eq!(failed.header, nobody.header);
    assert!(failed.effect_free);

    bench.send(&envelope(&freeze(At::Host("node-9".to_owned())))).await;
    let (_, error) = next_failure(&mut replies).await;
    assert_eq!((error.error_class(), error.code.as_str()), (ErrorClass::Permanent, "HOST_NOT_ENROLLED"));
    assert!(error.message.contains("host add node-9"), "{}", error.message);

    let for_instance = freeze(At::InstanceId(bench.instance.to_string()));
    bench.send(&envelope(&for_instance)).await;
    let (failed, error) = next_failure(&mut replies).await;
    assert_eq!((error.error_class(), error.code.as_str()), (ErrorClass::Transient, "DATAMOVER_NOT_RUNNING"));
    assert!(error.message.contains("node-1.example"), "{}", error.message);
    assert!(failed.effect_free);

    // A copy of this message may be with a datamover already: nothing is proved.
    bench.send(&envelope(&for_instance).with_header(header::REPUBLISHED, 1)).await;
    let (failed, _) = next_failure(&mut replies).await;
    assert!(!failed.effect_free);

    let volume = freeze(At::VolumeId(Entropy.uuid().to_string()));
    bench.send(&envelope(&volume)).await;
    let (_, error) = next_failure(&mut replies).await;
    assert_eq!((error.error_class(), error.code.as_str()), (ErrorClass::Permanent, "VOLUME_NOT_FOUND"));

    let faults = "[[fault]]\neffect = \"locate_instance\"\nfail = \"transient\"\n";
    std::fs::write(bench.dir.path().join("cloud/faults.toml"), faults).unwrap();
    bench.send(&envelope(&for_instance)).await;
    let (_, error) = next_failure(&mut replies).await;
    assert_eq!(error.error_class(), ErrorClass::Transient, "{}", error.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_host_said_it_does_not_know_is_not_forwarded_to_it() {
    let bench = Bench::start().await;
    let (_mover, mut jobs) = bench.start_mover(&queue::mover_host(&bench.host)).await;
    let mut replies = bench.replies();
    let mut command = freeze(At::InstanceId(bench.instance.to_string()));
    command.placement.as_mut().unwrap().hosts_too_old = vec!["node-9".to_owned(), bench.host.to_string()];
    bench.send(&envelope(&command)).await;
    let (failed, error) = next_failure(&mut replies).await;
    assert_eq!((error.error_class(), error.code.as_str()), (ErrorClass::Transient, "HOST_TOO_OLD"));
    assert!(failed.effect_free && error.message.contains("does not know freeze_guest"), "{}", error.message);
    // The others get it.
    command.placement.as_mut().unwrap().hosts_too_old = vec!["node-9".to_owned()];
    let known = envelope(&command);
    bench.send(&known).await;
    let delivery = next(&mut jobs).await;
    assert_eq!(delivery.envelope().message_id, known.message_id);
    delivery.ack().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_or_comes_from_a_stranger_is_a_dead_letter() {
    let bench = Bench::start().await;
    let (mover, mut jobs) = bench.start_mover(&queue::mover_host(&bench.host)).await;
    let good = freeze(At::Host(bench.host.to_string()));
    let id = || MessageId::from_uuid(Entropy.uuid());
    let garbage = Envelope::new(id(), "holdfast.cmd.v1.FreezeGuest", vec![0xff; 7]);
    let headless = envelope(&FreezeGuest { header: None, ..good.clone() });
    let unplaced = envelope(&FreezeGuest { placement: None, ..good.clone() });
    let evil_host = envelope(&freeze(At::Host("a.*.#/../b".to_owned())));
    for message in [garbage, headless, unplaced, evil_host] {
        bench.send(&message).await;
        assert_eq!(dead_letter(&bench, message.message_id).await.0, "M", "{message:?}");
    }
    // The broker stops a datamover from commanding; were its rights too wide, dmapi still would not obey it.
    let wide = bus_config::Role::Controller.permissions();
    let user = user::mover(&bench.host);
    bench.broker.admin().put_permissions(&user, &wide).await.unwrap();
    let foreign = envelope(&good);
    mover.publisher().publish(exchange::CMD, "dmapi.freeze_guest", &foreign).await.unwrap();
    assert!(dead_letter(&bench, foreign.message_id).await.1.starts_with("FOREIGN_USER"));

    // And it goes on.
    bench.send(&envelope(&good)).await;
    next(&mut jobs).await.ack().await;
}

/// The first letter and the text of the reason why this message is dead.
async fn dead_letter(bench: &Bench, id: MessageId) -> (String, String) {
    let queue = queue::dead(bus_config::Class::Dmapi);
    let accept_from = bus::AcceptFrom::AnyUser;
    let mut consumer = bench.controller.consume(bus::Consume { queue, prefetch: 8, accept_from });
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.envelope().message_id, id);
    let reason = delivery.envelope().header(header::DEAD_REASON).unwrap().to_owned();
    delivery.ack().await;
    let kind = if reason.starts_with("UNDECODABLE") || reason.starts_with("MALFORMED") { "M" } else { "" };
    (kind.to_owned(), reason)
}
