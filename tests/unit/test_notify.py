"""News of a run's end and of its sweep's: when there is any, what it says, once an end, and no secret in a file."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from golang.config import Config
from golang.errors import ConfigError
from golang.runfolder.folder import Attempt, RunFolder
from golang.sources import ROOT
from launch.node import notify
from launch.planning import words
from launch.planning.compose import composing, resolved
from launch.settings import Launch
from launch.sweep import ledger
from tests.unit.test_job_script import dying

LINE = 'echo "$SWEEP|$RUN|$STATE|$CAUSE|$MAP" >>'


def made(sweep: Path, *ids: str, line: str = "", submitted: bool = True) -> list[RunFolder]:
    """Runs of a sweep, with a line that says all it is told in the file `news`."""
    runs = []
    for id in ids:
        run = RunFolder.create(sweep / f"x-{id}", Config())
        notify.keep(run.path, line or f"{LINE}{sweep}/news")
        runs.append(run)
        if submitted:
            ledger.append(sweep, "submitted", run=id, folder=run.path.name, job="7")
    (sweep / "sweep.yaml").touch()
    return runs


def tell(run: RunFolder, state: str, life: str = "7") -> None:
    event = {"finished": "finished", "failed": "failed", "cancelled": "cancelled"}[state]
    ledger.append(run.path.parent, event, run=run.path.name[-8:], folder=run.path.name, job=life)
    subprocess.run(["bash", str(notify.SCRIPT), str(run.path), state, life], check=True, timeout=60)


def news(sweep: Path) -> list[str]:
    return (sweep / "news").read_text().splitlines() if (sweep / "news").exists() else []


def test_a_run_and_then_its_sweep(tmp_path: Path) -> None:
    first, second = made(tmp_path / "s", "aaaaaaaa", "bbbbbbbb")
    Attempt(first, 0).path.mkdir()
    Attempt(first, 0).write_cause("finished", 12)
    first.evaluation.mkdir()
    first.probe_file.write_text('{"mAP": 33.8412, "per_class": {}}')
    first.done_file.touch()
    tell(first, "finished")
    assert news(tmp_path / "s") == ["s|x-aaaaaaaa|finished|finished|33.8"]
    Attempt(second, 0).path.mkdir()
    Attempt(second, 0).write_cause("non-finite", 12)
    tell(second, "failed", "8")
    lines = ["s|x-bbbbbbbb|failed|non-finite|", "s||complete|1 failed, 1 finished|"]
    assert news(tmp_path / "s")[1:] == lines
    for _ in range(2):
        tell(first, "finished")
        tell(second, "failed", "8")
    assert news(tmp_path / "s")[1:] == lines, "each end once"
    tell(second, "finished", "9")
    assert [line.split("|")[2] for line in news(tmp_path / "s")[3:]] == ["finished", "complete"], "a life of its own"


def test_a_sweep_that_grows_is_complete_again(tmp_path: Path) -> None:
    (first,) = made(tmp_path / "s", "aaaaaaaa")
    tell(first, "finished")
    (second,) = made(tmp_path / "s", "bbbbbbbb")
    subprocess.run(["bash", str(notify.SCRIPT), str(first.path), "finished", "7"], check=True)
    assert [line.split("|")[2] for line in news(tmp_path / "s")] == ["finished", "complete"]
    tell(second, "cancelled")
    assert [line.split("|")[2:4] for line in news(tmp_path / "s")[2:]] == [
        ["cancelled", "cancelled"], ["complete", "1 cancelled, 1 finished"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "done", "complete"),
    [
        (["submitted", "attempt", "requeued"], False, False),
        (["submitted", "attempt", "requeued"], True, False),  # to probe what it has learnt
        (["submitted", "attempt", "stopped"], False, False),
        (["cancelled", "stopped"], False, True),  # asked to end, it saved
        (["failed", "submitted"], False, False),
        (["attempt", "failed", "note"], False, True),
        (["attempt"], True, True),
        ([], False, False),
    ],
)
def test_when_a_sweep_is_complete(events: list[str], done: bool, complete: bool, tmp_path: Path) -> None:
    told, other = made(tmp_path / "s", "aaaaaaaa", "bbbbbbbb", submitted=False)
    for event in events:
        ledger.append(tmp_path / "s", event, run="bbbbbbbb", folder=other.path.name, job="7", reason='"event": "x"')  # type: ignore[arg-type]
    if done:
        other.done_file.touch()
    tell(told, "finished")
    assert ("s||complete" in "\n".join(news(tmp_path / "s"))) == complete


def test_an_evaluation_whose_run_failed_is_not_waited_for(tmp_path: Path) -> None:
    run, evaluation = made(tmp_path / "s", "aaaaaaaa", "bbbbbbbb")
    values = json.loads(evaluation.config_file.read_text())
    values["evaluation"]["run"] = "aaaaaaaa"
    evaluation.config_file.write_text(json.dumps(values, indent=2))
    tell(run, "failed")
    assert news(tmp_path / "s")[-1] == "s||complete|1 failed, 1 unstarted|"


def test_two_at_once_tell_once(tmp_path: Path) -> None:
    (run,) = made(tmp_path / "s", "aaaaaaaa")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: tell(run, "finished"), range(6)))
    assert sorted(line.split("|")[2] for line in news(tmp_path / "s")) == ["complete", "finished"]


def test_a_line_that_fails_or_hangs_harms_nothing(tmp_path: Path) -> None:
    (run,) = made(tmp_path / "s", "aaaaaaaa", line="echo heard; sleep 60 & wait; false")
    quick = tmp_path / "timeout"
    quick.write_text('#!/bin/sh\nshift 3\nexec /usr/bin/timeout -s KILL 0.3 "$@"\n')
    quick.chmod(0o755)
    before = time.monotonic()
    subprocess.run(
        ["bash", str(notify.SCRIPT), str(run.path), "failed", "7"], check=True,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    log = (run.logs / "notify.log").read_text()
    assert time.monotonic() - before < 5 and "heard" in log and "notify.command was ended after 30 s" in log
    notify.keep(run.path, "exit 3")
    tell(run, "failed", "8")
    assert "notify.command failed with 3" in (run.logs / "notify.log").read_text()
    assert (run.logs / "notify.log").stat().st_mode & 0o077 == 0


def test_it_outlives_who_starts_it_and_inherits_nothing(tmp_path: Path) -> None:
    line = f"sleep 0.4; ls /proc/self/fd >{tmp_path}/open; echo >{tmp_path}/news"
    (run,) = made(tmp_path / "s", "aaaaaaaa", line=line)
    code = (
        "import os, signal; from pathlib import Path; from launch.node import notify\n"
        f"os.set_inheritable(os.open('/dev/null', os.O_RDONLY), False)\n"
        f"notify.tell([notify.End(Path({str(run.path)!r}), 'finished', '7')]); os.killpg(0, signal.SIGKILL)"
    )
    told = subprocess.run([os.sys.executable, "-c", code], start_new_session=True, check=False)
    assert told.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while not (tmp_path / "news").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (tmp_path / "open").read_text().split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("says", "status", "record", "before", "told"),
    [
        ("", 0, "JobState=RUNNING", "touch $RUN/DONE; ", "finished|finished"),
        ("Killed", 137, "JobState=RUNNING", "", ""),
        ("saved", 75, "JobState=RUNNING", "", ""),
        ("saved", 75, "JobState=PENDING", "", ""),
        ("saved", 75, "JobState=CANCELLED", "", "cancelled|cancelled"),
        ("Killed", 137, "JobState=CANCELLED", "", "cancelled|cancelled"),
        ("oom_kill event", 137, "JobState=RUNNING", "", "failed|out of memory"),
    ],
)
def test_the_batch_script_tells_of_an_end_and_of_no_requeue(
    says: str, status: int, record: str, before: str, told: str, tmp_path: Path
) -> None:
    run = RunFolder.create(tmp_path / "sweep" / "x-a6cec0e8", Config())
    if told.startswith("finished"):
        (run.attempts / "00").mkdir()
        Attempt(run, 0).write_cause("finished", 12)
    notify.keep(run.path, f"{LINE}{tmp_path}/sweep/news")
    dying(tmp_path, says, status, record=record, before=before.replace("$RUN", str(run.path)))
    assert news(tmp_path / "sweep") == ([f"sweep|x-a6cec0e8|{told}|"] if told else [])


def test_a_run_without_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = made(tmp_path / "s", "aaaaaaaa", submitted=False)
    told: list[object] = []
    monkeypatch.setattr(notify, "tell", told.extend)
    notify.tell_of(run.path, "true", [], 0)
    assert told == [], "it never began"
    (run.attempts / "00").mkdir()
    for command, status in ((None, 0), ("true", 75), ("true", 130), ("true", 73)):
        notify.tell_of(run.path, command, [], status)
    assert told == []
    notify.tell_of(run.path, "true", [], 0)
    notify.tell_of(run.path, "true", [0], 0)
    notify.tell_of(run.path, "true", [], 2)
    states = [notify.End(run.path, "finished", "attempt00"), notify.End(run.path, "failed", "attempt00")]
    assert told == states and run.notify_file.read_text() == "true\n"


# -- the setting ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        'echo "$RUN: $STATE" | mail -s "$SWEEP: $STATE" me@example.org',
        'curl -sS -d "$RUN" "https://ntfy.sh/$NTFY_TOPIC"',
        'curl -sS --json "{\\"text\\": \\"$RUN $STATE\\"}" "$SLACK_URL"',
        'curl -H "Authorization: Bearer $TOKEN" "$(cat ~/.hook)"',
        'curl -H "Authorization: Bearer $(cat ~/.token)" -d "$RUN" https://example.org/api',
        'curl -u "$WHO:$PASSWORD" https://example.org',
        "ssh login.example.org bin/tell",
        "python ~/tools/notify_about_20251129_runs.py --to me",
    ],
)
def test_lines_that_are_taken(line: str) -> None:
    assert Launch.from_dict({"notify": {"command": line}}).notify.command == line
    (override,) = words.read([f"notify.command={line}"])
    assert override.value() == line and not override.is_sweep_override()


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("curl -d x https://hooks.slack.com/services/T0AB12CD3/B0EF/xyzXYZ", "xyzXYZ"),
        ("curl -d x https://discord.com/api/webhooks/1234/abc-DEF", "abc-DEF"),
        ("curl -d x https://lab.webhook.office.com/webhookb2/abcd", "abcd"),
        ("curl https://api.telegram.org/bot123:abcDEF/sendMessage", "abcDEF"),
        ('curl -H "Authorization: Bearer abc123" https://example.org', "abc123"),
        ("curl -H 'authorization: abc123' https://example.org", "abc123"),
        ("curl -H X-Api-Key:abc123 https://example.org", "abc123"),
        ("curl https://me:hunter2@example.org", "hunter2"),
        ("curl -u me:hunter2 https://example.org", "hunter2"),
        ("curl --user=me:hunter2 https://example.org", "hunter2"),
        ("TOKEN=abc123 tell", "abc123"),
        ("curl 'https://example.org/?api_key=abc123'", "abc123"),
        ("tell --token abc123", "abc123"),
        ("tell --password='hunter2'", "hunter2"),
        ("ntfy -k tk_abcdefgh12345 x", "tk_abcdefgh12345"),
        ("curl https://hc-ping.com/3f2a9c1e-77aa-4b5c-9d2e-001122334455", "3f2a9c1e"),
    ],
)
def test_a_secret_is_refused_and_not_shown(line: str, secret: str) -> None:
    with pytest.raises(ConfigError) as found:
        Launch.from_dict({"notify": {"command": line}})
    assert secret not in str(found.value) and "notify.command" in str(found.value)


@pytest.mark.parametrize("line", ["", " ", "a\nb"])
def test_no_line(line: str) -> None:
    with pytest.raises(ConfigError, match=r"must be one line for a shell; null leaves it out"):
        Launch.from_dict({"notify": {"command": line}})


def typed(word: str) -> str:
    """The line that a run keeps of what was typed."""
    with composing() as compose:
        values, _ = resolved(compose([override.input_line or "" for override in words.read([word])]))
    return Launch.from_dict({"notify": values["notify"]}).notify.command or ""


def test_the_shells_braces_are_left_to_the_shell() -> None:
    line = 'tell ${RUN}, ${STATE:-x} "it\'s" \\$HOME [a,b] {c: d}'
    assert typed(f"notify.command={line}") == line


PAGE = (ROOT / "docs/notify.md").read_text()
EXAMPLES = [shlex.split(word)[0] for word in re.findall(r"notify\.command='[^']*'", PAGE)]
ARGUMENTS = '#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done >>"$HOME/$(basename "$0")"\ncat >>"$HOME/input"\n'


def test_the_pages_lines_say_what_they_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("curl", "mail", "ssh"):
        (tmp_path / name).write_text(ARGUMENTS.replace("$HOME/$", "$HOME/called-$"))
        (tmp_path / name).chmod(0o755)
    for name in ("slack", "ntfy-topic"):
        (tmp_path / f".{name}").write_text(f"my-{name}\n")
    for name, value in {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "NTFY_TOKEN": "tk"}.items():
        monkeypatch.setenv(name, value)
    assert len(EXAMPLES) == 7
    for number, word in enumerate(EXAMPLES):
        line = typed(word)
        (run,) = made(tmp_path / "grid", f"0000000{number}", line=line)
        tell(run, "finished")
        assert "failed with" not in (run.logs / "notify.log").read_text()
    asked = (tmp_path / "called-curl").read_text().splitlines()
    (text,) = [json.loads(word)["text"] for word in asked if word.startswith("{") and "x-00000002" in word]
    assert text == "grid x-00000002: finished () "
    assert {"my-slack", "https://ntfy.sh/my-ntfy-topic", "Authorization: Bearer tk"} <= set(asked)
    assert "grid: finished" in (tmp_path / "called-mail").read_text().splitlines()
    assert "x-00000000: , mAP not measured" not in (tmp_path / "input").read_text()
    assert "x-00000001: , mAP not measured" in (tmp_path / "input").read_text()
    assert (tmp_path / "called-ssh").read_text().split()[3:6] == ["bin/tell", "grid", "x-00000005"]
