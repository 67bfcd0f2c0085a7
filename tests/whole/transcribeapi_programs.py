"""Programs of customers of TranscribeAPI's packages, for Python and Node.js. Each prints JSON."""

OLDER_PROGRAM = """
import json, sys
from transcribe_api import TranscribeAPI
base, key, hello, hola, url = sys.argv[1:]
client = TranscribeAPI(api_key=key, base_url=base + "/")
shown = {}
shown["one"] = client.transcribe(file=hello, language="en", vtt_granularity="sentence")
shown["all"] = client.transcribe(
    file=hello, language="en-US", task="transcribe", vad_filter=True, initial_prompt="Hello", vtt_granularity="word",
    exclude=["segments"],
)
nearly_all = "vtt, segments, metadata,billing ,detected_language"
shown["bare"] = client.transcribe(file=hello, language="auto", exclude=nearly_all)
shown["bytes"] = client.transcribe(file=open(hello, "rb"))["text"]
shown["url"] = client.transcribe(file={"url": url})
shown["several"] = client.batch.transcribe(files=[hello, {"file": hola, "file_id": "hola"}, {"file": {"url": url}}])
shown["status"] = client.jobs.get(shown["several"]["job_id"])
try:
    client.transcribe(file=hello, language="klingon")
except AttributeError as error:
    shown["error"] = str(error)
print(json.dumps(shown))
"""


OLDER_BIG = """
import json, sys
from transcribe_api import TranscribeAPI
base, key, big = sys.argv[1:]
print(json.dumps(TranscribeAPI(api_key=key, base_url=base).transcribe(file=big)))
"""


NEWER_PROGRAM = """
import json, sys
from transcribe_api import TranscribeAPI, TranscribeAPIError
base, key, hello, hola, url = sys.argv[1:]
client = TranscribeAPI(apiKey=key, baseUrl=base, uploadConcurrency=4)
polling = TranscribeAPI(apiKey=key, baseUrl=base, polling={"interval": 10, "timeout": 120})
around = ["metadata", "billing", "detected_language"]
def failure(call):
    try:
        call()
    except TranscribeAPIError as error:
        return [error.status, error.code, str(error)]
def one(**options):
    return client.transcribe(files=[{"file": hello}], **options)
shown = {
    "one": client.transcribe(files=[{"file": hello, "reference_id": "call 7"}], language="EN"),
    "vtt": one(exclude="vtt"), "two": one(exclude=["vtt", "segments"]), "billing": one(exclude=" billing , metadata "),
    "text": one(exclude=["vtt", "segments", *around]), "only vtt": one(exclude=["text", "segments", *around]),
    "only segments": one(exclude=["text", "vtt", *around]),
    "url": client.transcribe(files=[{"url": url, "reference_id": "r"}]),
    "polled": polling.transcribe(files=[
        {"file": hello, "reference_id": "a"}, {"file": hola, "reference_id": "b", "language": "es"}, {"url": url},
    ], language="en"),
    "language": failure(lambda: one(language="xx")),
    "key": failure(lambda: TranscribeAPI(apiKey="no", baseUrl=base).transcribe(files=[{"file": hello}])),
    "field": failure(lambda: one(exclude="everything")),
    "job": failure(lambda: client.jobs.get("nobody")),
    "funds": failure(lambda: client.add_funds(10)),
    "late": None,
}
job = client.createBatchJob(files=[{"file": hello, "reference_id": "a"}])
job.upload()
print(json.dumps(shown))
"""


NEWER_BATCH = """
import json, sys
from transcribe_api import TranscribeAPI
base, key, folder, url, gone = sys.argv[1:]
files = [
    {"file": f"{folder}/{n:02}.wav", "reference_id": f"local_{n}", "language": ["es", "en"][n % 2]} for n in range(14)
]
files += [{"url": url, "reference_id": f"remote_{n}", "language": "en"} for n in range(14)]
files += [{"file": f"{folder}/broken.wav", "reference_id": "broken"}, {"url": gone, "reference_id": "gone"}]
client = TranscribeAPI(apiKey=key, baseUrl=base, uploadConcurrency=8)
print(json.dumps(client.transcribe(files=files, language="en")))
"""


NEWER_BIG = """
import json, sys
from transcribe_api import TranscribeAPI, TranscribeAPIError
base, key, big = sys.argv[1:]
client = TranscribeAPI(apiKey=key, baseUrl=base, uploadConcurrency=4)
job = client.createBigFileJob(file={"file": big, "reference_id": "big"})
try:
    print(json.dumps(job.upload()))
except TranscribeAPIError as error:
    shown = {"job_id": job.jobId, "code": error.code, "status": error.status}
    print(json.dumps({**shown, "uploads": job.createResponse["uploads"]}))
"""


