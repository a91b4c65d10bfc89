"""Runs on several ranks: the word of one process, to the bit; and what happens when one is lost."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import zoodip
from gated import GatedRun
from program import QUICK, refuses
from safetensors.torch import load_file, save_file
from zoodip import _ranks

STEPS = 40
# One process makes the passes of `chunk` points that ranks divide.
KINDS = {
    "two": {"n": 2, "chunk": 1},
    "eight": {"n": 8, "chunk": 5},
    "batch": {"n": 2, "batch": 2, "slope": "residual", "chunk": 2},
    "exact": {"method": "exact", "batch": 2},
}
CHOSEN = QUICK | {
    "steps": STEPS,
    "threads": 1,
    "validate_every": 7,
    "validation_samples": 3,
    "nice": "off",
}


def words_for(model: Path, images: Path, out: Path, **chosen) -> list[str]:
    """The command line behind `zoodip`."""
    words = ["train", "--model", model, "--images", images, "--word", "sks", "--init", "dog"]
    words += ["--out", out]
    words += ["--resume"] if chosen.pop("resume", False) else []
    for name, value in (CHOSEN | chosen).items():
        words += [f"--{name.replace('_', '-')}", value]
    return [str(word) for word in words]


def environment_of(root: Path, **more) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(root / "native" / "python"),
        "OMP_NUM_THREADS": "1",
        **{name: str(value) for name, value in more.items()},
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Team:
    """Ranks of this machine, started as torchrun does it, each with its own command line; the log
    of rank 0 is read step by step."""

    def __init__(self, root: Path, folder: Path, words: list[list[str]]) -> None:
        port = free_port()

        def environment(rank: int) -> dict[str, str]:
            size = len(words)
            return environment_of(
                root,
                RANK=rank,
                LOCAL_RANK=rank,
                WORLD_SIZE=size,
                LOCAL_WORLD_SIZE=size,
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
            )

        self.others = [
            subprocess.Popen(
                [sys.executable, "-m", "zoodip", *words[rank]],
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(rank),
            )
            for rank in range(1, len(words))
        ]
        self.first = GatedRun(sys.executable, ["-m", "zoodip", *words[0]], folder, environment(0))

    def finish(self) -> tuple[list[int], list[str]]:
        """To their ends: exit statuses, and what each said."""
        status = self.first.finish()
        said = ["".join(other.communicate()) for other in self.others]
        return [status, *(other.returncode for other in self.others)], [self.first.said, *said]

    def kill(self) -> None:
        for process in (self.first.process, *self.others):
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def team(root, model, images, tmp_path):
    """Starts ranks; `words` gives each rank's command line, for those that differ."""
    teams = []

    def start(size: int, out: Path, words=None, **chosen) -> Team:
        out.parent.mkdir(exist_ok=True)
        lines = words or [words_for(model, images, out, **chosen)] * size
        teams.append(Team(root, tmp_path, lines))
        return teams[-1]

    yield start
    for one in teams:
        one.kill()


