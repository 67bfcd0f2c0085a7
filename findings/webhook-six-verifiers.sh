#!/bin/sh
# One signed webhook, six verifiers of the same standard: they disagree on secrets, time stamps and broken headers.
#
# Guess: Standard Webhooks is one format. Its reference libraries (Python, JavaScript), Svix's two and OpenAI's two
#   accept the same deliveries, and refuse others with their own error class, so that a receiver answers 400.
# What happens, each with a right HMAC over `id.timestamp.body`:
#   * a secret without the prefix `whsec_` is base64 to Svix and the reference, and plain bytes to OpenAI's SDKs;
#   * base64 without padding: openai for Python raises binascii.Error, the other five accept it;
#   * URL-safe base64: only openai for Node accepts it. The Python libraries drop `-` and `_`, so the key is another
#     one and nothing says so; the reference for JavaScript raises an Error of another kind;
#   * a header of two signatures with two blanks between them (or any word without a comma): the Python reference and
#     Svix's Python library raise ValueError, so a forged header makes a receiver answer 500; the others accept it;
#   * a time stamp with a fraction: openai for Node accepts it, all others refuse.
# Why it matters: a service that signs webhooks should give out secrets as `whsec_` and padded standard base64 of a
#   length that is a multiple of 3 (24 bytes: no padding at all), a whole-number time stamp and single blanks. A
#   receiver must catch ValueError besides the library's own error.
#
# Found with standardwebhooks 1.1.0, svix 2.9.1, openai 3.57.0 (Python), standardwebhooks 1.1.1, svix 2.5.0 and openai
# 7.59.0 (JavaScript) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq standardwebhooks==1.1.0 svix==2.9.1 openai==3.57.0
npm init -y >npm.log
npm install --silent --no-audit --no-fund standardwebhooks@1.1.1 svix@2.5.0 openai@7.59.0 >>npm.log
cat >make.py <<'END'
"""Write deliveries.json: a list of {name, secret, headers, body}, all rightly signed with one key."""
import base64
import hashlib
import hmac
import json
import time

KEY = b"\xfb\xff\xbe" + b"0123456789abcdefghijkl"  # its base64 has "+", "/" and padding
BODY = json.dumps({"id": "evt_1", "type": "job.completed", "data": {"id": "job_1"}})
standard = base64.b64encode(KEY).decode()
now = str(int(time.time()))


def delivery(name, secret, *, timestamp=now, header="v1,{}"):
    mac = hmac.new(KEY, f"msg_1.{timestamp}.{BODY}".encode(), hashlib.sha256).digest()
    signature = header.format(base64.b64encode(mac).decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": signature}
    return {"name": name, "secret": secret, "headers": headers, "body": BODY}


url_safe = base64.urlsafe_b64encode(KEY).decode()
deliveries = [
    delivery("plain", "whsec_" + standard),
    delivery("no prefix", standard),
    delivery("no padding", "whsec_" + standard.rstrip("=")),
    delivery("URL-safe", "whsec_" + url_safe),
    delivery("unknown version beside it", "whsec_" + standard, header="v1a,AAAA v1,{}"),
    delivery("two blanks", "whsec_" + standard, header="v1,AAAA  v1,{}"),
    delivery("fraction of a second", "whsec_" + standard, timestamp=now + ".25"),
]
with open("deliveries.json", "w") as file:
    json.dump(deliveries, file)
END
cat >verify.py <<'END'
import importlib.metadata
import json

import openai
import standardwebhooks
import svix

client = openai.OpenAI(api_key="key")
verifiers = {
    "reference": lambda d: standardwebhooks.Webhook(d["secret"]).verify(d["body"], d["headers"]),
    "svix": lambda d: svix.Webhook(d["secret"]).verify(d["body"], d["headers"]),
    "openai": lambda d: client.webhooks.verify_signature(d["body"], d["headers"], secret=d["secret"]),
}
own = (standardwebhooks.WebhookVerificationError, svix.WebhookVerificationError, openai.InvalidWebhookSignatureError)


def outcome(verify, delivery):
    try:
        verify(delivery)
    except own:
        return "refused"
    except Exception as error:
        return type(error).__name__
    return "accepted"


for name in ("standardwebhooks", "svix", "openai"):
    print("python", name, importlib.metadata.version(name))
for delivery in json.load(open("deliveries.json")):
    print("python", delivery["name"] + ":", {name: outcome(verify, delivery) for name, verify in verifiers.items()})
END
cat >verify.mjs <<'END'
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';
import * as reference from 'standardwebhooks';
import * as svix from 'svix';

const client = new OpenAI({ apiKey: 'key' });
const verifiers = {
  reference: d => new reference.Webhook(d.secret).verify(d.body, d.headers),
  svix: d => new svix.Webhook(d.secret).verify(d.body, d.headers),
  openai: d => client.webhooks.verifySignature(d.body, d.headers, d.secret),
};
const own = [reference.WebhookVerificationError, svix.WebhookVerificationError, OpenAI.InvalidWebhookSignatureError];

async function outcome(verify, delivery) {
  try {
    await verify(delivery);
    return 'accepted';
  } catch (error) {
    return own.some(kind => kind && error instanceof kind) ? 'refused' : error.constructor.name;
  }
}

for (const name of ['standardwebhooks', 'svix', 'openai'])
  console.log('node', name, JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version);
for (const delivery of JSON.parse(readFileSync('deliveries.json'))) {
  const outcomes = [];
  for (const [name, verify] of Object.entries(verifiers)) outcomes.push(`'${name}': '${await outcome(verify, delivery)}'`);
  console.log(`node ${delivery.name}: {${outcomes.join(', ')}}`);
}
END
venv/bin/python make.py
{ venv/bin/python verify.py && node verify.mjs; } | tee seen.txt
expect() { grep -qxF "$1: {'reference': '$2', 'svix': '$3', 'openai': '$4'}" seen.txt || { echo "not so: $*"; exit 1; }; }
for language in python node; do
    expect "$language plain" accepted accepted accepted
    expect "$language unknown version beside it" accepted accepted accepted
    expect "$language no prefix" accepted accepted refused
done
expect "python no padding" accepted accepted Error
expect "node no padding" accepted accepted accepted
expect "python URL-safe" refused refused refused
expect "node URL-safe" Error Error accepted
expect "python two blanks" ValueError ValueError accepted
expect "node two blanks" accepted accepted accepted
expect "python fraction of a second" refused refused refused
expect "node fraction of a second" refused refused accepted
echo "as found: six verifiers of one standard agree on the plain delivery only"
