"""Asks a server everything that its /openapi.json allows and forbids (schemathesis).

Usage: python tests/api/schema.py [--cases 5000] [--seed 0]
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.engine import Status, events, from_schema
from schemathesis.generation.case import Case
from server import FOLDER, MODEL, QUICK, Material, Server
from zoodip.client import ApiError, Client

HERE = {"model": MODEL, "images": FOLDER}
# What a job may be told to do here: a setting's greatest value would take days or all memory.
SMALL = {"n": 2, "batch": 1, "vectors": 1, "threads": 1, "device": "cpu", "validation_samples": 1}

# All checks are on. What each status beside the usual ones means:
CHECKS = {
    # 503 and 507 are what the server says when it is full (streams, connections, disk).
    "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503", "507"]},
    # 422: no schema tells a word that the tokenizer has from one that it has not.
    "positive_data_acceptance": {
        "expected-statuses": ["2xx", "401", "403", "404", "409", "422", "429"]
    },
    # 411, 413, 414 and 431 come before the data is looked at: it is too large to be read.
    "negative_data_rejection": {
        "expected-statuses": ["400", "404", "405", "409", "411", "413", "414", "415", "422", "429"]
        + ["431"]
    },
}


@dataclass
class Report:
    """What was asked, and what was wrong with the answers."""

    cases: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)  # by what is wrong, one example of each
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.cases} cases ran"]
        lines += [f"  {asked}: {count}" for asked, count in sorted(self.statuses.items())]
        lines += [f"{wrong}\n    {example}" for wrong, example in self.failures.items()]
        lines += [f"{len(self.failures)} kinds of failures", *self.errors]
        return "\n".join(lines)


def config(url: str, seed: int, examples: int) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "base-url": url,
            "continue-on-failure": True,
            "request-timeout": 20,
            # The stream of a job that runs does not end, and its first event tells enough.
            "max-stream-events": 1,
            "checks": CHECKS,
            "generation": {"max-examples": examples, "database": "none", "no-shrink": True},
        }
    )


@schemathesis.hook
def before_call(context: object, case: Case, kwargs: dict[str, Any]) -> None:
    """Keeps the queue from filling up, and names in half of the jobs what this server has."""
    if case.operation.label == "GET /v1/jobs/{id}/events":
        kwargs["timeout"] = 1  # that of a job which waits is quiet, and is cut off without blame
    if case.operation.label not in ("POST /v1/jobs", "POST /v1/subjects"):
        return
    make_room(Client(case.operation.schema.config.base_url))
    if case.operation.label == "POST /v1/subjects":
        return  # the names of its folders are not there
    body = case.body
    if case.media_type != "application/json" or not isinstance(body, dict) or len(str(body)) % 2:
        return
    # A name that is not there would be the only thing that is looked at.
    body |= {name: value for name, value in HERE.items() if isinstance(body.get(name), str)}
    if case.meta is not None and case.meta.generation.mode.is_positive:
        settings = body.get("settings", {})
        small = {name: value for name, value in SMALL.items() if name in settings}
        body |= {"word": "sks", "init": "dog", "settings": settings | small | QUICK}
        body.pop("also", None)  # words that no caption has


def make_room(client: Client) -> None:
    if client.health()["queued"] > 12:
        for job in client.jobs():
            with contextlib.suppress(ApiError):  # it has ended meanwhile
                client.cancel(job.id)


def ask_all(server: Server, report: Report, seed: int, examples: int) -> None:
    url = f"http://127.0.0.1:{server.port}"
    schema = schemathesis.openapi.from_url(
        f"{url}/openapi.json", config=config(url, seed, examples)
    )
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            report.errors.append(f"{event.label}: {event.info.format()}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, (events.ScenarioFinished, events.FuzzScenarioFinished)):
            note(report, event)
        assert server.alive, "the server has ended"


def note(report: Report, event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    for id, interaction in recorder.interactions.items():
        report.cases += 1
        answer = interaction.response
        status = answer.status_code if isinstance(answer, Response) else "none"
        report.statuses[f"{recorder.cases[id].value.operation.label} {status}"] += 1
    for id, checks in recorder.checks.items():
        label = recorder.cases[id].value.operation.label
        for check in checks:
            if check.status == Status.FAILURE:
                failure = check.failure_info.failure
                wrong = f"{label}: {failure.title}: {failure.message}"
                report.failures.setdefault(wrong[:600], check.failure_info.code_sample)


def run(server: Server, cases: int, seed: int, examples: int = 100) -> Report:
    """Rounds with other seeds, until so many cases ran."""
    report = Report()
    while report.cases < cases and not report.failures and not report.errors:
        before = report.cases
        ask_all(server, report, seed, examples)
        assert report.cases > before or report.errors, "nothing was asked"
        seed += 1
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        asked = Server(Material.write(Path(place)), Path(place) / "served").start()
        try:
            result = run(asked, chosen.cases, chosen.seed)
        finally:
            asked.close()
    print(result)
    sys.exit(bool(result.failures or result.errors))
