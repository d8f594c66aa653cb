"""What glibc is told, and that it is told the opposite afterwards."""

import ctypes
import sys
from typing import Any

import pytest
import torch

from regionspot_extract.encoding.allocator import freed_memory_kept


class Libc:
    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[int, ...]]] = []

    def gnu_get_libc_version(self) -> bytes:
        return b"2.36"

    def mallopt(self, *given: int) -> int:
        self.calls.append(("mallopt", given))
        return 1

    def malloc_trim(self, *given: int) -> int:
        self.calls.append(("malloc_trim", given))
        return 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> Libc:
    made = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: made)
    monkeypatch.setattr(sys, "platform", "linux")
    return made


def test_memory_is_kept_meanwhile_and_given_back_after_a_failure(libc: Libc) -> None:
    def fail() -> None:
        with freed_memory_kept(torch.device("cpu")):
            assert libc.calls == [("mallopt", (-4, 0)), ("mallopt", (-1, 2**31 - 1))]
            libc.calls.clear()
            raise ValueError("within")

    with pytest.raises(ValueError, match="within"):
        fail()
    assert libc.calls == [
        ("mallopt", (-4, 65_536)),
        ("mallopt", (-3, 32 * 1024**2)),
        ("mallopt", (-1, 64 * 1024**2)),
        ("malloc_trim", (0,)),
    ]


def test_the_last_one_out_ends_it(libc: Libc) -> None:
    first, second = (freed_memory_kept(torch.device("cpu")) for _ in range(2))
    first.__enter__()
    begun = len(libc.calls)
    second.__enter__()
    first.__exit__(None, None, None)
    assert len(libc.calls) == begun == 2
    second.__exit__(None, None, None)
    assert libc.calls[-1] == ("malloc_trim", (0,))


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_gpu_has_an_allocator_of_its_own(libc: Libc, device: str) -> None:
    with freed_memory_kept(torch.device(device)):
        pass
    assert libc.calls == []


@pytest.mark.parametrize(
    ("platform", "library"), [("darwin", Libc()), ("linux", object())], ids=["macOS", "musl"]
)
def test_other_systems_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, platform: str, library: Any
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", platform)
    with freed_memory_kept(torch.device("cpu")):
        pass
    assert getattr(library, "calls", []) == []
