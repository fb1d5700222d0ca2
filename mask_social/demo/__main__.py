"""Post photographs, wait for what comes of them, and check that all of it came.

python -m mask_social.demo [--photos FOLDER]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mask_social.demo import after
from mask_social.demo.client import ApiError, Client
from mask_social.demo.feed_service import FeedService
from mask_social.demo.pictures import DemoPost, folder_posts, own_posts
from mask_social.demo.report import PhotoResult, Report
from mask_social.env import var_directory
from mask_social.stack import Stack, StackError

BASE = Path(__file__).resolve().parents[2]
SENDERS = 4
PATIENCE_SECONDS = 120  # for one post, and for the last webhook
POLL_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; return 0 when nothing is amiss."""
    parser = argparse.ArgumentParser(prog="python -m mask_social.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="post the pictures of this folder instead of our own")
    folder: Path | None = parser.parse_args(arguments).photos
    console = Console()
    if folder is not None and not folder.is_dir():
        parser.error(f"--photos: {folder} is no folder")
    posts, skipped = folder_posts(folder) if folder else (own_posts(), [])
    if not posts:
        parser.error(f"--photos: there is no picture in {folder}")
    for path in skipped:
        console.print(f"skipped {escape(str(path))}: no picture", soft_wrap=True)

    out = var_directory(BASE) / "demo"
    if out.exists():
        Stack(out / "stack").stop()  # of a run that was killed
        shutil.rmtree(out)
    out.mkdir(parents=True)
    try:
        report = _run(posts, skipped, out, console)
    except StackError as error:
        console.print(f"[red]{error}[/]")
        return 1
    report.write(out / "report.json")
    _annotate(report, out, console)
    report.print(console)
    console.print(f"Report: {out / 'report.json'}\nAnnotated copies: {out / 'annotated'}", soft_wrap=True)
    if amiss := report.totals()["amiss"] + report.refused_webhooks:
        console.print(f"[red]{amiss} amiss; the report says what.[/]")
        return 1
    return 0


def _run(posts: Sequence[DemoPost], skipped: Sequence[Path], out: Path, console: Console) -> Report:
    # The feed service listens on loopback, which a deployment would refuse to call; two authors post all the photos.
    environment = {"MASK_SOCIAL_ALLOW_PRIVATE_ADDRESSES": "1", "MASK_SOCIAL_RATE_AUTHOR": "1000000"}
    stack = Stack(out / "stack", env=environment, analysis_workers=max(1, (os.cpu_count() or 2) // 2))
    with (
        FeedService() as feed,
        console.status("Starting PostgreSQL, Redis, the web server and the workers") as status,
        stack,
    ):
        status.update("Making a platform with an API key")
        client = Client(stack.url, _bootstrap(stack)["api_key"])
        endpoint = client.create_webhook_endpoint(feed.url)
        feed.trust(endpoint["secret"])
        status.stop()
        console.print(f"Serving at {stack.url}\nFeed service at {feed.url}")
        began = time.monotonic()
        results = _post_all(client, posts, console)
        _collect_events(client, feed, results)
        authors = sorted({done.author_id for done in results if done.post_id})
        ranking = client.rank(candidates) if (candidates := _candidates(results)) else []
        badge = after.portable(client, results)
        undone = after.withdraw(client, feed, results)
        return Report(
            photos=results,
            skipped=[str(path) for path in skipped],
            authors=[client.author(author) for author in authors],
            campaigns=client.campaigns(),
            ranking=ranking,
            badge=badge,
            undone=undone,
            proof=after.prove(stack),
            refused_webhooks=feed.refused,
            seconds=time.monotonic() - began,
        )


def _bootstrap(stack: Stack) -> dict[str, Any]:
    command = [sys.executable, str(BASE / "manage.py"), "bootstrap", "--json", "--platform", "demo"]
    answer = subprocess.run(command, env=stack.environment, check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def _post_all(client: Client, posts: Sequence[DemoPost], console: Console) -> list[PhotoResult]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(SENDERS) as pool:
        task = progress.add_task("Posting and waiting for verdicts", total=len(posts))
        results = []
        # Repeats last: which of two like photos is the repeat hangs on which was judged first.
        for now in ([post for post in posts if not post.is_repeat], [post for post in posts if post.is_repeat]):
            for result in pool.map(lambda post: _post_one(client, post), now):
                results.append(result)
                progress.advance(task)
        return results


def _post_one(client: Client, post: DemoPost) -> PhotoResult:
    result = PhotoResult(file=str(post.photo), author_id=post.author_id, expected=post.expected)
    try:
        body = client.create_post(post.photo, author_id=post.author_id, caption=post.caption)
        result.post_id = body["id"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            body = client.wait_for_post(body["id"])
            if body["status"] == "failed" or body["rewards"] is not None:
                break
        else:
            result.problem = f"still {body['status']} after {PATIENCE_SECONDS} s"
    except (ApiError, urllib3.exceptions.HTTPError) as error:
        result.problem = str(error)
        return result
    if body["status"] == "failed":
        result.problem = f"failed: {body['photos'][0]['failure']}"
    result.verdict = body["verdict"] and body["verdict"]["outcome"]
    result.faces = body["photos"][0]["faces"]
    result.stages_ms = {stage["name"]: stage["ms"] for stage in body["stages"]}
    result.rewards = body["rewards"] or {}
    return result


def _collect_events(client: Client, feed: FeedService, results: Sequence[PhotoResult]) -> None:
    """Note for each photo the events that tell of it, and whether the feed service was told of them too."""
    by_post = {result.post_id: result for result in results if result.post_id}
    due = {event_id for result in results for event_id in result.rewards.get("event_ids", ())}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        events = client.events()
        if due <= {event["id"] for event in events} or time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)  # the list holds back what a running transaction might still precede
    missing = feed.wait_for([event["id"] for event in events], deadline - time.monotonic())
    for event in events:
        if result := by_post.get(event["data"].get("post_id")):
            result.events[event["id"]] = event["id"] not in missing
    for result in results:
        result.events |= {
            event_id: False for event_id in result.rewards.get("event_ids", ()) if event_id not in result.events
        }


def _candidates(results: Sequence[PhotoResult]) -> list[dict[str, Any]]:
    """Return the posts as a feed would rank them by itself: the newest first."""
    posted = [result.post_id for result in results if result.post_id][-500:]
    return [
        {"post_id": post_id, "base_score": round(1 + index / len(posted), 3), "age_seconds": 0}
        for index, post_id in enumerate(posted)
    ]


def _annotate(report: Report, out: Path, console: Console) -> None:
    """Draw the boxes on copies, in a process of its own: this package knows nothing of seeing."""
    seen = {photo.file: photo.faces for photo in report.photos if photo.verdict}
    if not seen:
        return
    predictions = out / "predictions.json"
    predictions.write_text(json.dumps(seen))
    command = [
        sys.executable,
        "-m",
        "ml",
        "annotate",
        "--predictions",
        str(predictions),
        str(out / "annotated"),
    ]
    with console.status("Drawing annotated copies"):
        subprocess.run(command, cwd=BASE, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command


if __name__ == "__main__":
    sys.exit(main())
