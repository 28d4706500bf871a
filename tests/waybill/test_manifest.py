"""`waybill manifest`, and the script of the README that makes a batch's digest of it."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from models import database, files
from tests.conftest import Caller
from tests.uploads import file_of
from tests.waybill.commands import Cli

SEAL = "mutation($id: String!) { sealBatch(input: {batchId: $id}) { batch { digest } } }"
CREATE = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { uploads { id } } }"
TEXTS = ["", "\u20ac", "\U0001f600", "\uffff", "\t\n\r\b\f\x01\x1f\x7f", '"\\/', "\u2028\u0085", "é", "e\u0301", "~"]


def script() -> str:
    texts = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)
    [text] = [text for text in texts if "hashlib" in text]
    return str(text)


def digest_of(manifest: bytes) -> str:
    return subprocess.run(
        [sys.executable, "-c", script()], input=manifest, capture_output=True, check=True
    ).stdout.decode()


@pytest.fixture
async def objects(admin: Caller) -> list[str]:
    """Of a batch "letters", their ids, in the order in which they were made; their files are complete."""
    data = [{"key": f"k{text}", "value": text} for text in TEXTS]
    given: list[dict[str, Any]] = [{"objectId": f"a{text}", "data": data[n:]} for n, text in enumerate(TEXTS)]
    given += [{"objectId": f"{n}", "file": file_of(b"x", proved=n % 2 == 0)} for n in range(200)]
    await admin.execute(CREATE, input={"batchId": "letters", "objects": given})
    # As if their bytes had been sent and proved.
    rows = await database.fetch("SELECT id FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    await files.settle(admin.tenant.id, [row["id"] for row in rows])
    return [one["objectId"] for one in given]


def test_script_of_the_readme_makes_the_digest_of_the_manifest(cli: Cli, objects: list[str]) -> None:
    before = cli.run("manifest", "letters")
    assert "not sealed" in before.stderr
    digest = cli.post(SEAL, id="letters")["sealBatch"]["batch"]["digest"]
    after = cli.run("manifest", "letters")
    assert (after.stdout, after.stderr, after.exit_code) == (before.stdout, "", 0)
    manifest = after.stdout.encode()
    assert digest_of(manifest) == f"{digest}\n"
    lines = [(orjson.loads(line)["objectId"], line) for line in manifest.split(b"\n")[:-1]]
    assert [object_id for object_id, _ in lines] == objects
    # The lines are the canonical ones already.
    assert hashlib.sha256(b"".join(line + b"\n" for _, line in sorted(lines))).hexdigest() == digest


def test_line_of_the_readme_is_as_the_command_prints_it(cli: Cli) -> None:
    [line] = re.findall(r"```json\n(\{\"data\".*\n)```", (Path(__file__).parents[2] / "README.md").read_text())
    one = orjson.loads(line)
    assert orjson.dumps(one, option=orjson.OPT_SORT_KEYS).decode() + "\n" == line
    file = {"name": "a.txt", "contentType": "text/plain", "size": 6}
    assert one["file"] == {**file, "sha256": None}
    given = {"objectId": one["objectId"], "data": one["data"], "file": file}
    cli.post(CREATE, input={"batchId": "letters", "objects": [given]})
    assert cli.run("manifest", "letters").stdout == line


def test_manifest_of_no_batch_says_so(cli: Cli) -> None:
    result = cli.run("manifest", "none")
    assert (result.exit_code, result.stdout) == (1, "")
    assert 'There is no batch "none"' in result.stderr
