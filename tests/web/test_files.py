"""A page of another origin puts a file straight to S3 and shows it, as front ends do."""

from typing import TYPE_CHECKING, Any

from tests.conftest import ORIGIN, Caller, served

if TYPE_CHECKING:  # to import it takes a second, in each of the processes that run tests
    from playwright.async_api import Browser, Route

PAGE = """<!doctype html><img id="shown"><script>
const ask = async (query, variables) => {
  const answer = await fetch(API, {method: "POST", body: JSON.stringify({query, variables}),
    headers: {"content-type": "application/json", authorization: "Bearer " + KEY}});
  return (await answer.json()).data;
};
const run = async () => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 7, height: 5});
  const bytes = await new Promise(done => canvas.toBlob(done, "image/png"));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await bytes.arrayBuffer()));
  const file = {name: "dot.png", contentType: "image/png", size: bytes.size,
    sha256: [...digest].map(byte => byte.toString(16).padStart(2, "0")).join("")};
  const made = await ask(`mutation($file: FileInput!) { createBatch(input: {batchId: "b", objects: [
    {objectId: "o", file: $file}]}) { uploads { id url headers { name value } } } }`, {file});
  const [upload] = made.createBatch.uploads;
  const headers = Object.fromEntries(upload.headers.map(header => [header.name, header.value]));
  const put = await fetch(upload.url, {method: "PUT", body: bytes, headers});
  const done = await ask(`mutation($id: ID!) { completeUploads(input: {uploadIds: [$id]}) {
    results { state } } }`, {id: upload.id});
  const found = await ask(`{ object(objectId: "o") { file { access(disposition: INLINE) { url } } } }`);
  const image = document.getElementById("shown");
  image.src = found.object.file.access.url;
  await image.decode();
  const [{state}] = done.completeUploads.results;
  return {put: put.status, state, size: [image.naturalWidth, image.naturalHeight]};
};
</script>"""


async def test_page_of_another_origin_uploads_completes_and_shows_a_file(
    browser: "Browser", admin: Caller, database_url: str, with_files: dict[str, str]
) -> None:
    with served(database_url, WAYBILL_CORS_ORIGINS=ORIGIN, **with_files) as url:
        constants = f'<script>const API = "{url}/graphql", KEY = "{admin.key}";</script>'

        async def page_of_app(route: "Route") -> None:
            await route.fulfill(content_type="text/html", body=constants + PAGE)

        async with await browser.new_context() as context:
            await context.route(f"{ORIGIN}/**", page_of_app)
            page = await context.new_page()
            complaints: list[str] = []
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            await page.goto(f"{ORIGIN}/")
            found: Any = await page.evaluate("run()")
    assert found == {"put": 200, "state": "COMPLETE", "size": [7, 5]}
    assert complaints == []
