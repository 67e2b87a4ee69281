"""What a service may send that no client of ours would: publishes messages as they are told, and takes what came.

    raw.py publish URL < MESSAGES     a JSON list of {key, body, properties}; prints one answer or error for each
    raw.py take URL QUEUE             prints the headers of all that waits in a queue, and forgets it
"""
import json, sys, uuid
import pika, pika.exceptions


def publish(url, messages):
    for message in messages:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        channel.confirm_delivery()
        answers = []
        channel.basic_consume("amq.rabbitmq.reply-to", lambda *delivery: answers.append(delivery), auto_ack=True)
        properties = {
            "message_id": str(uuid.uuid4()),
            "type": "holdfast.intake.v1.SubmitJob",
            "user_id": connection._impl.params.credentials.username,
            "reply_to": "amq.rabbitmq.reply-to",
            "delivery_mode": 2,
            **message["properties"],
        }
        properties = {name: value for name, value in properties.items() if value is not None}
        body = message["body"].encode() * message.get("times", 1)
        try:
            channel.basic_publish("holdfast.intake", message["key"], body, pika.BasicProperties(**properties), mandatory=True)
            waits = 60 if message.get("answer", True) else 0
            while waits > 0 and not answers:
                connection.process_data_events(time_limit=1)
                waits -= 1
            said = [{"type": it[2].type, "content_type": it[2].content_type, "body": it[3].decode(errors="replace")} for it in answers]
            print(json.dumps(said[0] if said else {"type": "none"}))
            connection.close()
        except (pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker) as error:
            print(json.dumps({"type": "refused", "code": error.reply_code, "body": error.reply_text}))


def take(url, queue):
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    while True:
        method, properties, _ = channel.basic_get(queue, auto_ack=True)
        if method is None:
            break
        print(json.dumps(properties.headers, default=str))


if sys.argv[1] == "publish":
    publish(sys.argv[2], json.load(sys.stdin))
else:
    take(sys.argv[2], sys.argv[3])