HOOKED = """
import json, sys
from transcribe_api import TranscribeAPI
base, key, hello, hook = sys.argv[1:]
client = TranscribeAPI(apiKey=key, baseUrl=base)
one = client.transcribe(files=[{"file": hello}], webhookUrl=hook)
several = client.transcribe(files=[{"file": hello}, {"file": hello}], webhookUrl=hook)
print(json.dumps([one["job_id"], several["job_id"]]))
"""


SAVE_CARD = """
from accounts.models import Organization, User
from billing import topups
from billing.sandbox import payment_actions
from billing.sandbox.payment_actions import Outcome
from billing.sandbox.store import Store
from django.conf import settings

organization = Organization.objects.get(name={name!r})
checkout = topups.start_checkout(
    organization, amount_cents=500, person=organization.members.get(), save_card=True,
    success_url="http://localhost/", cancel_url="http://localhost/",
)
with Store(settings.STRIPE_SANDBOX_FILE).transaction() as state:
    payment_actions.pay_session(state, checkout.topup.checkout_session_id, outcome=Outcome("paid"), save_card=True)
assert topups.confirm(checkout.topup).is_paid
print(organization.saved_card)
"""


RELOADING = """
import json, sys
from transcribe_api import TranscribeAPI
base, key, hello = sys.argv[1:]
client = TranscribeAPI(apiKey=key, baseUrl=base, autoReload={"amount": 10, "if_balance_below": 1000})
results = [client.transcribe(files=[{"file": hello}], exclude="billing") for _ in range(3)]
print(json.dumps([result["remaining_balance"] for result in results]))
"""


NODE_PROGRAM = """
import { TranscribeAPI } from '@transcribe-api/sdk';
const [baseUrl, apiKey, hello, hola, url] = process.argv.slice(2);
const client = new TranscribeAPI({ apiKey, baseUrl: `${baseUrl}/`, uploadConcurrency: 4 });
const polling = new TranscribeAPI({ apiKey, baseUrl, polling: { interval: 10, timeout: 120 } });
const around = ['metadata', 'billing', 'detected_language'];
const one = (options) => client.transcribe({ files: [{ file: hello }], ...options });
const failure = async (call) => {
  try {
    await call();
  } catch (error) {
    return [error.status, error.code, error.message];
  }
};
const shown = {
  one: await client.transcribe({ files: [{ file: hello, reference_id: 'call 7' }], language: 'EN' }),
  vtt: await one({ exclude: 'vtt' }), two: await one({ exclude: ['vtt', 'segments'] }),
  billing: await one({ exclude: ' billing , metadata ' }),
  text: await one({ exclude: ['vtt', 'segments', ...around] }),
  'only vtt': await one({ exclude: ['text', 'segments', ...around] }),
  'only segments': await one({ exclude: ['text', 'vtt', ...around] }),
  url: await client.transcribe({ files: [{ url, reference_id: 'r' }] }),
  polled: await polling.transcribe({
    files: [
      { file: hello, reference_id: 'a' }, { file: hola, reference_id: 'b', language: 'es' }, { url, reference_id: 'c' },
    ],
    language: 'en',
  }),
  language: await failure(() => one({ language: 'xx' })),
  key: await failure(() => new TranscribeAPI({ apiKey: 'no', baseUrl }).transcribe({ files: [{ file: hello }] })),
  field: await failure(() => one({ exclude: 'everything' })),
  job: await failure(() => client.jobs.get('nobody')),
  funds: await failure(() => client.addFunds(10)),
};
console.log(JSON.stringify(shown));
"""


NODE_BATCH = """
import { TranscribeAPI } from '@transcribe-api/sdk';
const [baseUrl, apiKey, folder, url, gone] = process.argv.slice(2);
const files = [];
for (let n = 0; n < 14; n += 1) {
  const file = `${folder}/${String(n).padStart(2, '0')}.wav`;
  files.push({ file, reference_id: `local_${n}`, language: n % 2 ? 'en' : 'es' });
  files.push({ url, reference_id: `remote_${n}`, language: 'en' });
}
files.push({ file: `${folder}/broken.wav`, reference_id: 'broken' }, { url: gone, reference_id: 'gone' });
const client = new TranscribeAPI({ apiKey, baseUrl, uploadConcurrency: 8 });
console.log(JSON.stringify(await client.transcribe({ files, language: 'en' })));
"""


NODE_BIG = """
import { TranscribeAPI } from '@transcribe-api/sdk';
const [baseUrl, apiKey, big] = process.argv.slice(2);
const client = new TranscribeAPI({ apiKey, baseUrl, uploadConcurrency: 4 });
console.log(JSON.stringify(await client.transcribe({ files: [{ file: big, reference_id: 'big' }] })));
"""
