#!/usr/bin/python3
"""Prints the facts that Holdfast tells a service, one line each, and says when some were lost.

    subscribe_facts.py --url amqp://holdfast-intake-billing:PASSWORD@broker:5672/holdfast --state facts.json

Needs python3-pika and python3-protobuf. Each project numbers its facts from 1. A number that is left out is a fact that was
dropped because the queue was full: ask the REST API how things stand. A number may come twice, as after a reconnect, and in
rare cases late, after it was told to be lost.
"""
import argparse, collections, json, os, pathlib, sys, time
import pika, pika.exceptions
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--url", default=os.environ.get("HOLDFAST_INTAKE_URL"), help="better in the environment: HOLDFAST_INTAKE_URL")
args.add_argument("--state", type=pathlib.Path, help="keeps the last number of each project over restarts")
args = args.parse_args()

pool = descriptor_pool.DescriptorPool()
golden = pathlib.Path(__file__).resolve().parent.parent / "proto" / "holdfast.binpb"
for file in descriptor_pb2.FileDescriptorSet.FromString(golden.read_bytes()).file:
    pool.Add(file)
descriptor = pool.FindMessageTypeByName("holdfast.evt.v1.Fact")
newer = getattr(message_factory, "GetMessageClass", None)  # since protobuf 4.22
Fact = newer(descriptor) if newer else message_factory.MessageFactory(pool).GetPrototype(descriptor)
seen = collections.defaultdict(lambda: collections.deque(maxlen=1000))  # by project
last = json.loads(args.state.read_text()) if args.state and args.state.exists() else {}


def on_message(channel, delivery, properties, body):
    if properties.type == "holdfast.evt.v1.Fact":  # answers to submitted jobs come here too, if they are asked for here
        fact = Fact.FromString(body)
        known = last.setdefault(fact.project_id, fact.sequence - 1)  # a new subscriber begins anywhere
        if fact.sequence > known + 1:
            print("lost", fact.project_id, f"{known + 1}-{fact.sequence - 1}", flush=True)
        if fact.sequence not in seen[fact.project_id]:
            print("fact", fact.project_id, fact.sequence, f"{fact.kind}.{fact.fact}", fact.object_id, fact.code, flush=True)
            seen[fact.project_id].append(fact.sequence)
        last[fact.project_id] = max(known, fact.sequence)
        if args.state:
            fresh = args.state.with_suffix(".new")
            fresh.write_text(json.dumps(last))
            fresh.replace(args.state)
    channel.basic_ack(delivery.delivery_tag)  # only now: a crash before this brings the fact again


url, pause = pika.URLParameters(args.url), 1
queue = "holdfast.q.sub." + url.credentials.username.removeprefix("holdfast-intake-")
while True:
    try:
        channel = pika.BlockingConnection(url).channel()
        channel.basic_qos(prefetch_count=50)
        channel.basic_consume(queue, on_message)
        print("connected", flush=True)
        pause = 1
        channel.start_consuming()
    except pika.exceptions.AMQPError as error:
        print(f"no connection, again in {pause} s: {error!r}", file=sys.stderr, flush=True)
        time.sleep(pause)
        pause = min(pause * 2, 30)
