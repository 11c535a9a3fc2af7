"""What SNS puts into a queue that is subscribed to a topic."""

import base64
import json
import time
import uuid

ACCOUNT = "123456789012"
SUBSCRIPTION = "2b9c3d4e-5f60-4718-8293-a4b5c6d7e8f9"
CERTIFICATE = "SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
DUMMY_SIGNATURE = base64.b64encode(b"a stand-in signs nothing").decode()


class Topic:
    def __init__(self, name, region, clock=time.time):
        self.arn = f"arn:aws:sns:{region}:{ACCOUNT}:{name}"
        self.host = f"https://sns.{region}.amazonaws.com"
        self.clock = clock

    def envelope(self, message, subject=None, message_id=None):
        members = {
            "Type": "Notification",
            "MessageId": message_id or str(uuid.uuid4()),
            "TopicArn": self.arn,
            "Subject": subject,
            "Message": message,
            "Timestamp": milliseconds(self.clock()),
            "SignatureVersion": "1",
            "Signature": DUMMY_SIGNATURE,
            "SigningCertURL": f"{self.host}/{CERTIFICATE}",
            "UnsubscribeURL": f"{self.host}/?Action=Unsubscribe&SubscriptionArn={self.arn}:{SUBSCRIPTION}",
        }
        return indented({name: value for name, value in members.items() if value is not None})


def milliseconds(seconds):
    whole = int(seconds)
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{date}.{int((seconds - whole) * 1000):03d}Z"


def indented(members):
    """AWS's own layout: two blanks of indent and a blank on either side of the colon."""
    lines = [f"  {json.dumps(name)} : {json.dumps(value, ensure_ascii=False)}" for name, value in members.items()]
    return "{\n" + ",\n".join(lines) + "\n}"
