#!/usr/bin/python3
"""Asks Holdfast for a snapshot of a workload over RabbitMQ, and prints the answer.

    submit_snapshot.py --url amqp://holdfast-intake-billing:PASSWORD@broker:5672/holdfast \
        --project demo --workload 018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f --key invoice-2026-11

Needs python3-pika, and without --json python3-protobuf too. The same key twice is one job: after any error, call again with
the same key.
"""
import argparse, json, os, pathlib, sys, uuid
import pika

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--url", default=os.environ.get("HOLDFAST_INTAKE_URL"), help="better in the environment: HOLDFAST_INTAKE_URL")
args.add_argument("--project", required=True)
args.add_argument("--workload", required=True)
args.add_argument("--key", required=True)
args.add_argument("--full", action="store_true")
args.add_argument("--json", action="store_true", help="speak the schema's JSON instead of protobuf")
args = args.parse_args()


def message(name):
    """The class of a message, from the descriptor that is committed beside its sources."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    pool = descriptor_pool.DescriptorPool()
    golden = pathlib.Path(__file__).resolve().parent.parent / "proto" / "holdfast.binpb"
    for file in descriptor_pb2.FileDescriptorSet.FromString(golden.read_bytes()).file:
        pool.Add(file)
    descriptor = pool.FindMessageTypeByName(name)
    newer = getattr(message_factory, "GetMessageClass", None)  # since protobuf 4.22
    return newer(descriptor) if newer else message_factory.MessageFactory(pool).GetPrototype(descriptor)


if args.json:
    snapshot = {"workloadId": args.workload, "full": args.full}
    body = json.dumps({"idempotencyKey": args.key, "projectId": args.project, "snapshotWorkload": snapshot}).encode()
else:
    job = message("holdfast.intake.v1.SubmitJob")(idempotency_key=args.key, project_id=args.project)
    job.snapshot_workload.workload_id, job.snapshot_workload.full = args.workload, args.full
    body = job.SerializeToString()

url = pika.URLParameters(args.url)
connection = pika.BlockingConnection(url)
channel = connection.channel()
channel.confirm_delivery()  # an unroutable or refused message raises
answers = []
channel.basic_consume("amq.rabbitmq.reply-to", lambda *delivery: answers.append(delivery), auto_ack=True)
channel.basic_publish("holdfast.intake", "job.snapshot", body, pika.BasicProperties(
    content_type="application/json" if args.json else "application/x-protobuf",
    type="holdfast.intake.v1.SubmitJob", message_id=str(uuid.uuid4()), delivery_mode=2,
    user_id=url.credentials.username, reply_to="amq.rabbitmq.reply-to"), mandatory=True)
for _ in range(30):
    if not answers:
        connection.process_data_events(time_limit=1)
if not answers:
    sys.exit("no answer within 30 s; ask again with the same key")
_, _, properties, body = answers[0]
if args.json:
    answer = body.decode()
else:
    answer = message(properties.type)()
    answer.ParseFromString(body)
print(properties.type.rsplit(".", 1)[1], str(answer).replace("\n", " ").strip())
sys.exit(0 if properties.type.endswith(".Accepted") else 1)