@pytest.fixture(scope="module")
def alone(module_folder, model, images, tmp_path_factory):
    """The token of one process, made once for each kind."""
    made: dict[str, Path] = {}

    def token(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "sks.safetensors"
            words = words_for(model, images, made[kind], **KINDS[kind])
            subprocess.run([module_folder / "zoodip", *words], check=True, capture_output=True)
        return made[kind]

    return token


def same_run(out: Path, whole: Path) -> None:
    """Word, best word and state, to the byte."""
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(
        path.name for path in whole.parent.iterdir()
    )
    for path in whole.parent.iterdir():
        assert (out.parent / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(("kind", "size"), [("two", 2), ("batch", 4), ("exact", 2)])
def test_ranks_learn_the_word_of_one_process(team, alone, tmp_path, kind, size):
    out = tmp_path / "out" / "sks.safetensors"
    statuses, said = team(size, out, **KINDS[kind]).finish()
    assert statuses == [0] * size, said
    assert said[1:] == [""] * (size - 1)  # rank 0 speaks for all
    assert f"{size} ranks: each has sent and received" in said[0]
    same_run(out, alone(kind))


def test_torchrun_starts_them_from_the_same_command_line(root, model, images, alone, tmp_path):
    """Without `chunk`: each of two ranks takes about half of the nine points."""
    out = tmp_path / "out" / "sks.safetensors"
    chosen = {name: value for name, value in KINDS["eight"].items() if name != "chunk"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(free_port()), "-m", "--"]
    command += ["zoodip", *words_for(model, images, out, **chosen)]
    out.parent.mkdir()
    done = subprocess.run(command, capture_output=True, text=True, env=environment_of(root))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("done: ") == 1
    same_run(out, alone("eight"))


def listening_addresses(process: subprocess.Popen) -> set[str]:
    """Where a process listens, as /proc has it: hexadecimal, "0100007F" is 127.0.0.1."""
    own = set()
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        target = os.readlink(entry)
        if target.startswith("socket:["):
            own.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in own:
                found.add(fields[1].partition(":")[0])
    return found


def test_a_stop_reaches_all_and_another_number_of_ranks_goes_on(team, alone, tmp_path):
    out = tmp_path / "out" / "sks.safetensors"
    ranks = team(2, out, **KINDS["eight"])
    ranks.first.until("step", 3)
    for process in (ranks.first.process, *ranks.others):
        assert listening_addresses(process) == {"0100007F"}  # the loopback alone
    ranks.others[0].send_signal(signal.SIGTERM)
    statuses, said = ranks.finish()
    assert statuses == [130, 128 + signal.SIGTERM], said
    assert "stopped at step" in said[0]
    assert said[1] == ""
    statuses, said = team(4, out, resume=True, **KINDS["eight"]).finish()
    assert statuses == [0, 0, 0, 0], said
    same_run(out, alone("eight"))


@pytest.mark.parametrize(
    ("signal_number", "how"), [("KILL", "is gone"), ("STOP", "did not answer")]
)
def test_a_lost_rank_ends_the_run_which_goes_on_without_it(
    team, run, model, images, alone, tmp_path, signal_number, how
):
    out = tmp_path / "out" / "sks.safetensors"
    ranks = team(2, out, **KINDS["eight"], rank_limit=3)
    ranks.first.until("step", 3)
    ranks.others[0].send_signal(getattr(signal, f"SIG{signal_number}"))
    status = ranks.first.finish()
    said = ranks.first.said
    assert status == 1, said
    assert f"rank 1 of 2 (on {socket.gethostname()}) {how}" in said
    assert "is kept in" in said
    ranks.kill()
    done = run(words_for(model, images, out, resume=True, **KINDS["eight"]))
    assert done.returncode == 0, done.stderr
    same_run(out, alone("eight"))


def test_the_others_tell_that_rank_0_is_lost(team, tmp_path):
    out = tmp_path / "out" / "sks.safetensors"
    ranks = team(2, out, **KINDS["eight"])
    ranks.first.until("step", 3)
    ranks.first.kill()
    said = "".join(ranks.others[0].communicate())
    assert ranks.others[0].returncode == 1
    assert f"rank 0 of 2 (on {socket.gethostname()}) is gone" in said


def test_a_rank_that_differs_is_refused_by_name(team, model, images, tmp_path):
    """Each of three ranks has something else than rank 0; the first of them is named."""
    out = tmp_path / "out" / "sks.safetensors"
    captioned = tmp_path / "captioned"
    shutil.copytree(images, captioned)
    caption = next(captioned.glob("*.txt"))
    caption.write_text(caption.read_text() + " in the snow")
    same = words_for(model, images, out, n=2)
    other = words_for(model, captioned, out, n=2)
    statuses, said = team(2, out, words=[same, other]).finish()
    assert statuses == [1, 1], said
    for text in said:
        assert "differs from rank 0: its caption of picture" in text, said
        assert "in the snow" in text
    assert list(out.parent.iterdir()) == []


def test_a_rank_with_another_model_is_refused(team, model, images, tmp_path):
    out = tmp_path / "out" / "sks.safetensors"
    changed = tmp_path / "changed.safetensors"
    weights = load_file(model)
    weights["model.diffusion_model.time_embed.0.weight"][0, 0] += 1
    save_file(weights, changed)
    lines = [words_for(file, images, out, n=2) for file in (model, changed)]
    statuses, said = team(2, out, words=lines).finish()
    assert statuses == [1, 1], said
    assert all("differs from rank 0: its model is" in text for text in said), said
    assert list(out.parent.iterdir()) == []


# ------------------------------------------------------------------------------- without any ranks

PLACE = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def test_a_place_is_read_from_torchruns_environment():
    more = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    place = _ranks.Place.read(PLACE | more)
    assert (place.rank, place.size, place.local_rank, place.local_size) == (1, 2, 1, 2)
    assert place.agent
    assert _ranks.own_address(place) == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RANK", "2", "RANK: needs a number from 0 to 1, got '2'"),
        ("RANK", "-1", "RANK: needs a number from 0 to 1"),
        ("WORLD_SIZE", "many", "WORLD_SIZE: needs a number from 1"),
        ("MASTER_PORT", "", "MASTER_PORT: needs a number from 1 to 65535"),
        ("MASTER_ADDR", "", "MASTER_ADDR: needs the address of rank 0's machine"),
        ("LOCAL_RANK", "2", "LOCAL_RANK: needs a number from 0 to 1"),
    ],
)
def test_a_wrong_place_is_refused(name, value, says):
    with pytest.raises(_ranks.RanksError, match=f"^{says}"):
        _ranks.Place.read(PLACE | {name: value})


def test_a_torch_without_gloo_is_an_error_of_ranks_alone(monkeypatch):
    import torch.distributed

    monkeypatch.setattr(torch.distributed, "is_gloo_available", lambda: False)
    with pytest.raises(_ranks.RanksError, match="they need torch.distributed with Gloo"):
        _ranks.Ranks(_ranks.Place.read(PLACE))


def test_each_rank_of_a_machine_sees_one_card():
    place = _ranks.Place.read(PLACE | {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})
    for visible, own in ((None, "1"), ("4,7", "7"), ("4", ""), ("", "")):
        environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        _ranks.choose_card(place, environment)
        assert environment == {"CUDA_VISIBLE_DEVICES": own}


def test_the_program_alone_refuses_to_be_one_of_several(run, model, images, tmp_path):
    words = words_for(model, images, tmp_path / "sks.safetensors")
    environment = os.environ | {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"}
    refuses(run(words, env=environment), "torchrun has started 2 ranks", "-m -- zoodip train")


def test_without_ranks_the_module_is_the_program(root):
    command = [sys.executable, "-m", "zoodip", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment_of(root))
    assert (done.returncode, done.stdout.strip()) == (0, zoodip.__version__)


def test_importing_zoodip_brings_nothing_of_ranks(root):
    program = (
        "import sys, zoodip; print([n for n in sys.modules if 'distributed' in n or 'ranks' in n])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment_of(root)
    )
    assert done.stdout.strip() == "[]", done.stderr
